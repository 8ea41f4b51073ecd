// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/input.h"

#include <algorithm>

namespace atl::rfb {
namespace {

constexpr uint8_t kRfbLeft = 1, kRfbMiddle = 2, kRfbRight = 4;
constexpr uint8_t kRfbUp = 8, kRfbDown = 16, kRfbWheelLeft = 32, kRfbWheelRight = 64;
// What a viewer sends for "no move" in the mode of moves.
constexpr int kStill = 0x7FFF;

uint8_t GuestButtons(uint8_t rfb) {
  return static_cast<uint8_t>(((rfb & kRfbLeft) != 0 ? kButtonLeft : 0) |
                              ((rfb & kRfbMiddle) != 0 ? kButtonMiddle : 0) |
                              ((rfb & kRfbRight) != 0 ? kButtonRight : 0));
}

}  // namespace

void InputState::Key(const KeyEvent& event) {
  if (event.code > 0xFF || (event.code == 0 && event.keysym == 0)) return;
  const Held key{static_cast<uint8_t>(event.code), event.keysym};
  const auto it = std::find(held_.begin(), held_.end(), key);
  if (event.down) {
    if (it == held_.end()) {
      if (held_.size() == kMaxHeld) return;
      held_.push_back(key);
    }
  } else if (it != held_.end()) {
    held_.erase(it);
  }
  guest_.Key(event.down, key.code, key.keysym);
}

void InputState::Pointer(const PointerEvent& event, bool absolute, unsigned width,
                         unsigned height) {
  const uint8_t pressed = static_cast<uint8_t>(event.buttons & ~buttons_);
  buttons_ = event.buttons;
  Wheel wheel;
  if ((pressed & kRfbUp) != 0) --wheel.down;
  if ((pressed & kRfbDown) != 0) ++wheel.down;
  if ((pressed & kRfbWheelLeft) != 0) --wheel.right;
  if ((pressed & kRfbWheelRight) != 0) ++wheel.right;
  const uint8_t buttons = GuestButtons(event.buttons);
  absolute_ = absolute;
  if (moves_) {
    guest_.Move(event.x - kStill, event.y - kStill, wheel, buttons);
    return;
  }
  const int x = static_cast<int>(std::min<unsigned>(event.x, width - 1));
  const int y = static_cast<int>(std::min<unsigned>(event.y, height - 1));
  if (absolute) {
    guest_.PointAt(static_cast<unsigned>(x), static_cast<unsigned>(y), wheel, buttons);
  } else if (last_) {
    guest_.Move(x - last_->first, y - last_->second, wheel, buttons);
  } else {
    guest_.Move(0, 0, wheel, buttons);
  }
  last_ = {x, y};
}

void InputState::ReleaseAll() {
  for (const Held& h : held_) guest_.Key(false, h.code, h.keysym);
  held_.clear();
  if (GuestButtons(buttons_) != 0) {
    if (absolute_ && last_) {
      guest_.PointAt(static_cast<unsigned>(last_->first), static_cast<unsigned>(last_->second), {},
                     0);
    } else {
      guest_.Move(0, 0, {}, 0);
    }
  }
  buttons_ = 0;
}

}  // namespace atl::rfb
