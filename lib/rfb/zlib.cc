// SPDX-License-Identifier: Apache-2.0
// Encoding 6 of rfbproto: raw pixels in one zlib stream.
#include <algorithm>
#include <vector>

#include "lib/rfb/deflate_stream.h"
#include "lib/rfb/encodings.h"
#include "lib/rfb/protocol.h"

namespace atl::rfb {
namespace {

// Pixels of one rectangle: viewers keep a buffer for it.
constexpr unsigned kMaxPixels = 1 << 18;

class Zlib final : public Encoder {
 public:
  Encoded Encode(const View& view, const ui::Rect& rect, const EncodeSettings& settings,
                 Output* out) override {
    if (settings.apart) stream_.Restart();
    const PixelConverter& converter = *settings.converter;
    Encoded done;
    const unsigned rows = std::max(1u, kMaxPixels / rect.width);
    const size_t row = size_t{rect.width} * converter.bytes();
    for (unsigned y = 0; y < rect.height; y += rows) {
      const ui::Rect part{rect.x, rect.y + y, rect.width, std::min(rows, rect.height - y)};
      bytes_.resize(row * part.height);
      for (unsigned i = 0; i < part.height; ++i) {
        converter.WriteRow(view.At(part.x, part.y + i), part.width, bytes_.data() + i * row);
      }
      WriteRectHeader(part, kEncodingZlib, out);
      const size_t length = out->size();
      out->U32(0);
      stream_.Compress(bytes_, std::max(1, settings.compression), false, out);
      StoreBe(out->data() + length, static_cast<uint32_t>(out->size() - length - 4));
      ++done.rectangles;
    }
    return done;
  }
  void Restart() override { stream_.Restart(); }

 private:
  DeflateStream stream_;
  std::vector<uint8_t> bytes_;
};

}  // namespace

const Encoding kZlib = {.number = kEncodingZlib, .name = "zlib", .make = [] {
                          return std::unique_ptr<Encoder>(std::make_unique<Zlib>());
                        }};

}  // namespace atl::rfb
