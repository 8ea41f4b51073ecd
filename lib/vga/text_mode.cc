// SPDX-License-Identifier: Apache-2.0
#include "lib/vga/text_mode.h"

#include <algorithm>
#include <iterator>

namespace atl::vga {
namespace {

constexpr uint8_t kMisc = 0x67;
constexpr uint8_t kSequencer[] = {0x03, 0x00, 0x03, 0x00, 0x02};
constexpr uint8_t kCrtc[] = {0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00,
                             0x4F, 0x0D, 0x0E, 0x00, 0x00, 0x00, 0x00, 0x9C, 0x8E,
                             0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF};
constexpr uint8_t kGraphics[] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0E, 0x0F, 0xFF};
constexpr uint8_t kAttribute[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3A,
                                  0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x0C, 0x00, 0x0F, 0x08, 0x00};

// How every font of code page 437 begins: an empty character, then a face.
constexpr uint8_t kFontBegins[2 * kFontLines] = {
    0, 0, 0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0, 0,
    0, 0, 0x7E, 0x81, 0xA5, 0x81, 0x81, 0xBD, 0x99, 0x81, 0x81, 0x7E, 0, 0, 0, 0};
constexpr size_t kFontBytes = 256 * kFontLines;

void SetIndexed(Vga& vga, uint16_t port, std::span<const uint8_t> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    vga.WritePort(port, static_cast<uint8_t>(i));
    vga.WritePort(port + 1, values[i]);
  }
}

void Set(Vga& vga, uint16_t port, uint8_t index, uint8_t value) {
  vga.WritePort(port, index);
  vga.WritePort(port + 1, value);
}

}  // namespace

bool SetTextMode(Vga& vga, std::span<const uint8_t> rom) {
  const auto font =
      std::search(rom.begin(), rom.end(), std::begin(kFontBegins), std::end(kFontBegins));
  if (static_cast<size_t>(rom.end() - font) < kFontBytes) return false;

  vga.WriteDispiRegister(kDispiEnable, 0);
  vga.WritePort(0x3C2, kMisc);
  // The font, into plane 2, a byte after the other.
  Set(vga, 0x3C4, 2, 0x04);
  Set(vga, 0x3C4, 4, 0x06);
  Set(vga, 0x3CE, 1, 0x00);
  Set(vga, 0x3CE, 3, 0x00);
  Set(vga, 0x3CE, 5, 0x00);
  Set(vga, 0x3CE, 6, 0x04);
  Set(vga, 0x3CE, 8, 0xFF);
  constexpr unsigned kGlyphBytes = 32;
  for (unsigned code = 0; code < 256; ++code) {
    for (unsigned line = 0; line < kFontLines; ++line) {
      vga.WriteWindow(code * kGlyphBytes + line, 1, font[code * kFontLines + line]);
    }
  }
  SetIndexed(vga, 0x3C4, kSequencer);
  SetIndexed(vga, 0x3CE, kGraphics);
  Set(vga, 0x3D4, 0x11, 0);  // lets the first eight be written
  SetIndexed(vga, 0x3D4, kCrtc);
  vga.WritePort(0x3C6, 0xFF);
  vga.WritePort(0x3C8, 0);
  for (unsigned i = 0; i < 64; ++i) {
    for (unsigned c : {2, 1, 0}) {  // two thirds and one third of each colour
      vga.WritePort(0x3C9, static_cast<uint8_t>((i >> c & 1) * 0x2A + (i >> (c + 3) & 1) * 0x15));
    }
  }
  vga.ReadPort(0x3DA);
  for (unsigned i = 0; i < std::size(kAttribute); ++i) {
    vga.WritePort(0x3C0, static_cast<uint8_t>(i));
    vga.WritePort(0x3C0, kAttribute[i]);
  }
  vga.WritePort(0x3C0, 0x20);
  constexpr uint64_t kTextWindow = 0x18000;  // 0xB8000
  for (uint64_t at = 0; at < 0x8000; at += 8) {
    vga.WriteWindow(kTextWindow + at, 8, 0x0720072007200720);
  }
  return true;
}

}  // namespace atl::vga
