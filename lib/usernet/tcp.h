// SPDX-License-Identifier: Apache-2.0
// All TCP connections of the network. One thread, the loop's.
#ifndef LIB_USERNET_TCP_H_
#define LIB_USERNET_TCP_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/address.h"
#include "lib/usernet/host_side.h"
#include "lib/usernet/lan.h"
#include "lib/usernet/tcp_flow.h"
#include "lib/usernet/wire.h"

namespace atl::usernet {

class TcpTable {
 public:
  // All live longer.
  TcpTable(host::EventLoop* loop, Wire* wire, HostSide* host, uint32_t mtu, size_t max_flows);
  ~TcpTable();

  void Receive(const InPacket& packet, bool payload_stays);
  // A connection that a forward accepted, from `peer` of the host.
  void Accepted(UniqueFd socket, const Endpoint& guest, const Endpoint& peer);

  // Does what Receive() has left to do; the payloads may go then.
  void RunDirty();
  void WireReady();
  // No guest is left: nobody will ever answer.
  void AbortAll();

  size_t size() const { return flows_.size(); }
  const MemoryBudget& memory() const { return budget_; }
  // In no order.
  void ForEach(const std::function<void(const TcpFlow&)>& see) const;

 private:
  struct Key {
    Endpoint guest, remote;
    bool operator==(const Key&) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& k) {
      return H::combine(std::move(h), k.guest, k.remote);
    }
  };

  void Open(const Key& key, const Segment& syn);
  bool MakeRoom();
  TcpFlow* Insert(const Key& key);
  bool Start(TcpFlow* flow);
  void Mark(TcpFlow* flow);
  void Service(TcpFlow* flow, uint64_t now);
  void Bury();
  void Timers();
  void ArmFor(uint64_t deadline, uint64_t now);
  uint32_t Random();

  host::EventLoop* const loop_;
  Wire* const wire_;
  HostSide* const host_;
  const uint32_t mtu_;
  const size_t max_flows_;
  MemoryBudget budget_;
  absl::flat_hash_map<Key, std::unique_ptr<TcpFlow>> flows_;
  std::vector<TcpFlow*> dirty_;    // to be served
  std::vector<TcpFlow*> working_;  // being served
  std::vector<TcpFlow*> blocked_;  // waiting for the guest's link
  bool any_done_ = false;
  std::unique_ptr<host::LoopTimer> timer_;
  uint64_t armed_ = 0;  // for when; 0: not
  std::unique_ptr<host::LoopTimer> again_;
  std::array<uint32_t, 64> random_{};
  size_t random_left_ = 0;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_TCP_H_
