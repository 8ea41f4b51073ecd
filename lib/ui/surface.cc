// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/surface.h"

#include <algorithm>
#include <cstring>

namespace atl::ui {

namespace {

// The tiles of one row of them, as the rows of pixels are compared.
class TileRow {
 public:
  explicit TileRow(unsigned width)
      : width_(width), dirty_((width + Damage::kTile - 1) / Damage::kTile) {}

  // Makes `to` equal to `from`, `width` pixels.
  void Compare(uint32_t* to, const uint32_t* from) {
    // Most rows are as they were: one comparison for all of their tiles.
    if (std::memcmp(to, from, size_t{width_} * 4) == 0) return;
    any_ = true;
    for (unsigned t = 0; t < dirty_.size(); ++t) {
      const unsigned x = t * Damage::kTile;
      const size_t bytes = size_t{std::min(Damage::kTile, width_ - x)} * 4;
      if (!dirty_[t] && std::memcmp(to + x, from + x, bytes) != 0) dirty_[t] = true;
    }
    std::memcpy(to, from, size_t{width_} * 4);
  }
  // What differed in the rows [y, y + rows), joined; then for the next ones.
  void Take(unsigned y, unsigned rows, std::vector<Rect>* out) {
    if (!any_) return;
    for (unsigned t = 0; t < dirty_.size(); ++t) {
      if (!dirty_[t]) continue;
      const unsigned first = t;
      while (t + 1 < dirty_.size() && dirty_[t + 1]) ++t;
      const unsigned x = first * Damage::kTile;
      out->push_back({x, y, std::min((t + 1) * Damage::kTile, width_) - x, rows});
    }
    std::fill(dirty_.begin(), dirty_.end(), false);
    any_ = false;
  }

 private:
  const unsigned width_;
  std::vector<bool> dirty_;
  bool any_ = false;
};

}  // namespace

Damage UpdateSurface(Surface& old, const Surface& now) {
  Damage out;
  if (old.width != now.width || old.height != now.height) {
    old = now;
    out.resized = true;
    if (now.width != 0 && now.height != 0) out.rects.push_back({0, 0, now.width, now.height});
    return out;
  }
  TileRow tiles(now.width);
  for (unsigned y = 0; y < now.height; ++y) {
    tiles.Compare(old.Row(y), now.Row(y));
    const bool last = (y + 1) % Damage::kTile == 0 || y + 1 == now.height;
    if (last) tiles.Take(y - y % Damage::kTile, y % Damage::kTile + 1, &out.rects);
  }
  return out;
}

Damage UpdateRows(Surface& surface, absl::FunctionRef<bool(unsigned y, uint32_t* row)> draw) {
  Damage out;
  TileRow tiles(surface.width);
  std::vector<uint32_t> row(surface.width);
  for (unsigned y = 0; y < surface.height; ++y) {
    if (draw(y, row.data())) tiles.Compare(surface.Row(y), row.data());
    const bool last = (y + 1) % Damage::kTile == 0 || y + 1 == surface.height;
    if (last) tiles.Take(y - y % Damage::kTile, y % Damage::kTile + 1, &out.rects);
  }
  return out;
}

}  // namespace atl::ui
