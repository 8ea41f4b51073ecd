// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/encodings.h"
#include "lib/rfb/protocol.h"

namespace atl::rfb {
namespace {

class Raw final : public Encoder {
 public:
  Encoded Encode(const View& view, const ui::Rect& rect, const EncodeSettings& settings,
                 Output* out) override {
    const PixelConverter& converter = *settings.converter;
    WriteRectHeader(rect, kEncodingRaw, out);
    const size_t row = size_t{rect.width} * converter.bytes();
    uint8_t* to = out->Grow(row * rect.height);
    for (unsigned y = 0; y < rect.height; ++y, to += row) {
      converter.WriteRow(view.At(rect.x, rect.y + y), rect.width, to);
    }
    return {.rectangles = 1};
  }
};

}  // namespace

const Encoding kRaw = {.number = kEncodingRaw, .name = "Raw", .make = [] {
                         return std::unique_ptr<Encoder>(std::make_unique<Raw>());
                       }};

}  // namespace atl::rfb
