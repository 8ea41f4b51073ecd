// SPDX-License-Identifier: Apache-2.0
// The virtio console with one port (VIRTIO 1.2, 5.3): Linux's hvc0.
#ifndef LIB_VIRTIO_CONSOLE_H_
#define LIB_VIRTIO_CONSOLE_H_

#include <memory>

#include "lib/char/stream.h"
#include "lib/mem/guest_memory.h"
#include "lib/virtio/device.h"
#include "lib/work/background.h"

namespace atl::virtio {

// Thread rule: the device's lock, for this too.
class ConsoleDevice : public VirtioDevice {
 public:
  // The stream has input.
  virtual void InputReady() = 0;
};

// All outlive the device.
std::unique_ptr<ConsoleDevice> NewConsole(GuestMemory* memory, work::Background* background,
                                          chr::Stream* stream);

}  // namespace atl::virtio

#endif  // LIB_VIRTIO_CONSOLE_H_
