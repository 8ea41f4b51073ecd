// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "lib/rfb/encodings.h"
#include "lib/rfb/protocol.h"
#include "lib/rfb/subrects.h"

namespace atl::rfb {
namespace {

// Looking for rectangles takes longer the larger the block is.
constexpr unsigned kBlock = 64;

class Rre final : public Encoder {
 public:
  Rre() : raw_(kRaw.make()) {}

  Encoded Encode(const View& view, const ui::Rect& rect, const EncodeSettings& settings,
                 Output* out) override {
    Encoded done;
    for (unsigned y = 0; y < rect.height; y += kBlock) {
      for (unsigned x = 0; x < rect.width; x += kBlock) {
        Block(view,
              {rect.x + x, rect.y + y, std::min(kBlock, rect.width - x),
               std::min(kBlock, rect.height - y)},
              settings, out);
        ++done.rectangles;
      }
    }
    return done;
  }

 private:
  void Block(const View& view, const ui::Rect& rect, const EncodeSettings& settings, Output* out) {
    const PixelConverter& converter = *settings.converter;
    pixels_.resize(size_t{rect.width} * rect.height);
    for (unsigned y = 0; y < rect.height; ++y) {
      converter.ConvertRow(view.At(rect.x, rect.y + y), rect.width,
                           pixels_.data() + size_t{y} * rect.width);
    }
    const uint32_t background = Background(pixels_);
    // Above this it is shorter as it is.
    const size_t limit = pixels_.size() * converter.bytes() / (converter.bytes() + 8);
    if (!FindSubrects(pixels_, rect.width, rect.height, background, limit, &subrects_)) {
      raw_->Encode(view, rect, settings, out);
      return;
    }
    WriteRectHeader(rect, kEncodingRre, out);
    out->U32(static_cast<uint32_t>(subrects_.size()));
    converter.WriteWire(background, out);
    for (const Subrect& s : subrects_) {
      converter.WriteWire(s.pixel, out);
      out->U16(s.x);
      out->U16(s.y);
      out->U16(s.width);
      out->U16(s.height);
    }
  }

  const std::unique_ptr<Encoder> raw_;
  std::vector<uint32_t> pixels_;
  std::vector<Subrect> subrects_;
};

}  // namespace

const Encoding kRre = {.number = kEncodingRre, .name = "RRE", .make = [] {
                         return std::unique_ptr<Encoder>(std::make_unique<Rre>());
                       }};

}  // namespace atl::rfb
