// SPDX-License-Identifier: Apache-2.0
// struct virtio_net_hdr_v1 (VIRTIO 1.2, 5.1.6): what stands before a frame in
// virtio-net's queues and in a tap with IFF_VNET_HDR, little-endian.
#ifndef LIB_NET_VNET_HEADER_H_
#define LIB_NET_VNET_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "lib/base/endian.h"
#include "lib/net/frame.h"

namespace atl::net {

struct VnetHeader {
  uint8_t flags;
  uint8_t segmentation;
  le16 header_size;
  le16 segment_size;
  le16 checksum_start;
  le16 checksum_offset;
  le16 buffers;  // of a received frame with mergeable buffers; else absent or 0
};
inline constexpr size_t kVnetHeaderBytes = 12;
// Without `buffers`: of legacy drivers that do not merge.
inline constexpr size_t kShortVnetHeaderBytes = 10;
static_assert(sizeof(VnetHeader) == kVnetHeaderBytes);
static_assert(offsetof(VnetHeader, buffers) == kShortVnetHeaderBytes);

// Nothing where the header asks for what there is not. Whether the places lie in
// the frame: WellFormed().
std::optional<Work> WorkFrom(const VnetHeader& header);
VnetHeader HeaderFor(const Work& work);

}  // namespace atl::net

#endif  // LIB_NET_VNET_HEADER_H_
