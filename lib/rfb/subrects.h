// SPDX-License-Identifier: Apache-2.0
// A block of pixels as a background and rectangles of one colour on it: what RRE
// and Hextile are made of.
#ifndef LIB_RFB_SUBRECTS_H_
#define LIB_RFB_SUBRECTS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace atl::rfb {

struct Subrect {
  uint32_t pixel;
  uint16_t x, y, width, height;
};

// The pixel that is the most frequent among those that a cheap look finds.
uint32_t Background(std::span<const uint32_t> pixels);

// Covers everything of `pixels` (width * height, which is overwritten) that is
// not `background`, with rectangles that do not overlap. False where there were
// to be more than `limit`.
bool FindSubrects(std::span<uint32_t> pixels, unsigned width, unsigned height, uint32_t background,
                  size_t limit, std::vector<Subrect>* out);

}  // namespace atl::rfb

#endif  // LIB_RFB_SUBRECTS_H_
