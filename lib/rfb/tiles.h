// SPDX-License-Identifier: Apache-2.0
// A set of tiles of 16x16 pixels of a picture.
#ifndef LIB_RFB_TILES_H_
#define LIB_RFB_TILES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/ui/surface.h"

namespace atl::rfb {

inline constexpr unsigned kTilePixels = ui::Damage::kTile;

class TileSet {
 public:
  TileSet() = default;
  // Of a picture of that size: none.
  TileSet(unsigned width, unsigned height)
      : width_(width),
        height_(height),
        columns_((width + kTilePixels - 1) / kTilePixels),
        rows_((height + kTilePixels - 1) / kTilePixels),
        tiles_(size_t{columns_} * rows_) {}

  unsigned columns() const { return columns_; }
  unsigned rows() const { return rows_; }
  bool empty() const { return count_ == 0; }
  size_t count() const { return count_; }
  bool Has(unsigned column, unsigned row) const { return tiles_[At(column, row)] != 0; }
  void Add(unsigned column, unsigned row) {
    uint8_t& t = tiles_[At(column, row)];
    count_ += t == 0 ? 1 : 0;
    t = 1;
  }
  void Remove(unsigned column, unsigned row) {
    uint8_t& t = tiles_[At(column, row)];
    count_ -= t;
    t = 0;
  }
  // Every tile that the pixels touch; what lies outside is left out.
  void AddRect(const ui::Rect& rect);
  // Every tile that has no pixel outside of the rectangle.
  void RemoveRect(const ui::Rect& rect);
  void AddAll() { AddRect({0, 0, width_, height_}); }
  void Clear();
  // As far as this picture goes.
  void AddSet(const TileSet& other);
  bool Touches(const ui::Rect& rect) const;
  // The smallest rectangle of pixels around all of them.
  ui::Rect Bounds() const;
  // The tiles that touch `within` as rectangles of pixels, cut to it, that do
  // not overlap: runs, joined downwards where they are equal.
  std::vector<ui::Rect> Rects(const ui::Rect& within) const;

 private:
  size_t At(unsigned column, unsigned row) const { return size_t{row} * columns_ + column; }

  unsigned width_ = 0, height_ = 0;
  unsigned columns_ = 0, rows_ = 0;
  std::vector<uint8_t> tiles_;
  size_t count_ = 0;
};

// The part of `rect` inside a picture of that size; a width of 0 for nothing.
ui::Rect Clip(const ui::Rect& rect, unsigned width, unsigned height);

}  // namespace atl::rfb

#endif  // LIB_RFB_TILES_H_
