// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/subrects.h"

#include <algorithm>
#include <array>

namespace atl::rfb {

uint32_t Background(std::span<const uint32_t> pixels) {
  struct Count {
    uint32_t pixel = 0;
    size_t count = 0;
  };
  std::array<Count, 8> counts;
  size_t used = 0;
  uint32_t last = pixels[0] + 1;
  size_t at = 0;
  for (const uint32_t p : pixels) {
    if (p != last) {
      last = p;
      at = 0;
      while (at < used && counts[at].pixel != p) ++at;
      if (at == used) {
        if (used == counts.size()) {
          last = pixels[0];
          at = 0;
          continue;
        }
        counts[used++] = {p, 0};
      }
    }
    if (counts[at].pixel == p) ++counts[at].count;
  }
  return std::max_element(counts.begin(), counts.begin() + static_cast<ptrdiff_t>(used),
                          [](const Count& a, const Count& b) { return a.count < b.count; })
      ->pixel;
}

bool FindSubrects(std::span<uint32_t> pixels, unsigned width, unsigned height, uint32_t background,
                  size_t limit, std::vector<Subrect>* out) {
  out->clear();
  for (unsigned y = 0; y < height; ++y) {
    uint32_t* const row = pixels.data() + size_t{y} * width;
    for (unsigned x = 0; x < width; ++x) {
      const uint32_t p = row[x];
      if (p == background) continue;
      // Grow to the right, then down; or down, then to the right: the larger.
      unsigned wide = 1;
      while (x + wide < width && row[x + wide] == p) ++wide;
      unsigned wide_high = 1;
      for (; y + wide_high < height; ++wide_high) {
        const uint32_t* const below = row + size_t{wide_high} * width + x;
        if (!std::all_of(below, below + wide, [p](uint32_t q) { return q == p; })) break;
      }
      unsigned high = 1;
      while (y + high < height && row[size_t{high} * width + x] == p) ++high;
      unsigned high_wide = 1;
      for (; high_wide < wide; ++high_wide) {
        unsigned i = 0;
        while (i < high && row[size_t{i} * width + x + high_wide] == p) ++i;
        if (i < high) break;
      }
      if (high * high_wide > wide * wide_high) {
        wide = high_wide;
        wide_high = high;
      }
      if (out->size() == limit) return false;
      out->push_back({p, static_cast<uint16_t>(x), static_cast<uint16_t>(y),
                      static_cast<uint16_t>(wide), static_cast<uint16_t>(wide_high)});
      for (unsigned i = 0; i < wide_high; ++i) {
        std::fill_n(row + size_t{i} * width + x, wide, background);
      }
    }
  }
  return true;
}

}  // namespace atl::rfb
