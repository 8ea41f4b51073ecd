// SPDX-License-Identifier: Apache-2.0
#include "lib/net/frame.h"

namespace atl::net {

bool Allows(const Offloads& offloads, const Work& work) {
  if (work.needs_checksum && !offloads.checksum) return false;
  if (work.ecn && !offloads.ecn) return false;
  switch (work.segmentation) {
    case Segmentation::kNone:
      return true;
    case Segmentation::kTcp4:
      return offloads.tcp4;
    case Segmentation::kTcp6:
      return offloads.tcp6;
    case Segmentation::kUdp:
      return offloads.udp4 && offloads.udp6;
  }
  return false;
}

bool WellFormed(const Frame& frame) {
  const size_t size = frame.bytes.size();
  const Work& work = frame.work;
  if (size < kEthernetHeader || size > kMaxFrame) return false;
  if (work.needs_checksum &&
      size_t{work.checksum_start} + work.checksum_offset + sizeof(uint16_t) > size) {
    return false;
  }
  if (work.segmentation == Segmentation::kNone) return !work.ecn && size <= kMaxPlainFrame;
  // Segments' checksums cannot be right before the cut.
  return work.segment_size != 0 && work.needs_checksum;
}

}  // namespace atl::net
