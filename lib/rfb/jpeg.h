// SPDX-License-Identifier: Apache-2.0
#ifndef LIB_RFB_JPEG_H_
#define LIB_RFB_JPEG_H_

#include "lib/rfb/encoder.h"
#include "lib/ui/surface.h"

namespace atl::rfb {

// Compresses rectangles to JPEG. One thread.
class JpegCompressor {
 public:
  JpegCompressor() = default;
  ~JpegCompressor();
  JpegCompressor(const JpegCompressor&) = delete;
  JpegCompressor& operator=(const JpegCompressor&) = delete;

  // Appends the file; false where it cannot. `subsampling` as in EncodeSettings.
  bool Compress(const View& view, const ui::Rect& rect, int quality, int subsampling, Output* out);

 private:
  void* handle_ = nullptr;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_JPEG_H_
