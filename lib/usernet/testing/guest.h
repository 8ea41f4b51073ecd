// SPDX-License-Identifier: Apache-2.0
// The packets of a guest that a test plays: made and taken apart by code of their own,
// not the engine's.
#ifndef LIB_USERNET_TESTING_GUEST_H_
#define LIB_USERNET_TESTING_GUEST_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/usernet/address.h"

namespace atl::usernet::testing_guest {

using Bytes = std::vector<uint8_t>;

inline constexpr MacAddress kGuestMac = {0x52, 0x54, 0, 0, 0, 1};
inline constexpr MacAddress kGatewayMac = {0x52, 0x55, 0x0A, 0, 2, 2};

struct Tcp {
  uint16_t from = 0, to = 0;
  uint32_t sequence = 0, acknowledgement = 0;
  uint8_t flags = 0;
  uint16_t window = 65535;
  Bytes options;  // a multiple of 4 bytes
  Bytes payload;
};

// An Ethernet frame to the gateway with an IP packet in it, checksums right. Both addresses
// are of one family.
Bytes IpFrame(const IpAddress& from, const IpAddress& to, uint8_t protocol, const Bytes& payload,
              const MacAddress& mac = kGuestMac, uint8_t hop_limit = 64);
Bytes TcpFrame(const IpAddress& from, const IpAddress& to, const Tcp& tcp);
Bytes UdpFrame(const Endpoint& from, const Endpoint& to, const Bytes& payload);
Bytes PingFrame(const IpAddress& from, const IpAddress& to, uint16_t id, const Bytes& payload);
Bytes ArpRequest(uint32_t from, uint32_t to);

// What a frame holds; nothing where it is no such packet or a checksum is wrong.
struct Ip {
  IpAddress from, to;
  uint8_t protocol = 0;
  Bytes payload;
};
std::optional<Ip> ParseIp(std::span<const uint8_t> frame);
std::optional<Tcp> ParseTcp(const Ip& ip);

}  // namespace atl::usernet::testing_guest

#endif  // LIB_USERNET_TESTING_GUEST_H_
