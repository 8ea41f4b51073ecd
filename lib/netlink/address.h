// SPDX-License-Identifier: Apache-2.0
// MAC addresses and IP prefixes as values: text in, text out, comparisons.
#ifndef LIB_NETLINK_ADDRESS_H_
#define LIB_NETLINK_ADDRESS_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::netlink {

using MacAddress = std::array<uint8_t, 6>;

// "fe:00:1a:2b:3c:4d"; also with dashes. A group address, or one of zeros, is no
// address of a station: InvalidArgument, as is anything else.
absl::StatusOr<MacAddress> ParseMac(absl::string_view text);
std::string FormatMac(const MacAddress& mac);

// An address with the length of its network's prefix: 10.0.1.1/24, fd00::1/64.
struct IpPrefix {
  uint8_t family = 0;               // AF_INET or AF_INET6
  std::array<uint8_t, 16> bytes{};  // as on the wire; IPv4 has the first 4
  uint8_t length = 0;               // bits, at most 32 or 128

  unsigned size() const;  // bytes of the address, 4 or 16
  std::span<const uint8_t> address() const { return std::span(bytes).first(size()); }
  // The same prefix with the host's bits zero.
  IpPrefix Network() const;
  // Whether `other`'s whole network lies in this one; false for another family.
  bool Contains(const IpPrefix& other) const;
  bool Overlaps(const IpPrefix& other) const { return Contains(other) || other.Contains(*this); }
  // IPv4 as a number of the host's byte order.
  uint32_t V4() const;

  std::string AddressText() const;  // "10.0.1.1"
  std::string Text() const;         // "10.0.1.1/24"
  friend bool operator==(const IpPrefix&, const IpPrefix&) = default;
};

IpPrefix Ipv4(uint32_t address, uint8_t length);

// "10.0.1.1/24"; without a length it is the whole address, /32 or /128.
absl::StatusOr<IpPrefix> ParseIpPrefix(absl::string_view text);

}  // namespace atl::netlink

#endif  // LIB_NETLINK_ADDRESS_H_
