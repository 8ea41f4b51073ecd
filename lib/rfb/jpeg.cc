// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/jpeg.h"

#include <turbojpeg.h>

namespace atl::rfb {

JpegCompressor::~JpegCompressor() {
  if (handle_ != nullptr) tjDestroy(handle_);
}

bool JpegCompressor::Compress(const View& view, const ui::Rect& rect, int quality, int subsampling,
                              Output* out) {
  if (handle_ == nullptr) handle_ = tjInitCompress();
  if (handle_ == nullptr) return false;
  const TJSAMP samp = subsampling == 0   ? TJSAMP_GRAY
                      : subsampling == 1 ? TJSAMP_444
                      : subsampling == 2 ? TJSAMP_422
                                         : TJSAMP_420;
  const int width = static_cast<int>(rect.width), height = static_cast<int>(rect.height);
  unsigned long size = tjBufSize(width, height, samp);
  const size_t before = out->size();
  unsigned char* to = out->Grow(size);
  if (tjCompress2(handle_, reinterpret_cast<const unsigned char*>(view.At(rect.x, rect.y)), width,
                  static_cast<int>(view.stride * 4), height, TJPF_BGRX, &to, &size, samp, quality,
                  TJFLAG_NOREALLOC | TJFLAG_FASTDCT) != 0) {
    out->Truncate(before);
    return false;
  }
  out->Truncate(before + size);
  return true;
}

}  // namespace atl::rfb
