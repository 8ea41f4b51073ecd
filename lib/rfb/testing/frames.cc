// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/testing/frames.h"

#include <algorithm>
#include <cmath>

namespace atl::rfb::testing {
namespace {

uint32_t Next(uint32_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

void Fill(ui::Surface* s, const ui::Rect& r, uint32_t pixel) {
  for (unsigned y = r.y; y < r.y + r.height; ++y) {
    std::fill_n(s->Row(y) + r.x, r.width, pixel);
  }
}

void Text(ui::Surface* s, const ui::Rect& r, uint32_t seed, uint32_t ink, uint32_t paper) {
  Fill(s, r, paper);
  uint32_t state = seed * 2654435761u + 1;
  for (unsigned line = 0; line + 16 <= r.height; line += 16) {
    const unsigned length = Next(&state) % (r.width / 8 + 1);
    for (unsigned i = 0; i < length; ++i) {
      // One of 60 glyphs, each always the same.
      const uint32_t letter = Next(&state) % 64;
      if (letter >= 60) continue;
      uint32_t glyph = letter * 747796405u + 2891336453u;
      for (unsigned y = 3; y < 13; ++y) {
        const uint32_t bits = Next(&glyph) & Next(&glyph);
        for (unsigned x = 0; x < 7; ++x) {
          if ((bits >> x & 1) != 0) s->Row(r.y + line + y)[r.x + i * 8 + x] = ink;
        }
      }
    }
  }
}

void Photo(ui::Surface* s, const ui::Rect& r, uint32_t seed) {
  uint32_t state = seed * 40503u + 7;
  for (unsigned y = 0; y < r.height; ++y) {
    uint32_t* const row = s->Row(r.y + y) + r.x;
    for (unsigned x = 0; x < r.width; ++x) {
      const auto wave = [&](double fx, double fy, double phase) {
        const double v = 128 + 90 * std::sin(x * fx + phase) * std::cos(y * fy + seed);
        return static_cast<uint32_t>(
            std::clamp(v + static_cast<double>(Next(&state) % 9) - 4, 0.0, 255.0));
      };
      row[x] = wave(0.011, 0.017, 0) << 16 | wave(0.007, 0.013, 1) << 8 | wave(0.019, 0.005, 2);
    }
  }
}

}  // namespace

void Draw(FrameKind kind, uint32_t seed, ui::Surface* s) {
  const ui::Rect all{0, 0, s->width, s->height};
  switch (kind) {
    case FrameKind::kSolid:
      Fill(s, all, seed * 2654435761u & 0xFFFFFF);
      return;
    case FrameKind::kText:
      Text(s, all, seed, 0x101010, 0xFFFFFF);
      return;
    case FrameKind::kPhoto:
      Photo(s, all, seed);
      return;
    case FrameKind::kNoise: {
      uint32_t state = seed + 1;
      for (uint32_t& p : s->pixels) p = Next(&state) & 0xFFFFFF;
      return;
    }
    case FrameKind::kDesk: {
      Fill(s, all, 0x336699);
      const unsigned w = s->width, h = s->height;
      Text(s, {w / 16, h / 16, w / 2, h / 2}, seed, 0x000000, 0xF0F0F0);
      Text(s, {w / 2, h / 2, w / 3, h / 3}, seed + 1, 0x00FF00, 0x000000);
      Photo(s, {w / 16 + w / 2, h / 16, w / 3, h / 3}, seed);
      Fill(s, {0, h - h / 16, w, h / 16}, 0xC0C0C0);
      // A shade, as buttons have them.
      for (unsigned x = 0; x < w; ++x) {
        const uint32_t c = 255 * x / w;
        Fill(s, {x, h - h / 16, 1, std::max(1u, h / 32)}, c << 16 | c << 8 | 255);
      }
      return;
    }
  }
}

Picture PictureOf(const ui::Surface& surface) {
  return {surface.pixels.data(), surface.width, surface.height, surface.width};
}

}  // namespace atl::rfb::testing
