// SPDX-License-Identifier: Apache-2.0
// A kernel that serves a virtio card's two queues itself, between guest memory and a tap
// (vhost-net): frames then pass neither the hub nor the card's code.
//
// Thread rule: with the card's lock held; SetMemory() while vCPUs stand still.
#ifndef LIB_NET_KERNEL_PATH_H_
#define LIB_NET_KERNEL_PATH_H_

#include <array>
#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace atl::net {

class KernelPath {
 public:
  // RAM as the guest sees it and where it lies in this process.
  struct Region {
    uint64_t guest = 0;
    uint64_t size = 0;
    const void* host = nullptr;
  };
  struct Queue {
    uint16_t size = 0;
    uint16_t next = 0;  // the driver ring's index to go on from
    const void* descriptors = nullptr;
    const void* driver_ring = nullptr;
    const void* device_ring = nullptr;
    int kick = -1;  // eventfds: the driver's to the kernel, and the other way
    int call = -1;
  };

  virtual ~KernelPath() = default;
  // The ring features (VIRTIO 1.2, 6) and mergeable buffers that it knows.
  virtual uint64_t features() = 0;
  // `queues`: receiving, sending. On an error nothing is served.
  virtual absl::Status Serve(uint64_t features, std::span<const Region> memory,
                             const std::array<Queue, 2>& queues) = 0;
  virtual absl::Status SetMemory(std::span<const Region> memory) = 0;
  // When it returns, neither queue nor memory is touched any more. The indices to go on
  // from.
  virtual std::array<uint16_t, 2> Stop() = 0;
};

}  // namespace atl::net

#endif  // LIB_NET_KERNEL_PATH_H_
