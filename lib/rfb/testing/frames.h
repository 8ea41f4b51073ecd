// SPDX-License-Identifier: Apache-2.0
// Pictures for tests and measurements, made by numbers alone.
#ifndef LIB_RFB_TESTING_FRAMES_H_
#define LIB_RFB_TESTING_FRAMES_H_

#include <cstdint>

#include "lib/rfb/guest.h"
#include "lib/ui/surface.h"

namespace atl::rfb::testing {

enum class FrameKind : uint8_t {
  kSolid,
  kText,   // lines of glyphs in two colours
  kPhoto,  // smooth colours with noise
  kNoise,  // every pixel another
  kDesk,   // a desktop with all of these
};

// Draws into all of `surface`.
void Draw(FrameKind kind, uint32_t seed, ui::Surface* surface);

Picture PictureOf(const ui::Surface& surface);

}  // namespace atl::rfb::testing

#endif  // LIB_RFB_TESTING_FRAMES_H_
