// SPDX-License-Identifier: Apache-2.0
// Pixels of a guest's screen, and which of them changed.
#ifndef LIB_UI_SURFACE_H_
#define LIB_UI_SURFACE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"

namespace atl::ui {

struct Rect {
  unsigned x = 0, y = 0, width = 0, height = 0;
  friend bool operator==(const Rect&, const Rect&) = default;
};

// Rows from the top, 0x00RRGGBB. No larger than kMaxWidth x kMaxHeight.
struct Surface {
  static constexpr unsigned kMaxWidth = 4096;
  static constexpr unsigned kMaxHeight = 4096;

  unsigned width = 0;
  unsigned height = 0;
  std::vector<uint32_t> pixels;  // width * height
  uint64_t token = 0;            // the screen's own marks of what it drew last
  uint64_t look = 0;

  void Resize(unsigned w, unsigned h) {
    width = w;
    height = h;
    pixels.assign(size_t{w} * h, 0);
  }
  uint32_t* Row(unsigned y) { return pixels.data() + size_t{y} * width; }
  const uint32_t* Row(unsigned y) const { return pixels.data() + size_t{y} * width; }
};

// What differs between two pictures of a screen.
struct Damage {
  static constexpr unsigned kTile = 16;  // pixels, both ways

  bool resized = false;     // the whole picture is new, and its size may be
  std::vector<Rect> rects;  // tiles joined along their rows, from the top; disjoint
  bool empty() const { return rects.empty(); }
};

// Makes `old` equal to `now` and says where it was not.
Damage UpdateSurface(Surface& old, const Surface& now);
// The same, of a picture of the same size whose row `y` `draw` writes: width
// pixels; or says, by false, that it is as it was. Once for each row, from the top.
Damage UpdateRows(Surface& surface, absl::FunctionRef<bool(unsigned y, uint32_t* row)> draw);

}  // namespace atl::ui

#endif  // LIB_UI_SURFACE_H_
