// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/pixel_format.h"

#include <bit>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/rfb/protocol.h"

namespace atl::rfb {
namespace {

// What stands in for true colours where the viewer wants a table: three bits of
// red, three of green, two of blue.
constexpr PixelFormat kTable = {.bits_per_pixel = 8,
                                .depth = 8,
                                .true_colour = false,
                                .red_max = 7,
                                .green_max = 7,
                                .blue_max = 3,
                                .red_shift = 5,
                                .green_shift = 2,
                                .blue_shift = 0};

// The wire layout.
struct Wire {
  uint8_t bits_per_pixel, depth, big_endian, true_colour;
  be16 red_max, green_max, blue_max;
  uint8_t red_shift, green_shift, blue_shift;
  uint8_t padding[3];
};
static_assert(sizeof(Wire) == PixelFormat::kWireSize);

bool IsMask(unsigned max) { return max != 0 && (max & (max + 1)) == 0; }

}  // namespace

absl::StatusOr<PixelFormat> DecodePixelFormat(
    std::span<const uint8_t, PixelFormat::kWireSize> bytes) {
  Wire wire;
  std::memcpy(&wire, bytes.data(), sizeof wire);
  const auto wrong = [](auto&&... text) {
    return absl::InvalidArgumentError(absl::StrCat("pixel format: ", text...));
  };
  const unsigned bits = wire.bits_per_pixel;
  if (bits != 8 && bits != 16 && bits != 32) return wrong(bits, " bits per pixel");
  if (wire.true_colour == 0) {
    if (bits != 8) return wrong("a colour table with ", bits, " bits per pixel");
    return kTable;
  }
  PixelFormat out;
  out.bits_per_pixel = wire.bits_per_pixel;
  out.depth = wire.depth;
  out.big_endian = wire.big_endian != 0;
  out.red_max = wire.red_max;
  out.green_max = wire.green_max;
  out.blue_max = wire.blue_max;
  out.red_shift = wire.red_shift;
  out.green_shift = wire.green_shift;
  out.blue_shift = wire.blue_shift;
  if (out.depth == 0 || out.depth > bits) return wrong("depth ", unsigned{out.depth});
  uint64_t taken = 0;
  for (const auto& [max, shift] :
       {std::pair(out.red_max, out.red_shift), std::pair(out.green_max, out.green_shift),
        std::pair(out.blue_max, out.blue_shift)}) {
    // A maximum of 0 is what divisions by it trip over.
    if (!IsMask(max)) return wrong("a colour's maximum of ", max);
    if (shift >= bits) return wrong("a colour's shift of ", unsigned{shift});
    const uint64_t place = uint64_t{max} << shift;
    if (place >> bits != 0 || (taken & place) != 0) return wrong("colours that overlap");
    taken |= place;
  }
  return out;
}

void EncodePixelFormat(const PixelFormat& format, Output* out) {
  const Wire wire = {.bits_per_pixel = format.bits_per_pixel,
                     .depth = format.depth,
                     .big_endian = format.big_endian,
                     .true_colour = format.true_colour,
                     .red_max = format.red_max,
                     .green_max = format.green_max,
                     .blue_max = format.blue_max,
                     .red_shift = format.red_shift,
                     .green_shift = format.green_shift,
                     .blue_shift = format.blue_shift,
                     .padding = {}};
  std::memcpy(out->Grow(sizeof wire), &wire, sizeof wire);
}

PixelConverter::PixelConverter(const PixelFormat& format)
    : format_(format), bytes_(format.bits_per_pixel / 8u) {
  const auto fill = [&](std::array<uint32_t, 256>& table, unsigned max, unsigned shift) {
    for (unsigned i = 0; i < 256; ++i) {
      uint32_t v = (i * max + 127) / 255 << shift;
      if (format.big_endian && bytes_ == 2) v = ByteSwap(static_cast<uint16_t>(v));
      if (format.big_endian && bytes_ == 4) v = ByteSwap(v);
      table[i] = v;
    }
  };
  fill(red_, format.red_max, format.red_shift);
  fill(green_, format.green_max, format.green_shift);
  fill(blue_, format.blue_max, format.blue_shift);
  const bool bytes_each =
      format.red_max == 255 && format.green_max == 255 && format.blue_max == 255;
  identity_ = bytes_ == 4 && bytes_each && !format.big_endian && format.red_shift == 16 &&
              format.green_shift == 8 && format.blue_shift == 0;
  tight_rgb_ = bytes_ == 4 && bytes_each && format.depth == 24;
  compact_bytes_ = bytes_;
  if (bytes_ == 4 && format.true_colour && format.depth <= 24) {
    const uint64_t used = (uint64_t{format.red_max} << format.red_shift) |
                          (uint64_t{format.green_max} << format.green_shift) |
                          (uint64_t{format.blue_max} << format.blue_shift);
    const bool low = used >> 24 == 0;
    const bool high = (used & 0xFF) == 0;
    if (low || high) {
      compact_bytes_ = 3;
      compact_skip_ = low == format.big_endian ? 1 : 0;
    }
  }
}

void PixelConverter::ConvertRow(const uint32_t* from, size_t count, uint32_t* to) const {
  if (identity_) {
    std::memcpy(to, from, count * 4);
    return;
  }
  for (size_t i = 0; i < count; ++i) to[i] = Convert(from[i]);
}

void PixelConverter::WriteRow(const uint32_t* from, size_t count, uint8_t* to) const {
  if (identity_) {
    std::memcpy(to, from, count * 4);
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    const uint32_t v = Convert(from[i]);
    std::memcpy(to, &v, bytes_);
    to += bytes_;
  }
}

void PixelConverter::WriteColourMap(Output* out) const {
  out->U8(kSetColourMapEntries);
  out->U8(0);
  out->U16(0);
  out->U16(256);
  for (unsigned i = 0; i < 256; ++i) {
    out->U16((i >> 5) * 65535 / 7);
    out->U16((i >> 2 & 7) * 65535 / 7);
    out->U16((i & 3) * 65535 / 3);
  }
}

}  // namespace atl::rfb
