// SPDX-License-Identifier: Apache-2.0
// Copies the bytes of images into another, with several threads, leaving out
// what is zero. Under convert and dd.
#ifndef CMD_IMG_COPY_H_
#define CMD_IMG_COPY_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "lib/block/image.h"

namespace atl::img {

// Bytes [offset, offset + length) of an image; they follow each other in the
// target.
struct CopySource {
  block::Image* image = nullptr;
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct CopyJob {
  std::vector<CopySource> sources;
  block::Image* target = nullptr;  // has room for all of them
  int workers = 1;
  bool compress = false;
  // Clusters of the target are taken in the order in which they become ready.
  // Else the layout depends on the sources only, for any number of workers.
  bool out_of_order = false;
  // Runs of zeroes shorter than this are written as data; 0: all zeroes are.
  uint64_t sparse = 4096;
  // The target reads as zeroes already: zeroes need no writing.
  bool target_is_zero = false;
  // The target has the source's backing file: only what stands in the source
  // itself is copied.
  bool target_has_backing = false;
  // Unreadable parts become zeroes; each is told to `unreadable`.
  bool salvage = false;
  std::function<void(const absl::Status&)> unreadable;
  // Let the kernel copy raw to raw, sharing blocks where the file system can.
  bool offload = false;
  uint64_t bytes_per_second = 0;  // 0: as fast as it goes
  std::function<void(uint64_t done, uint64_t total)> progress;
};

// Returns when everything is written, or after the first error, with no thread
// left behind. The target is not flushed.
absl::Status Copy(const CopyJob& job);

}  // namespace atl::img

#endif  // CMD_IMG_COPY_H_
