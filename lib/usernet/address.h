// SPDX-License-Identifier: Apache-2.0
// IP and Ethernet addresses as values.
#ifndef LIB_USERNET_ADDRESS_H_
#define LIB_USERNET_ADDRESS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace atl::usernet {

using MacAddress = std::array<uint8_t, 6>;

// An IPv6 address, or an IPv4 address in its mapped form (::ffff:a.b.c.d).
struct IpAddress {
  std::array<uint8_t, 16> bytes{};

  static IpAddress V4(uint32_t host_order);
  // "10.0.2.2", "fec0::2".
  static std::optional<IpAddress> Parse(absl::string_view text);

  bool is4() const;
  uint32_t v4() const;  // host order; of a mapped address
  bool unspecified() const;
  bool loopback() const;
  bool multicast() const;  // or the IPv4 broadcast address
  bool link_local6() const { return bytes[0] == 0xFE && (bytes[1] & 0xC0) == 0x80; }
  std::string ToString() const;

  bool operator==(const IpAddress&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const IpAddress& a) {
    return H::combine_contiguous(std::move(h), a.bytes.data(), a.bytes.size());
  }
};

struct Endpoint {
  IpAddress address;
  uint16_t port = 0;

  std::string ToString() const;  // "10.0.2.15:22", "[fec0::15]:22"
  bool operator==(const Endpoint&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const Endpoint& e) {
    return H::combine(std::move(h), e.address, e.port);
  }
};

std::string MacToString(const MacAddress& mac);

}  // namespace atl::usernet

#endif  // LIB_USERNET_ADDRESS_H_
