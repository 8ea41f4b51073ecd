// SPDX-License-Identifier: Apache-2.0
// The server's own copy of the picture. Pixels are read from the memory that the
// guest's side draws into exactly once, into here: viewers are sent what this
// copy holds, so it does not matter that the original changes meanwhile. The copy
// also says what really changed (exactly, where hashes of tiles only nearly
// would), and what was scrolled.
#ifndef LIB_RFB_SHADOW_H_
#define LIB_RFB_SHADOW_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/rfb/encoder.h"
#include "lib/rfb/guest.h"
#include "lib/rfb/tiles.h"
#include "lib/ui/surface.h"

namespace atl::rfb {

// Rows that moved up or down inside a box, or columns that moved sideways.
struct Scroll {
  ui::Rect box;
  int right = 0, down = 0;  // how far; negative: left, up; one of them is 0
  struct Run {
    unsigned first, end;  // rows (columns) of the picture as they are now
  };
  std::vector<Run> runs;  // from the top (the left), disjoint

  ui::Rect RectOf(const Run& r) const {
    return down != 0 ? ui::Rect{box.x, r.first, box.width, r.end - r.first}
                     : ui::Rect{r.first, box.y, r.end - r.first, box.height};
  }
};

struct Change {
  TileSet tiles;
  std::optional<Scroll> scroll;
};

class Shadow {
 public:
  // Black.
  Shadow(unsigned width, unsigned height);

  unsigned width() const { return width_; }
  unsigned height() const { return height_; }
  View view() const { return {pixels_.data(), width_}; }

  // Takes over what `damage` covers of a picture of that size or smaller.
  Change Update(const Picture& picture, std::span<const ui::Rect> damage);

 private:
  bool CopyTile(const Picture& picture, unsigned column, unsigned row);
  std::optional<Scroll> FindScroll(const ui::Rect& box);
  std::optional<Scroll> FindRows(const ui::Rect& box);
  std::optional<Scroll> FindColumns(const ui::Rect& box);

  unsigned width_, height_;
  std::vector<uint32_t> pixels_;
  // The rows of the box before the update.
  std::vector<uint32_t> before_;
  unsigned misses_ = 0;  // boxes in a row that were none scrolled
};

}  // namespace atl::rfb

#endif  // LIB_RFB_SHADOW_H_
