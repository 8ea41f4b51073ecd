// SPDX-License-Identifier: Apache-2.0
// UDP and ICMP echo between guests and the host's sockets. One thread, the loop's.
//
// A guest's port is a socket of the host, whatever it sends to; what comes back is let
// in from addresses that the guest has sent to (RFC 4787, address-dependent filtering).
// Name queries have a socket each, which hears the resolver alone. Flows end when
// nothing was sent for a while, and the one silent for longest gives way to a new one.
#ifndef LIB_USERNET_UDP_H_
#define LIB_USERNET_UDP_H_

#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/address.h"
#include "lib/usernet/host_side.h"
#include "lib/usernet/lan.h"
#include "lib/usernet/wire.h"

namespace atl::usernet {

// Sends a datagram to a guest; `payload` stays until Wire::Flush().
Wire::Sent SendUdp(Wire* wire, const Endpoint& from, const Endpoint& to,
                   std::span<const uint8_t> payload);

class UdpTable {
 public:
  static constexpr uint64_t kIdleNs = 120'000'000'000;
  static constexpr uint64_t kDnsIdleNs = 10'000'000'000;
  static constexpr size_t kPeers = 16;          // that a flow remembers
  static constexpr size_t kForwardPeers = 256;  // that a forward does
  static constexpr size_t kBatch = 16;          // datagrams by one system call
  static constexpr int kBatchesPerTurn = 4;

  UdpTable(host::EventLoop* loop, Wire* wire, HostSide* host, size_t max_flows);
  ~UdpTable();

  // A datagram of `guest`, its checksum found right.
  void Receive(const Endpoint& guest, const Endpoint& to, std::span<const uint8_t> payload);
  // An echo request, from its ICMP header on, checksum found right.
  void ReceivePing(const IpAddress& guest, const IpAddress& to, std::span<const uint8_t> message);

  // Datagrams that arrive at `socket` go to `guest`, and its answers out there again.
  absl::Status AddForward(UniqueFd socket, const Endpoint& guest);
  // By the socket's number.
  void RemoveForward(int fd);

  void Clear();  // no guest is left
  size_t size() const { return flows_.size(); }

 private:
  enum class Kind : uint8_t { kUdp, kDns, kPing };
  struct Key {
    Kind kind;
    Endpoint guest;   // kPing: the identifier as port
    Endpoint remote;  // kDns alone
    bool operator==(const Key&) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& k) {
      return H::combine(std::move(h), k.kind, k.guest, k.remote);
    }
  };
  struct Peer {
    Endpoint host;   // as the socket has it; port 0 with kUdp: any
    Endpoint shown;  // as the guest has it
  };
  struct Flow {
    Key key;
    UniqueFd socket;
    std::unique_ptr<host::FdWatch> watch;
    bool forward = false;
    uint64_t last_used = 0;
    unsigned attempt = 0;     // kDns: which resolver
    unsigned unanswered = 0;  // kDns: queries in a row
    std::vector<Peer> peers;
    size_t next_peer = 0;            // to be forgotten, once there are enough
    std::list<Flow*>::iterator age;  // not of forwards
  };

  Flow* Find(const Key& key);
  Flow* Open(const Key& key, const Endpoint& to);
  bool Watch(Flow* flow);
  void Remember(Flow* flow, const Endpoint& host, const Endpoint& shown);
  const Peer* FindPeer(const Flow& flow, const Endpoint& host) const;
  Flow* ForwardOf(const Endpoint& guest, const Endpoint& to);
  void Touch(Flow* flow);
  void Ready(Flow* flow);
  void Arrived(Flow* flow, const Endpoint& from, std::span<uint8_t> bytes);
  void ReadErrors(Flow* flow);
  void Refused(const Flow& flow, const Endpoint& to, uint8_t type, uint8_t code);
  void Expire();
  void Erase(Flow* flow);

  host::EventLoop* const loop_;
  Wire* const wire_;
  HostSide* const host_;
  const size_t max_flows_;
  absl::flat_hash_map<Key, std::unique_ptr<Flow>> flows_;
  std::list<Flow*> by_age_;  // the one used longest ago first
  std::vector<std::unique_ptr<Flow>> forwards_;
  std::unique_ptr<host::LoopTimer> timer_;
  bool armed_ = false;
  std::unique_ptr<uint8_t[]> buffer_;  // kBatch datagrams
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_UDP_H_
