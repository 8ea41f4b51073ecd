// SPDX-License-Identifier: Apache-2.0
// The cable between the switch and one guest. One thread, the loop's.
#ifndef LIB_USERNET_LINK_H_
#define LIB_USERNET_LINK_H_

#include <sys/uio.h>

#include <cstdint>
#include <span>

namespace atl::usernet {

inline constexpr size_t kEthernetSize = 14;
// With a VLAN tag and an IP packet of any size.
inline constexpr size_t kMaxFrame = kEthernetSize + 4 + 65536;

// What a frame's sender left to its receiver: virtio's words.
struct FrameWork {
  bool needs_checksum = false;  // from `checksum_start` on, stored `checksum_offset` behind it
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
  uint16_t segment_size = 0;  // TCP payload of each segment; 0: one segment
  uint16_t header_size = 0;
  bool ipv6 = false;
};

// What may be left to a receiver. Segmentation needs the checksum.
struct LinkOffloads {
  bool checksum = false;
  bool tcp4 = false;
  bool tcp6 = false;
};

struct OutFrame {
  std::span<const uint8_t> header;  // copied
  std::span<const iovec> payload;   // its bytes stay until Flush(); at most 4 pieces
  FrameWork work;
};

class Link {
 public:
  virtual ~Link() = default;
  // Takes the frame or, where too much waits already, drops it. One with work left
  // that offloads() has not is dropped.
  virtual void Send(const OutFrame& frame) = 0;
  virtual void Flush() = 0;
  // Whether bulk had better wait for LinkHandler::LinkReady().
  virtual bool Full() const = 0;
  // May change between frames; frames on their way then are lost.
  virtual LinkOffloads offloads() const = 0;
};

class LinkHandler {
 public:
  virtual ~LinkHandler() = default;
  // A frame from the guest, of 14 to kMaxFrame bytes. They stay until LinkBatchEnd().
  virtual void LinkFrame(Link* link, std::span<const uint8_t> frame, const FrameWork& work) = 0;
  virtual void LinkBatchEnd(Link* link) = 0;
  // Full() is false again.
  virtual void LinkReady(Link* link) = 0;
  // The guest has gone, or said what is no frame. The link may be destroyed within.
  virtual void LinkClosed(Link* link) = 0;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_LINK_H_
