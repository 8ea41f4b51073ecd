// SPDX-License-Identifier: Apache-2.0
// The gateway's part of IPv6 neighbour discovery (RFC 4861): it says where it is, and
// advertises the network, itself as the router and the name server (RFC 8106). One
// thread, the loop's.
#ifndef LIB_USERNET_NDP_H_
#define LIB_USERNET_NDP_H_

#include <cstdint>
#include <memory>

#include "lib/host/event_loop.h"
#include "lib/usernet/lan.h"
#include "lib/usernet/options.h"

namespace atl::usernet {

class Ndp {
 public:
  // All live longer.
  Ndp(host::EventLoop* loop, Lan* lan, const Options& options);

  // An ICMPv6 packet from a guest, its checksum found right. False where it is none of
  // neighbour discovery.
  bool Receive(const InPacket& packet);

 private:
  void Advertise(const IpAddress& to);
  void Answer(const InPacket& packet);

  Lan* const lan_;
  const Options& options_;
  std::unique_ptr<host::LoopTimer> timer_;
  uint64_t last_ = 0;
  uint64_t next_ = 0;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_NDP_H_
