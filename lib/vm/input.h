// SPDX-License-Identifier: Apache-2.0
// The machine's keyboards and pointers as one: what people type goes to the
// device whose driver listens. A PC always has a PS/2 keyboard and mouse; beside
// them it may have virtio ones, and VMware's mouse.
#ifndef LIB_VM_INPUT_H_
#define LIB_VM_INPUT_H_

#include <cstdint>

#include "lib/dev/device_lock.h"
#include "lib/dev/i8042.h"
#include "lib/dev/vmmouse.h"
#include "lib/ui/screen.h"
#include "lib/virtio/input.h"

namespace atl::vm {

// Thread rule: any thread, once all is connected.
class MachineInput final : public ui::Input {
 public:
  // Each device with its lock; both outlive this object. One of a kind.
  void Connect(dev::I8042& controller, dev::DeviceLock& lock);
  void Connect(virtio::InputKind kind, virtio::InputDevice& device, dev::DeviceLock& lock);
  void Connect(dev::VmMouse& mouse, dev::DeviceLock& lock);

  void Key(uint8_t code, bool down) override;
  void Move(int dx, int dy, int wheel, uint8_t buttons) override;
  bool absolute() override;
  void MoveTo(const ui::Position& at, int wheel, uint8_t buttons) override;
  uint8_t leds() override;
  bool keys_taken() override;

 private:
  struct Slot {
    virtio::InputDevice* device = nullptr;
    dev::DeviceLock* lock = nullptr;
  };

  // The device of that kind, where its driver listens.
  template <typename Work>
  bool With(virtio::InputKind kind, Work&& work);
  template <typename Work>
  auto WithPs2(Work&& work);
  // VMware's mouse, where its driver listens; then the PS/2 mouse wakes the driver.
  template <typename Work>
  bool WithVmMouse(Work&& work);

  Slot slots_[3];
  dev::I8042* controller_ = nullptr;
  dev::DeviceLock* controller_lock_ = nullptr;
  dev::VmMouse* vmmouse_ = nullptr;
  dev::DeviceLock* vmmouse_lock_ = nullptr;
};

}  // namespace atl::vm

#endif  // LIB_VM_INPUT_H_
