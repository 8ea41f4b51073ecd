// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/encodings.h"

#include "lib/rfb/encoder.h"

namespace atl::rfb {
namespace {

constexpr const Encoding* kEncodings[] = {&kRaw,  &kRre,   &kHextile, &kZlib,
                                          &kZrle, &kTight, &kTightPng};

}  // namespace

std::span<const Encoding* const> Encodings() { return kEncodings; }

const Encoding* FindEncoding(int32_t number) {
  for (const Encoding* e : kEncodings) {
    if (e->number == number) return e;
  }
  return nullptr;
}

void WriteRectHeader(const ui::Rect& rect, int32_t encoding, Output* out) {
  out->U16(rect.x);
  out->U16(rect.y);
  out->U16(rect.width);
  out->U16(rect.height);
  out->S32(encoding);
}

}  // namespace atl::rfb
