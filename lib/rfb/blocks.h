// SPDX-License-Identifier: Apache-2.0
// What a rectangle's parts look like, so that each is coded as suits it: one
// colour, drawn (text, windows: what repeats), or a photograph.
#ifndef LIB_RFB_BLOCKS_H_
#define LIB_RFB_BLOCKS_H_

#include <cstdint>
#include <vector>

#include "lib/rfb/encoder.h"
#include "lib/ui/surface.h"

namespace atl::rfb {

enum class Content : uint8_t { kSolid, kDrawn, kPhoto };

struct Part {
  ui::Rect rect;
  Content content = Content::kDrawn;
  uint32_t pixel = 0;  // kSolid
};

// Divides `rect` into parts that cover it and do not overlap, by blocks of 64
// pixels that are joined where they are alike. No part is wider than
// `max_width` or has more than `max_area` pixels. `photos`: false calls them
// drawn.
void Divide(const View& view, const ui::Rect& rect, unsigned max_width, unsigned max_area,
            bool photos, std::vector<Part>* out);

}  // namespace atl::rfb

#endif  // LIB_RFB_BLOCKS_H_
