// SPDX-License-Identifier: Apache-2.0
// An encoding: how the pixels of a rectangle become bytes. One file each; the
// table is in encodings.cc.
#ifndef LIB_RFB_ENCODER_H_
#define LIB_RFB_ENCODER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/strings/string_view.h"
#include "lib/rfb/output.h"
#include "lib/rfb/pixel_format.h"
#include "lib/ui/surface.h"

namespace atl::rfb {

// A picture that nobody changes while it is encoded; 0x00RRGGBB.
struct View {
  const uint32_t* pixels = nullptr;
  size_t stride = 0;  // pixels
  const uint32_t* At(unsigned x, unsigned y) const { return pixels + y * stride + x; }
};

// What the viewer wishes.
struct EncodeSettings {
  const PixelConverter* converter = nullptr;
  int compression = 1;  // 0 to 9: of time for bytes
  // 1 to 100; nothing may be lost where it is 0.
  int jpeg_quality = 0;
  // How many pixels share a colour in a JPEG: 1, 2, 4, or 0 for none that
  // has any.
  int jpeg_subsampling = 1;
  // Others encode for the same viewer meanwhile: nothing may stand on what this
  // encoder wrote before.
  bool apart = false;
};

struct Encoded {
  unsigned rectangles = 0;
  bool lossy = false;  // something of it is not exact
};

// One for each viewer: the compressors' states are its own.
class Encoder {
 public:
  virtual ~Encoder() = default;
  // Writes one or several rectangles, with their headers, that are `rect`: not
  // empty, inside the view.
  virtual Encoded Encode(const View& view, const ui::Rect& rect, const EncodeSettings& settings,
                         Output* out) = 0;
  // Others have written to the same viewer, apart.
  virtual void Restart() {}
};

struct Encoding {
  int32_t number;
  absl::string_view name;
  std::unique_ptr<Encoder> (*make)();
};

std::span<const Encoding* const> Encodings();
const Encoding* FindEncoding(int32_t number);

void WriteRectHeader(const ui::Rect& rect, int32_t encoding, Output* out);

}  // namespace atl::rfb

#endif  // LIB_RFB_ENCODER_H_
