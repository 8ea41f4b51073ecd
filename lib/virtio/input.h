// SPDX-License-Identifier: Apache-2.0
// The virtio input devices (VIRTIO 1.2, 5.8): a keyboard, a wheel mouse, a
// tablet, which tells places and not moves. What they say are Linux's input
// events (linux/input-event-codes.h).
//
// Events that the driver has no buffers for wait here, up to kMaxWaiting; what
// comes then is lost, an event with all that belongs to it.
#ifndef LIB_VIRTIO_INPUT_H_
#define LIB_VIRTIO_INPUT_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "lib/mem/guest_memory.h"
#include "lib/virtio/device.h"

namespace atl::virtio {

enum class InputKind : uint8_t { kKeyboard, kMouse, kTablet };

// Thread rule: the device's lock, for these too.
class InputDevice : public VirtioDevice {
 public:
  static constexpr size_t kMaxWaiting = 256;
  static constexpr uint32_t kMaxPlace = 0x7FFF;  // of a tablet, both ways

  // A driver has set its queue up.
  virtual bool active() = 0;
  // Nothing waits for the driver's buffers.
  virtual bool taken() const = 0;
  // The keyboard: `code` as lib/ui/keys.h numbers keys.
  virtual void Key(uint8_t code, bool down) = 0;
  // Bit 0 scroll, 1 num, 2 caps lock.
  virtual uint8_t leds() const = 0;
  // The mouse: right and down positive, wheel down positive; `buttons` as in
  // lib/ui/screen.h.
  virtual void Move(int dx, int dy, int wheel, uint8_t buttons) = 0;
  // The tablet: up to kMaxPlace.
  virtual void MoveTo(uint32_t x, uint32_t y, int wheel, uint8_t buttons) = 0;
};

// `memory` outlives the device.
std::unique_ptr<InputDevice> NewInput(GuestMemory* memory, InputKind kind);

// Linux's number of a key numbered as lib/ui/keys.h does; 0 for none.
uint16_t LinuxKey(uint8_t code);

}  // namespace atl::virtio

#endif  // LIB_VIRTIO_INPUT_H_
