// SPDX-License-Identifier: Apache-2.0
// What lies behind an RFB server: the picture it shows, and the guest that gets
// what viewers type and point at. Whoever reaches a guest (a console socket, a
// test with frames of its own) implements Guest and tells the Server
// (lib/rfb/server.h) what changed.
//
// Thread rule: everything here on the server's loop thread.
#ifndef LIB_RFB_GUEST_H_
#define LIB_RFB_GUEST_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace atl::rfb {

// A picture that somebody else draws: rows from the top, 0x00RRGGBB (what the
// top byte holds does not matter). Its pixels may change at any time, also while
// they are looked at; the memory stays mapped until the server was told of
// another picture. No larger than kMaxSide each way; never empty.
struct Picture {
  static constexpr unsigned kMaxSide = 4096;

  const uint32_t* pixels = nullptr;
  unsigned width = 0;
  unsigned height = 0;
  size_t stride = 0;  // pixels from a row to the next
};

// The pointer's shape where the guest leaves drawing it to its viewers. A width
// of 0 hides it.
struct Cursor {
  static constexpr unsigned kMaxSide = 256;

  unsigned width = 0, height = 0;
  unsigned hot_x = 0, hot_y = 0;
  std::vector<uint32_t> pixels;  // 0xAARRGGBB, colours not multiplied by alpha
};

enum class PowerAction : uint8_t { kShutdown = 2, kReboot = 3, kReset = 4 };  // as xvp numbers them

// The bits of a pointer's buttons, as lib/ui/screen.h has them.
inline constexpr uint8_t kButtonLeft = 1, kButtonRight = 2, kButtonMiddle = 4, kButtonSide = 8,
                         kButtonExtra = 16;

// Notches, down and right positive.
struct Wheel {
  int down = 0;
  int right = 0;
};

// Its functions do not call the server back before they return.
class Guest {
 public:
  virtual ~Guest() = default;

  // At least one of the two is not 0. Where `code` is there it counts: it says
  // which key it is (lib/ui/keys.h), whatever is printed on it. Else the guest's
  // layout says which key gives the X11 keysym. Keys that a viewer holds when it
  // goes are released.
  virtual void Key(bool down, uint8_t code, uint32_t keysym) = 0;
  // Where the guest takes positions (Server::SetPointerAbsolute): within the
  // picture.
  virtual void PointAt(unsigned x, unsigned y, Wheel wheel, uint8_t buttons) = 0;
  // Where it does not: right and down positive.
  virtual void Move(int dx, int dy, Wheel wheel, uint8_t buttons) = 0;
  // What a viewer put on its clipboard, UTF-8.
  virtual void SetClipboard(absl::string_view text) = 0;
  // False where the guest cannot be asked for that.
  virtual bool Power(PowerAction action) = 0;
  // Asks for another size; false where the guest has no way to. A change that
  // comes of it is told as any other.
  virtual bool Resize(unsigned width, unsigned height) = 0;
  // What changes from now on is wanted: one Server::Changed() as soon as there
  // is something; what changes later waits for the next Ask(). `all`: the whole
  // picture, at once.
  virtual void Ask(bool all) = 0;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_GUEST_H_
