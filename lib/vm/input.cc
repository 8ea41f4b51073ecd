// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/input.h"

#include <algorithm>

namespace atl::vm {

using virtio::InputKind;

void MachineInput::Connect(dev::I8042& controller, dev::DeviceLock& lock) {
  controller_ = &controller;
  controller_lock_ = &lock;
}

void MachineInput::Connect(InputKind kind, virtio::InputDevice& device, dev::DeviceLock& lock) {
  slots_[static_cast<size_t>(kind)] = {&device, &lock};
}

void MachineInput::Connect(dev::VmMouse& mouse, dev::DeviceLock& lock) {
  vmmouse_ = &mouse;
  vmmouse_lock_ = &lock;
}

template <typename Work>
bool MachineInput::With(InputKind kind, Work&& work) {
  const Slot& slot = slots_[static_cast<size_t>(kind)];
  if (slot.device == nullptr) return false;
  return slot.lock->Run([&] {
    if (!slot.device->active()) return false;
    work(*slot.device);
    return true;
  });
}

template <typename Work>
auto MachineInput::WithPs2(Work&& work) {
  return controller_lock_->Run([&] { return work(*controller_); });
}

template <typename Work>
bool MachineInput::WithVmMouse(Work&& work) {
  if (vmmouse_ == nullptr) return false;
  const bool done = vmmouse_lock_->Run([&] {
    if (!vmmouse_->enabled()) return false;
    work(*vmmouse_);
    return true;
  });
  if (done) WithPs2([](dev::I8042& c) { c.NudgeMouse(); });
  return done;
}

void MachineInput::Key(uint8_t code, bool down) {
  if (With(InputKind::kKeyboard, [&](virtio::InputDevice& d) { d.Key(code, down); })) return;
  WithPs2([&](dev::I8042& c) { c.Key(code, down); });
}

void MachineInput::Move(int dx, int dy, int wheel, uint8_t buttons) {
  if (With(InputKind::kMouse, [&](virtio::InputDevice& d) { d.Move(dx, dy, wheel, buttons); })) {
    return;
  }
  if (WithVmMouse([&](dev::VmMouse& m) { m.Move(dx, dy, wheel, buttons); })) return;
  WithPs2([&](dev::I8042& c) { c.MoveMouse(dx, dy, wheel, buttons); });
}

bool MachineInput::absolute() {
  if (With(InputKind::kTablet, [](virtio::InputDevice&) {})) return true;
  return vmmouse_ != nullptr && vmmouse_lock_->Run([this] { return vmmouse_->absolute(); });
}

void MachineInput::MoveTo(const ui::Position& at, int wheel, uint8_t buttons) {
  const auto scaled = [](unsigned value, unsigned size, uint32_t max) -> uint32_t {
    if (size < 2) return 0;
    const uint64_t last = size - 1;
    return static_cast<uint32_t>((uint64_t{std::min<unsigned>(value, size - 1)} * max + last / 2) /
                                 last);
  };
  const auto move_to = [&](auto& device, uint32_t max) {
    device.MoveTo(scaled(at.x, at.width, max), scaled(at.y, at.height, max), wheel, buttons);
  };
  if (With(InputKind::kTablet,
           [&](virtio::InputDevice& d) { move_to(d, virtio::InputDevice::kMaxPlace); })) {
    return;
  }
  WithVmMouse([&](dev::VmMouse& m) { move_to(m, dev::VmMouse::kMaxPlace); });
}

uint8_t MachineInput::leds() {
  uint8_t leds = 0;
  if (With(InputKind::kKeyboard, [&](virtio::InputDevice& d) { leds = d.leds(); })) return leds;
  return WithPs2([](dev::I8042& c) { return c.leds(); });
}

bool MachineInput::keys_taken() {
  bool taken = true;
  if (With(InputKind::kKeyboard, [&](virtio::InputDevice& d) { taken = d.taken(); })) return taken;
  return WithPs2([](dev::I8042& c) { return c.keys_taken(); });
}

}  // namespace atl::vm
