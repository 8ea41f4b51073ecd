// SPDX-License-Identifier: Apache-2.0
// An Ethernet frame on its way through the machine, and what its sender left for
// others to do.
//
// The bytes begin with the destination address and end with the payload: no
// preamble, no check sequence; a VLAN tag stands in them like anything else.
// Short frames are not padded (a tap's are not either): what a medium demands, its
// card sees to.
#ifndef LIB_NET_FRAME_H_
#define LIB_NET_FRAME_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace atl::net {

inline constexpr size_t kEthernetHeader = 14;
inline constexpr size_t kMtu = 1500;
// Of a frame without segmentation left to do: header, VLAN tag, the largest MTU.
inline constexpr size_t kMaxPlainFrame = kEthernetHeader + 4 + 65535;
// Of every frame, for buffers: no frame in a Port is longer, none shorter than
// its Ethernet header.
inline constexpr size_t kMaxFrame = kEthernetHeader + 4 + 65536;

// What a sender may leave to the receiver: the words of virtio-net's and the
// tap's features. Nothing else is ever left.
struct Offloads {
  bool checksum = false;  // a TCP or UDP checksum to fill in, and what is known of one
  bool tcp4 = false;      // TCP over IPv4 to be cut into segments; needs checksum
  bool tcp6 = false;
  bool ecn = false;   // TCP segmentation with the CWR bit
  bool udp4 = false;  // UDP over IPv4 and IPv6, cut into datagrams (USO)
  bool udp6 = false;

  friend bool operator==(const Offloads&, const Offloads&) = default;
};

// What both allow.
constexpr Offloads Common(const Offloads& a, const Offloads& b) {
  return {a.checksum && b.checksum, a.tcp4 && b.tcp4, a.tcp6 && b.tcp6,
          a.ecn && b.ecn,           a.udp4 && b.udp4, a.udp6 && b.udp6};
}

enum class Segmentation : uint8_t { kNone, kTcp4, kTcp6, kUdp };

// What is left to do with one frame. The default is nothing: a complete frame.
struct Work {
  // The ones' complement sum from byte checksum_start to the end is to be stored
  // 16 bits wide at checksum_start + checksum_offset, where the pseudo header's
  // sum stands now. Both lie within the frame: the Port has checked.
  bool needs_checksum = false;
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
  // The checksums were found right, or the frame never left this host. A hint.
  bool checksum_valid = false;
  Segmentation segmentation = Segmentation::kNone;
  bool ecn = false;
  uint16_t segment_size = 0;  // payload of each segment, not 0
  // Headers up to the payload, as the sender says: a hint that may be wrong.
  uint16_t header_size = 0;

  bool plain() const { return !needs_checksum && segmentation == Segmentation::kNone; }
};

struct Frame {
  std::span<const uint8_t> bytes;  // stays the caller's; not to be kept
  Work work;
};

// Whether nothing is left in `frame` that `offloads` does not allow.
bool Allows(const Offloads& offloads, const Work& work);
// Whether `frame` keeps this header's rules: its length, its work's places.
bool WellFormed(const Frame& frame);

}  // namespace atl::net

#endif  // LIB_NET_FRAME_H_
