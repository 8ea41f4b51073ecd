// SPDX-License-Identifier: Apache-2.0
// The headers of packets, as they lie in frames.
#ifndef LIB_USERNET_LAYOUT_H_
#define LIB_USERNET_LAYOUT_H_

#include <cstdint>

#include "lib/base/endian.h"
#include "lib/usernet/address.h"

namespace atl::usernet {

inline constexpr uint16_t kTypeIpv4 = 0x0800;
inline constexpr uint16_t kTypeArp = 0x0806;
inline constexpr uint16_t kTypeIpv6 = 0x86DD;

inline constexpr uint8_t kIcmp = 1;
inline constexpr uint8_t kTcp = 6;
inline constexpr uint8_t kUdp = 17;
inline constexpr uint8_t kIcmp6 = 58;

inline constexpr MacAddress kBroadcastMac = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};

struct EthernetHeader {
  MacAddress to;
  MacAddress from;
  be16 type;
};
static_assert(sizeof(EthernetHeader) == 14);

struct ArpPacket {  // RFC 826, for IPv4 over Ethernet
  be16 hardware;    // 1
  be16 protocol;    // kTypeIpv4
  uint8_t hardware_size;
  uint8_t protocol_size;
  be16 operation;  // 1 request, 2 reply
  MacAddress sender;
  be32 sender_ip;
  MacAddress target;
  be32 target_ip;
};
static_assert(sizeof(ArpPacket) == 28);

struct Ipv4Header {
  uint8_t version_size;  // 4, and the header's length in words
  uint8_t service;
  be16 size;
  be16 id;
  be16 fragment;  // bit 14 don't, 13 more, then the offset in units of 8 bytes
  uint8_t ttl;
  uint8_t protocol;
  be16 checksum;
  be32 from;
  be32 to;
};
static_assert(sizeof(Ipv4Header) == 20);
inline constexpr uint16_t kDontFragment = 0x4000;
inline constexpr uint16_t kMoreFragments = 0x2000;
inline constexpr uint16_t kFragmentOffset = 0x1FFF;

struct Ipv6Header {
  be32 version_class_flow;
  be16 size;  // of what follows
  uint8_t next;
  uint8_t hop_limit;
  std::array<uint8_t, 16> from;
  std::array<uint8_t, 16> to;
};
static_assert(sizeof(Ipv6Header) == 40);

struct UdpHeader {
  be16 from;
  be16 to;
  be16 size;
  be16 checksum;
};
static_assert(sizeof(UdpHeader) == 8);

struct TcpHeader {
  be16 from;
  be16 to;
  be32 sequence;
  be32 acknowledgement;
  uint8_t offset;  // words, in the upper half
  uint8_t flags;
  be16 window;
  be16 checksum;
  be16 urgent;
};
static_assert(sizeof(TcpHeader) == 20);
inline constexpr uint8_t kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16;

struct IcmpHeader {
  uint8_t type;
  uint8_t code;
  be16 checksum;
  be16 id;
  be16 sequence;
};
static_assert(sizeof(IcmpHeader) == 8);

}  // namespace atl::usernet

#endif  // LIB_USERNET_LAYOUT_H_
