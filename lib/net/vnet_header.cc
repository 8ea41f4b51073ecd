// SPDX-License-Identifier: Apache-2.0
#include "lib/net/vnet_header.h"

namespace atl::net {
namespace {

constexpr uint8_t kNeedsChecksum = 1;
constexpr uint8_t kDataValid = 2;

constexpr uint8_t kTcp4 = 1;
constexpr uint8_t kTcp6 = 4;
constexpr uint8_t kUdpL4 = 5;
constexpr uint8_t kEcn = 0x80;

}  // namespace

std::optional<Work> WorkFrom(const VnetHeader& header) {
  Work work;
  work.needs_checksum = (header.flags & kNeedsChecksum) != 0;
  work.checksum_valid = (header.flags & kDataValid) != 0;
  if (work.needs_checksum) {
    work.checksum_start = header.checksum_start;
    work.checksum_offset = header.checksum_offset;
  }
  switch (header.segmentation & ~kEcn) {
    case 0:
      // Of a frame without segments the rest of the header says nothing.
      return work;
    case kTcp4:
      work.segmentation = Segmentation::kTcp4;
      break;
    case kTcp6:
      work.segmentation = Segmentation::kTcp6;
      break;
    case kUdpL4:
      work.segmentation = Segmentation::kUdp;
      break;
    default:
      return std::nullopt;
  }
  work.ecn = (header.segmentation & kEcn) != 0;
  work.segment_size = header.segment_size;
  work.header_size = header.header_size;
  return work;
}

VnetHeader HeaderFor(const Work& work) {
  VnetHeader header{};
  if (work.needs_checksum) {
    header.flags = kNeedsChecksum;
    header.checksum_start = work.checksum_start;
    header.checksum_offset = work.checksum_offset;
  } else if (work.checksum_valid) {
    header.flags = kDataValid;
  }
  switch (work.segmentation) {
    case Segmentation::kNone:
      return header;
    case Segmentation::kTcp4:
      header.segmentation = kTcp4;
      break;
    case Segmentation::kTcp6:
      header.segmentation = kTcp6;
      break;
    case Segmentation::kUdp:
      header.segmentation = kUdpL4;
      break;
  }
  if (work.ecn) header.segmentation |= kEcn;
  header.segment_size = work.segment_size;
  header.header_size = work.header_size;
  return header;
}

}  // namespace atl::net
