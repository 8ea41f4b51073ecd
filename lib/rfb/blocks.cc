// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/blocks.h"

#include <emmintrin.h>

#include <algorithm>

#include "lib/rfb/palette.h"

namespace atl::rfb {
namespace {

constexpr unsigned kBlock = 64;
// A photograph has neighbours that are equal seldom, and colours that are many:
// patterns of a few colours have the first, but not the second.
constexpr unsigned kPhotoEqualPercent = 40;
constexpr unsigned kPhotoColours = 96;
constexpr unsigned kSampleRows = 4;
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

// Neighbours in a row that are equal.
unsigned EqualNeighbours(const uint32_t* row, unsigned count) {
  unsigned equal = 0;
  unsigned x = 1;
  __m128i sum = _mm_setzero_si128();
  for (; x + 4 <= count; x += 4) {
    const __m128i here = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + x));
    const __m128i before = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + x - 1));
    sum = _mm_sub_epi32(sum, _mm_cmpeq_epi32(here, before));
  }
  alignas(16) uint32_t parts[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(parts), sum);
  for (; x < count; ++x) equal += row[x] == row[x - 1] ? 1 : 0;
  return equal + parts[0] + parts[1] + parts[2] + parts[3];
}

bool AllAre(const uint32_t* row, unsigned count, uint32_t pixel) {
  const __m128i four = _mm_set1_epi32(static_cast<int>(pixel));
  unsigned x = 0;
  for (; x + 4 <= count; x += 4) {
    const __m128i here = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + x));
    if (_mm_movemask_epi8(_mm_cmpeq_epi32(here, four)) != 0xFFFF) return false;
  }
  for (; x < count; ++x) {
    if (row[x] != pixel) return false;
  }
  return true;
}

Part Classify(const View& view, const ui::Rect& rect, bool photos) {
  Part out{rect};
  out.pixel = *view.At(rect.x, rect.y);
  unsigned y = 0;
  while (y < rect.height && AllAre(view.At(rect.x, rect.y + y), rect.width, out.pixel)) ++y;
  if (y == rect.height) {
    out.content = Content::kSolid;
    return out;
  }
  if (!photos || rect.width < 8 || rect.height < 8) return out;
  // Some rows stand for all.
  unsigned equal = 0, pairs = 0;
  for (y = 0; y < rect.height; y += kSampleRows) {
    equal += EqualNeighbours(view.At(rect.x, rect.y + y), rect.width);
    pairs += rect.width - 1;
  }
  if (equal * 100 < kPhotoEqualPercent * pairs && ManyColours(view, rect)) {
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
