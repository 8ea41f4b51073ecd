// SPDX-License-Identifier: Apache-2.0
// The form in which a viewer wants its pixels (RFC 6143, 7.4), and the way there
// from 0x00RRGGBB.
#ifndef LIB_RFB_PIXEL_FORMAT_H_
#define LIB_RFB_PIXEL_FORMAT_H_

#include <array>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "lib/rfb/output.h"

namespace atl::rfb {

struct PixelFormat {
  static constexpr size_t kWireSize = 16;

  uint8_t bits_per_pixel = 32;  // 8, 16, 32
  uint8_t depth = 24;
  bool big_endian = false;
  // False: pixels are indices of a table that the server sets, eight bits.
  bool true_colour = true;
  // 2^n - 1, and where they stand: disjoint and inside the pixel.
  uint16_t red_max = 255, green_max = 255, blue_max = 255;
  uint8_t red_shift = 16, green_shift = 8, blue_shift = 0;
  friend bool operator==(const PixelFormat&, const PixelFormat&) = default;
};

// InvalidArgument says what is wrong with it.
absl::StatusOr<PixelFormat> DecodePixelFormat(
    std::span<const uint8_t, PixelFormat::kWireSize> bytes);
void EncodePixelFormat(const PixelFormat& format, Output* out);

// Pixels are "wire pixels" here: an integer whose first bytes() bytes in memory
// are what goes over the wire.
class PixelConverter {
 public:
  explicit PixelConverter(const PixelFormat& format);

  const PixelFormat& format() const { return format_; }
  unsigned bytes() const { return bytes_; }
  uint32_t Convert(uint32_t pixel) const {
    return red_[pixel >> 16 & 255] | green_[pixel >> 8 & 255] | blue_[pixel & 255];
  }
  void ConvertRow(const uint32_t* from, size_t count, uint32_t* to) const;
  // bytes() bytes a pixel.
  void WriteRow(const uint32_t* from, size_t count, uint8_t* to) const;
  void Write(uint32_t pixel, Output* out) const { WriteWire(Convert(pixel), out); }
  void WriteWire(uint32_t wire, Output* out) const {
    std::memcpy(out->Grow(bytes_), &wire, bytes_);
  }

  // ZRLE's CPIXEL: which of the wire pixel's bytes are sent.
  unsigned compact_bytes() const { return compact_bytes_; }
  unsigned compact_skip() const { return compact_skip_; }
  // Tight's TPIXEL is red, green, blue, a byte each; else it is the pixel.
  bool tight_rgb() const { return tight_rgb_; }

  // The table of a format that is not of true colours: a
  // SetColourMapEntries message.
  void WriteColourMap(Output* out) const;

 private:
  PixelFormat format_;
  unsigned bytes_;
  unsigned compact_bytes_;
  unsigned compact_skip_ = 0;
  bool tight_rgb_;
  bool identity_;
  std::array<uint32_t, 256> red_, green_, blue_;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_PIXEL_FORMAT_H_
