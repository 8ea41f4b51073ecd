// SPDX-License-Identifier: Apache-2.0
// What network cards know of Ethernet: the check sequence, the multicast hash,
// the sizes of frames. Ones' complement sums of the Internet protocols.
#ifndef LIB_NIC_ETHERNET_H_
#define LIB_NIC_ETHERNET_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace atl::nic {

inline constexpr size_t kAddressBytes = 6;
inline constexpr size_t kHeaderBytes = 14;  // two addresses and the type
inline constexpr size_t kMinFrame = 60;     // without the check sequence
inline constexpr size_t kMaxFrame = 1514;   // of an MTU of 1500, untagged
inline constexpr size_t kCheckBytes = 4;
inline constexpr uint16_t kTypeIpv4 = 0x0800;
inline constexpr uint16_t kTypeIpv6 = 0x86DD;
inline constexpr uint16_t kTypeVlan = 0x8100;
inline constexpr uint8_t kProtocolTcp = 6;
inline constexpr uint8_t kProtocolUdp = 17;

// The check sequence of a frame (IEEE 802.3, 3.2.9), as a little-endian number.
uint32_t FrameCheck(std::span<const uint8_t> frame);

// The bit, 0 to 63, of the multicast filters of the DP8390 and its descendants:
// the upper six bits of the address' CRC, the first bit first.
unsigned MulticastHash(const uint8_t* address);

bool IsBroadcast(const uint8_t* address);
inline bool IsGroup(const uint8_t* address) { return (address[0] & 1) != 0; }

// The sum of big-endian 16-bit words (RFC 1071), an odd last byte counting as the
// upper half of one; folded to 16 bits, not inverted.
uint16_t OnesSum(std::span<const uint8_t> bytes);
inline uint16_t OnesAdd(uint16_t a, uint16_t b) {
  const uint32_t sum = uint32_t{a} + b;
  return static_cast<uint16_t>((sum & 0xFFFF) + (sum >> 16));
}

// What a card that checks IPv4 finds in a frame, tagged or not.
struct Ipv4Checks {
  bool ip = false;  // it is IPv4 with a whole header
  bool ip_good = false;
  uint8_t protocol = 0;  // kProtocolTcp, kProtocolUdp where there was a checksum to see
  bool payload_good = false;
};
// `checked`: the transport checksum is known to be right.
Ipv4Checks CheckIpv4(std::span<const uint8_t> frame, bool checked);

}  // namespace atl::nic

#endif  // LIB_NIC_ETHERNET_H_
