// SPDX-License-Identifier: Apache-2.0
// The two sides of a guest's console: what it shows, and what people type and
// point at. Devices implement both; viewers (a terminal, VNC, a screen dump)
// use them and know no device.
#ifndef LIB_UI_SCREEN_H_
#define LIB_UI_SCREEN_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "lib/ui/surface.h"

namespace atl::ui {

// A character of a text mode: a code of the guest's font, code page 437 unless
// it loaded another, and the attribute byte (bits 0-3 foreground, 4-6
// background, 7 blinking or bright background, as `blink` says).
struct TextCell {
  uint8_t code = 0;
  uint8_t attribute = 0;
  friend bool operator==(const TextCell&, const TextCell&) = default;
};

struct TextScreen {
  unsigned columns = 0;
  unsigned rows = 0;
  bool blink = false;
  std::vector<TextCell> cells;     // columns * rows
  std::optional<unsigned> cursor;  // index into `cells`, where one shows
  uint32_t palette[16] = {};       // 0x00RRGGBB of the colours
  friend bool operator==(const TextScreen&, const TextScreen&) = default;
};

// The rows as UTF-8, without trailing blanks, each ended by a newline.
std::string TextOf(const TextScreen& text);
// The Unicode character that code page 437 shows for a code; 0 is a blank.
char32_t UnicodeOfCp437(uint8_t code);

enum class ScreenKind : uint8_t { kBlank, kText, kGraphics };

// Thread rule: any thread, one at a time or more; a call takes the device's
// lock only as long as it looks at registers. The picture of a guest that runs
// is what its memory holds while it is looked at.
class Screen {
 public:
  virtual ~Screen() = default;

  virtual ScreenKind kind() = 0;
  // The whole picture as it is now. Never empty: a blank screen is black.
  virtual Surface Capture() = 0;
  // Brings the viewer's own `surface` up to date and says what changed in it.
  // Costs little where nothing did. What blinks shows, here as in Capture().
  virtual Damage Refresh(Surface& surface) = 0;
  // Calls `changed` once, when the picture may differ from what `seen` had at its
  // last Refresh(): at once, or on any thread, with the device's lock held, so
  // that it may only wake somebody. One call at a time can be waited for; null
  // ends the wait. False: some changes cannot be told (the guest draws into
  // memory), and one has to look.
  virtual bool OnNextChange(const Surface& seen, std::function<void()> changed) = 0;
  // Nothing unless kind() is kText.
  virtual std::optional<TextScreen> Text() = 0;
};

struct Position {
  unsigned x = 0, y = 0;
  unsigned width = 0, height = 0;
  friend bool operator==(const Position&, const Position&) = default;
};

// Thread rule: any thread.
class Input {
 public:
  virtual ~Input() = default;
  // `code` as in keys.h.
  virtual void Key(uint8_t code, bool down) = 0;
  // Right and down positive; wheel down positive. `buttons` that are held: bit
  // 0 left, 1 right, 2 middle, 3 and 4 the side ones.
  virtual void Move(int dx, int dy, int wheel, uint8_t buttons) = 0;
  // Whether the guest takes positions instead, now.
  virtual bool absolute() { return false; }
  // Where it does: pixel `x`, `y` of a picture of `width` x `height`, inside it.
  virtual void MoveTo(const Position& at, int wheel, uint8_t buttons) {
    (void)at, (void)wheel, (void)buttons;
  }
  // Whether the guest has taken every key from the keyboard's queue, which is
  // short: what does not fit is lost.
  virtual bool keys_taken() { return true; }
  // The lamps as the guest set them: bit 0 scroll, 1 num, 2 caps lock.
  virtual uint8_t leds() = 0;
};

}  // namespace atl::ui

#endif  // LIB_UI_SCREEN_H_
