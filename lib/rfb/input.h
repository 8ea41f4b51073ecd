// SPDX-License-Identifier: Apache-2.0
// What a viewer holds down, and where its pointer is.
#ifndef LIB_RFB_INPUT_H_
#define LIB_RFB_INPUT_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "lib/rfb/guest.h"
#include "lib/rfb/messages.h"

namespace atl::rfb {

class InputState {
 public:
  // `guest` outlives it. What is held is released at the end.
  explicit InputState(Guest* guest) : guest_(*guest) {}
  ~InputState() { ReleaseAll(); }
  InputState(const InputState&) = delete;
  InputState& operator=(const InputState&) = delete;

  void Key(const KeyEvent& event);
  // `absolute`: the guest takes positions. The picture is `width` by `height`.
  void Pointer(const PointerEvent& event, bool absolute, unsigned width, unsigned height);
  void ReleaseAll();

  // The viewer was told that its pointer events are to be moves from now on
  // (rfbproto, QEMU Pointer Motion Change), or no more.
  void SetMoves(bool moves) {
    moves_ = moves;
    last_.reset();
  }

 private:
  // More keys than fingers.
  static constexpr size_t kMaxHeld = 32;

  Guest& guest_;
  struct Held {
    uint8_t code;
    uint32_t keysym;
    friend bool operator==(const Held&, const Held&) = default;
  };
  std::vector<Held> held_;
  uint8_t buttons_ = 0;  // as RFB numbers them
  bool moves_ = false;
  std::optional<std::pair<int, int>> last_;
  bool absolute_ = false;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_INPUT_H_
