// SPDX-License-Identifier: Apache-2.0
// The Internet checksum (RFC 1071).
#ifndef LIB_USERNET_CHECKSUM_H_
#define LIB_USERNET_CHECKSUM_H_

#include <cstdint>
#include <span>

#include "lib/usernet/address.h"

namespace atl::usernet {

// Sums bytes that lie in several places as if they lay in one.
class Checksum {
 public:
  void Add(std::span<const uint8_t> bytes);
  void AddWord(uint16_t word);  // host order; only after an even number of bytes
  // What TCP, UDP and ICMPv6 sum before their own bytes: addresses, length, protocol.
  void AddPseudoHeader(const IpAddress& from, const IpAddress& to, uint8_t protocol,
                       uint32_t length);

  // The sum itself, folded, host order: 0xFFFF where a checksum within is right.
  uint16_t sum() const;
  // What goes into the checksum's field.
  uint16_t Value() const { return static_cast<uint16_t>(~sum()); }

 private:
  uint64_t sum_ = 0;  // of words in memory order
  bool odd_ = false;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_CHECKSUM_H_
