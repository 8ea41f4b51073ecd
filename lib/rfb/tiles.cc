// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/tiles.h"

#include <algorithm>

namespace atl::rfb {

ui::Rect Clip(const ui::Rect& rect, unsigned width, unsigned height) {
  if (rect.x >= width || rect.y >= height || rect.width == 0 || rect.height == 0) return {};
  return {rect.x, rect.y, std::min(rect.width, width - rect.x),
          std::min(rect.height, height - rect.y)};
}

void TileSet::AddRect(const ui::Rect& rect) {
  const ui::Rect r = Clip(rect, width_, height_);
  if (r.width == 0) return;
  for (unsigned y = r.y / kTilePixels; y <= (r.y + r.height - 1) / kTilePixels; ++y) {
    for (unsigned x = r.x / kTilePixels; x <= (r.x + r.width - 1) / kTilePixels; ++x) Add(x, y);
  }
}

void TileSet::RemoveRect(const ui::Rect& rect) {
  const ui::Rect r = Clip(rect, width_, height_);
  if (r.width == 0) return;
  // The last tile of a row ends where the picture does.
  const auto last = [](unsigned end, unsigned size) {
    return end == size ? (end + kTilePixels - 1) / kTilePixels : end / kTilePixels;
  };
  const unsigned end_x = last(r.x + r.width, width_), end_y = last(r.y + r.height, height_);
  for (unsigned y = (r.y + kTilePixels - 1) / kTilePixels; y < end_y; ++y) {
    for (unsigned x = (r.x + kTilePixels - 1) / kTilePixels; x < end_x; ++x) Remove(x, y);
  }
}

void TileSet::Clear() {
  if (count_ == 0) return;
  std::fill(tiles_.begin(), tiles_.end(), uint8_t{0});
  count_ = 0;
}

void TileSet::AddSet(const TileSet& other) {
  if (other.empty()) return;
  const unsigned columns = std::min(columns_, other.columns_);
  for (unsigned y = 0; y < std::min(rows_, other.rows_); ++y) {
    for (unsigned x = 0; x < columns; ++x) {
      if (other.Has(x, y)) Add(x, y);
    }
  }
}

bool TileSet::Touches(const ui::Rect& rect) const {
  const ui::Rect r = Clip(rect, width_, height_);
  if (r.width == 0 || empty()) return false;
  for (unsigned y = r.y / kTilePixels; y <= (r.y + r.height - 1) / kTilePixels; ++y) {
    for (unsigned x = r.x / kTilePixels; x <= (r.x + r.width - 1) / kTilePixels; ++x) {
      if (Has(x, y)) return true;
    }
  }
  return false;
}

ui::Rect TileSet::Bounds() const {
  if (empty()) return {};
  unsigned left = columns_, right = 0, top = rows_, bottom = 0;
  for (unsigned y = 0; y < rows_; ++y) {
    for (unsigned x = 0; x < columns_; ++x) {
      if (!Has(x, y)) continue;
      left = std::min(left, x);
      right = std::max(right, x);
      top = std::min(top, y);
      bottom = std::max(bottom, y);
    }
  }
  return Clip({left * kTilePixels, top * kTilePixels, (right - left + 1) * kTilePixels,
               (bottom - top + 1) * kTilePixels},
              width_, height_);
}

std::vector<ui::Rect> TileSet::Rects(const ui::Rect& within) const {
  std::vector<ui::Rect> out, open, row;
  const ui::Rect w = Clip(within, width_, height_);
  if (w.width == 0 || empty()) return out;
  const unsigned first_x = w.x / kTilePixels, last_x = (w.x + w.width - 1) / kTilePixels;
  const unsigned first_y = w.y / kTilePixels, last_y = (w.y + w.height - 1) / kTilePixels;
  for (unsigned y = first_y; y <= last_y; ++y) {
    row.clear();
    for (unsigned x = first_x; x <= last_x; ++x) {
      if (!Has(x, y)) continue;
      if (!row.empty() && row.back().x + row.back().width == x) {
        ++row.back().width;
      } else {
        row.push_back({x, y, 1, 1});
      }
    }
    std::vector<ui::Rect> next;
    size_t i = 0;  // both are sorted by x
    for (ui::Rect& r : row) {
      while (i < open.size() && open[i].x < r.x) out.push_back(open[i++]);
      if (i < open.size() && open[i].x == r.x && open[i].width == r.width) {
        r.y = open[i].y;
        r.height = open[i].height + 1;
        ++i;
      }
      next.push_back(r);
    }
    while (i < open.size()) out.push_back(open[i++]);
    open = std::move(next);
  }
  out.insert(out.end(), open.begin(), open.end());
  for (ui::Rect& r : out) {
    const unsigned left = std::max(r.x * kTilePixels, w.x), top = std::max(r.y * kTilePixels, w.y);
    const unsigned right = std::min((r.x + r.width) * kTilePixels, w.x + w.width);
    const unsigned bottom = std::min((r.y + r.height) * kTilePixels, w.y + w.height);
    r = {left, top, right - left, bottom - top};
  }
  return out;
}

}  // namespace atl::rfb
