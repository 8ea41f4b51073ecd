// SPDX-License-Identifier: Apache-2.0
// What the services of the network (TCP, UDP, DHCP, TFTP ...) have of the guests'
// side: packets out. One thread, the loop's.
#ifndef LIB_USERNET_WIRE_H_
#define LIB_USERNET_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/usernet/address.h"
#include "lib/usernet/ring.h"

namespace atl::usernet {

// A packet for a guest: all that follows the IP header.
struct Packet {
  static constexpr size_t kNoChecksum = ~size_t{0};

  IpAddress from;
  IpAddress to;
  uint8_t protocol = 0;
  uint8_t hop_limit = 64;
  // The transport's header, at most kMaxHeader bytes; copied.
  std::span<const uint8_t> header;
  // Memory that stays as it is until the next Wire::Flush().
  Pieces payload;
  // Where in `header` the checksum is to go; its bytes are 0 there.
  size_t checksum_at = kNoChecksum;
  // Of TCP: payload of each segment, where Wire::SegmentLimit() was more than that.
  uint16_t segment_size = 0;
};
inline constexpr size_t kMaxHeader = 60;

class Wire {
 public:
  virtual ~Wire() = default;

  enum class Sent {
    kYes,          // on its way, as far as can be told
    kNoNeighbour,  // nobody is known by that address; the guests have been asked
    kFull,         // the guest's side takes no more now; WireReady() follows
  };
  virtual Sent Send(const Packet& packet) = 0;
  // As Send() would say.
  virtual bool Full(const IpAddress& to) const = 0;
  // The largest TCP payload in one Send() to `to`, whose segments have `mss`.
  virtual size_t SegmentLimit(const IpAddress& to, size_t mss) const = 0;
  // What was sent is handed over: its memory may change now.
  virtual void Flush() = 0;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_WIRE_H_
