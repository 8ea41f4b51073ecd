// SPDX-License-Identifier: Apache-2.0
// The virtio network device (VIRTIO 1.2, 5.1) with one pair of queues and the
// control queue.
#ifndef LIB_VIRTIO_NET_H_
#define LIB_VIRTIO_NET_H_

#include <cstdint>
#include <memory>

#include "lib/dev/clock.h"
#include "lib/mem/guest_memory.h"
#include "lib/net/mac.h"
#include "lib/net/port.h"
#include "lib/virtio/device.h"
#include "lib/work/background.h"

namespace atl::virtio {

struct NetOptions {
  net::MacAddress mac{};
  uint16_t mtu = 0;           // what the driver is told to use; 0: nothing
  uint16_t queue_size = 256;  // of receiving and sending, a power of two from 4 to kMaxQueueSize
  // Of the device's lock, outlives the device: for moderation.h. Null: without.
  dev::Clock* clock = nullptr;
  // Whether queues may be delegated to what the port's kernel_path() offers.
  bool delegates = false;
};

// `memory`, `port` and `background` outlive the device. Checksums and segmentation
// are offered as far as what hangs on the port takes them when the device is made.
std::unique_ptr<VirtioDevice> NewNet(GuestMemory* memory, net::Port* port,
                                     work::Background* background, const NetOptions& options);

}  // namespace atl::virtio

#endif  // LIB_VIRTIO_NET_H_
