// SPDX-License-Identifier: Apache-2.0
// The virtio block device (VIRTIO 1.2, 5.2).
#ifndef LIB_VIRTIO_BLK_H_
#define LIB_VIRTIO_BLK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "lib/block/disk.h"
#include "lib/dev/bells.h"
#include "lib/mem/guest_memory.h"
#include "lib/virtio/device.h"
#include "lib/work/background.h"
#include "lib/work/ring.h"

namespace atl::virtio {

struct BlkOptions {
  uint16_t queues = 1;        // 1 to 64
  uint16_t queue_size = 256;  // a power of two up to kMaxQueueSize, at least 4
  bool read_only = false;     // besides a disk that is
  // What the guest calls the disk's serial number; at most 20 bytes are shown.
  std::string serial;
  // Told of each failed request, with the device's lock held: for the log.
  std::function<void(const absl::Status&)> on_error;
  // Where both are there and a thread can wait for the ring: reads and writes of what
  // stands in the image's file as it is go that way. Null: none. Both outlive the device.
  work::Ring* ring = nullptr;
  dev::Bells* bells = nullptr;
};

// `memory`, `disk` and `background` outlive the device. Disk calls are made in
// `background`, on guest memory directly where a request's buffers allow it.
std::unique_ptr<VirtioDevice> NewBlk(GuestMemory* memory, block::Disk* disk,
                                     work::Background* background, BlkOptions options = {});

}  // namespace atl::virtio

#endif  // LIB_VIRTIO_BLK_H_
