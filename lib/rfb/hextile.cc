// SPDX-License-Identifier: Apache-2.0
// RFC 6143, 7.7.4.
#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "lib/rfb/encodings.h"
#include "lib/rfb/protocol.h"
#include "lib/rfb/subrects.h"

namespace atl::rfb {
namespace {

constexpr unsigned kTile = 16;
constexpr uint8_t kTileRaw = 1;
constexpr uint8_t kTileBackground = 2;
constexpr uint8_t kTileForeground = 4;
constexpr uint8_t kTileSubrects = 8;
constexpr uint8_t kTileColoured = 16;

class Hextile final : public Encoder {
 public:
  Encoded Encode(const View& view, const ui::Rect& rect, const EncodeSettings& settings,
                 Output* out) override {
    WriteRectHeader(rect, kEncodingHextile, out);
    background_.reset();
    foreground_.reset();
    for (unsigned y = 0; y < rect.height; y += kTile) {
      for (unsigned x = 0; x < rect.width; x += kTile) {
        Tile(view,
             {rect.x + x, rect.y + y, std::min(kTile, rect.width - x),
              std::min(kTile, rect.height - y)},
             *settings.converter, out);
      }
    }
    return {.rectangles = 1};
  }

 private:
  void Tile(const View& view, const ui::Rect& rect, const PixelConverter& converter, Output* out) {
    const std::span<uint32_t> pixels(pixels_, size_t{rect.width} * rect.height);
    for (unsigned y = 0; y < rect.height; ++y) {
      converter.ConvertRow(view.At(rect.x, rect.y + y), rect.width,
                           pixels_ + size_t{y} * rect.width);
    }
    const uint32_t background = Background(pixels);
    const size_t bytes = converter.bytes();
    const bool found = FindSubrects(pixels, rect.width, rect.height, background, 255, &subrects_);
    const bool coloured =
        found && std::any_of(subrects_.begin(), subrects_.end(),
                             [&](const Subrect& s) { return s.pixel != subrects_[0].pixel; });
    if (!found ||
        1 + bytes + subrects_.size() * (coloured ? bytes + 2 : 2) >= pixels.size() * bytes) {
      // The colours of before do not outlive a raw tile.
      background_.reset();
      foreground_.reset();
      out->U8(kTileRaw);
      uint8_t* to = out->Grow(pixels.size() * bytes);
      for (unsigned y = 0; y < rect.height; ++y, to += rect.width * bytes) {
        converter.WriteRow(view.At(rect.x, rect.y + y), rect.width, to);
      }
      return;
    }
    uint8_t what = 0;
    if (background_ != background) what |= kTileBackground;
    if (!subrects_.empty()) what |= kTileSubrects;
    if (coloured) what |= kTileColoured;
    const bool foreground = !subrects_.empty() && !coloured && foreground_ != subrects_[0].pixel;
    if (foreground) what |= kTileForeground;
    out->U8(what);
    if (background_ != background) converter.WriteWire(background, out);
    background_ = background;
    if (foreground) {
      foreground_ = subrects_[0].pixel;
      converter.WriteWire(*foreground_, out);
    }
    // Viewers differ in what is left of the foreground after coloured ones.
    if (coloured) foreground_.reset();
    if (subrects_.empty()) return;
    out->U8(static_cast<uint8_t>(subrects_.size()));
    for (const Subrect& s : subrects_) {
      if (coloured) converter.WriteWire(s.pixel, out);
      out->U8(static_cast<uint8_t>(s.x << 4 | s.y));
      out->U8(static_cast<uint8_t>((s.width - 1) << 4 | (s.height - 1)));
    }
  }

  std::optional<uint32_t> background_, foreground_;
  uint32_t pixels_[kTile * kTile];
  std::vector<Subrect> subrects_;
};

}  // namespace

const Encoding kHextile = {.number = kEncodingHextile, .name = "Hextile", .make = [] {
                             return std::unique_ptr<Encoder>(std::make_unique<Hextile>());
                           }};

}  // namespace atl::rfb
