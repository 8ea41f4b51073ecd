// SPDX-License-Identifier: Apache-2.0
// The virtio memory balloon (VIRTIO 1.2, 5.5): the guest gives pages back that
// it can do without, down to a size that somebody outside wishes for.
#ifndef LIB_VIRTIO_BALLOON_H_
#define LIB_VIRTIO_BALLOON_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "lib/mem/guest_memory.h"
#include "lib/virtio/device.h"
#include "lib/work/background.h"

namespace atl::virtio {

// Thread rule: the device's lock, for these too.
class BalloonDevice : public VirtioDevice {
 public:
  static constexpr uint64_t kPageBytes = 4096;  // of the balloon, whatever the guest's

  // How many pages the guest is to do without; it does what it can.
  virtual void SetTarget(uint32_t pages) = 0;
  virtual uint32_t target() const = 0;
  // How many it says that it does without now.
  virtual uint32_t actual() const = 0;
};

// `discard` makes a page of RAM, by its address, read as zeros and cost nothing;
// it may be called for any address, with the device's lock held. `memory` and
// `background` outlive the device.
std::unique_ptr<BalloonDevice> NewBalloon(GuestMemory* memory, work::Background* background,
                                          std::function<void(Gpa page)> discard);

}  // namespace atl::virtio

#endif  // LIB_VIRTIO_BALLOON_H_
