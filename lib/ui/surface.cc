// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/surface.h"

#include <algorithm>
#include <cstring>

namespace atl::ui {

Damage UpdateSurface(Surface& old, const Surface& now) {
  Damage out;
  if (old.width != now.width || old.height != now.height) {
    old = now;
    out.resized = true;
    if (now.width != 0 && now.height != 0) out.rects.push_back({0, 0, now.width, now.height});
    return out;
  }
  const unsigned tiles = (now.width + Damage::kTile - 1) / Damage::kTile;
  std::vector<bool> dirty(tiles);
  for (unsigned y = 0; y < now.height; y += Damage::kTile) {
    const unsigned rows = std::min(Damage::kTile, now.height - y);
    std::fill(dirty.begin(), dirty.end(), false);
    bool any = false;
    for (unsigned r = y; r < y + rows; ++r) {
      uint32_t* to = old.Row(r);
      const uint32_t* from = now.Row(r);
      // Most rows are as they were: one comparison for all of their tiles.
      if (std::memcmp(to, from, size_t{now.width} * 4) == 0) continue;
      any = true;
      for (unsigned t = 0; t < tiles; ++t) {
        const unsigned x = t * Damage::kTile;
        const size_t bytes = size_t{std::min(Damage::kTile, now.width - x)} * 4;
        if (!dirty[t] && std::memcmp(to + x, from + x, bytes) != 0) dirty[t] = true;
      }
      std::memcpy(to, from, size_t{now.width} * 4);
    }
    if (!any) continue;
    for (unsigned t = 0; t < tiles; ++t) {
      if (!dirty[t]) continue;
      const unsigned first = t;
      while (t + 1 < tiles && dirty[t + 1]) ++t;
      const unsigned x = first * Damage::kTile;
      out.rects.push_back({x, y, std::min((t + 1) * Damage::kTile, now.width) - x, rows});
    }
  }
  return out;
}

}  // namespace atl::ui
