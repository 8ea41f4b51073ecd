// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/blocks.h"

#include <algorithm>

#include "lib/rfb/palette.h"

namespace atl::rfb {
namespace {

constexpr unsigned kBlock = 64;
// A photograph has neighbours that are equal seldom, and colours that are many:
// patterns of a few colours have the first, but not the second.
constexpr unsigned kPhotoEqualPercent = 40;
constexpr unsigned kPhotoColours = 96;
// Smaller areas of one colour stay with what is around them.
constexpr unsigned kSolidBlocks = 4;

bool ManyColours(const View& view, const ui::Rect& rect) {
  Palette palette;
  for (unsigned y = 0; y < rect.height; ++y) {
    const uint32_t* const row = view.At(rect.x, rect.y + y);
    for (unsigned x = 0; x < rect.width; ++x) {
      palette.Add(row[x]);
      if (palette.size() > kPhotoColours) return true;
    }
  }
  return false;
}

Part Classify(const View& view, const ui::Rect& rect, bool photos) {
  Part out{rect};
  out.pixel = *view.At(rect.x, rect.y);
  uint32_t differs = 0;
  unsigned equal = 0;
  for (unsigned y = 0; y < rect.height; ++y) {
    const uint32_t* const row = view.At(rect.x, rect.y + y);
    for (unsigned x = 0; x < rect.width; ++x) differs |= row[x] ^ out.pixel;
    if (photos) {
      for (unsigned x = 1; x < rect.width; ++x) equal += row[x] == row[x - 1] ? 1 : 0;
    } else if (differs != 0) {
      return out;
    }
  }
  if (differs == 0) {
    out.content = Content::kSolid;
    return out;
  }
  if (photos && rect.width >= 8 && rect.height >= 8 &&
      equal * 100 < kPhotoEqualPercent * (rect.width - 1) * rect.height &&
      ManyColours(view, rect)) {
    out.content = Content::kPhoto;
  }
  return out;
}

bool Alike(const Part& a, const Part& b) {
  return a.content == b.content && (a.content != Content::kSolid || a.pixel == b.pixel);
}

}  // namespace

void Divide(const View& view, const ui::Rect& rect, unsigned max_width, unsigned max_area,
            bool photos, std::vector<Part>* out) {
  // Runs of like blocks, row by row; a run that has the same place and kind as
  // one of the row above is joined to it.
  std::vector<Part> above, row;
  for (unsigned y = 0; y < rect.height; y += kBlock) {
    const unsigned height = std::min(kBlock, rect.height - y);
    row.clear();
    for (unsigned x = 0; x < rect.width; x += kBlock) {
      Part block = Classify(
          view, {rect.x + x, rect.y + y, std::min(kBlock, rect.width - x), height}, photos);
      if (!row.empty() && Alike(row.back(), block) &&
          row.back().rect.width + block.rect.width <= max_width) {
        row.back().rect.width += block.rect.width;
      } else {
        row.push_back(block);
      }
    }
    // A little of one colour between drawn parts is drawn, too.
    std::vector<Part> joined;
    for (Part& p : row) {
      if (p.content == Content::kSolid && p.rect.width < kSolidBlocks * kBlock &&
          p.rect.width < rect.width) {
        p.content = Content::kDrawn;
      }
      if (!joined.empty() && p.content != Content::kSolid && Alike(joined.back(), p) &&
          joined.back().rect.width + p.rect.width <= max_width) {
        joined.back().rect.width += p.rect.width;
      } else {
        joined.push_back(p);
      }
    }
    std::vector<Part> open;
    for (const Part& p : joined) {
      const auto same = std::find_if(above.begin(), above.end(), [&](const Part& a) {
        return a.rect.width != 0 && a.rect.x == p.rect.x && a.rect.width == p.rect.width &&
               Alike(a, p) &&
               (p.content == Content::kSolid ||
                p.rect.width * (a.rect.height + p.rect.height) <= max_area);
      });
      if (same == above.end()) {
        open.push_back(p);
      } else {
        open.push_back(*same);
        open.back().rect.height += p.rect.height;
        same->rect.width = 0;
      }
    }
    for (const Part& a : above) {
      if (a.rect.width != 0) out->push_back(a);
    }
    above = std::move(open);
  }
  out->insert(out->end(), above.begin(), above.end());
}

}  // namespace atl::rfb
