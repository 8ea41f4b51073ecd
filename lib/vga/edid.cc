// SPDX-License-Identifier: Apache-2.0
#include "lib/vga/edid.h"

namespace atl::vga {
namespace {

// clang-format off
constexpr uint8_t kBytes[kEdidBytes - 1] = {
    0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00,
    0x06, 0x8C,              // "ATL", five bits a letter
    0x01, 0x00,              // product
    0x00, 0x00, 0x00, 0x00,  // serial number: none
    0, 2026 - 1990,          // made in
    1, 4,                    // version
    0xA0,                    // digital, eight bits a colour
    26, 20,                  // size in cm
    0x78,                    // gamma 2.2
    0x06,                    // sRGB; the first timing is the native one
    0xEE, 0x91, 0xA3, 0x54, 0x4C, 0x99, 0x26, 0x0F, 0x50, 0x54,  // sRGB's colours
    0x21, 0x08, 0x00,        // 640x480, 800x600, 1024x768, all at 60 Hz
    // Width / 8 - 31; shape (16:10, 4:3, 5:4, 16:9) and rate - 60.
    0xD1, 0xC0,  // 1920x1080
    0xB3, 0x00,  // 1680x1050
    0xA9, 0x40,  // 1600x1200
    0x81, 0x80,  // 1280x1024
    0x95, 0x00,  // 1440x900
    0x81, 0x40,  // 1280x960
    0x81, 0x00,  // 1280x800
    0x81, 0xC0,  // 1280x720
    // 1024x768 at 60 Hz: 65 MHz, 320 and 38 blank, as VESA's DMT has it.
    0x64, 0x19, 0x00, 0x40, 0x41, 0x00, 0x26, 0x30, 0x18, 0x88, 0x36, 0x00, 0x04, 0xC3, 0x10,
    0x00, 0x00, 0x18,
    // 50 to 120 Hz, 30 to 160 kHz, up to 250 MHz.
    0, 0, 0, 0xFD, 0, 50, 120, 30, 160, 25, 0x01, '\n', ' ', ' ', ' ', ' ', ' ', ' ',
    0, 0, 0, 0xFC, 0, 'a', 't', 'o', 'l', 'l', ' ', 'V', 'G', 'A', '\n', ' ', ' ', ' ',
    0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  // unused
    0,                       // no further blocks
};
// clang-format on

// All bytes together are 0.
constexpr std::array<uint8_t, kEdidBytes> WithSum() {
  std::array<uint8_t, kEdidBytes> out{};
  unsigned sum = 0;
  for (unsigned i = 0; i < kEdidBytes - 1; ++i) {
    out[i] = kBytes[i];
    sum += kBytes[i];
  }
  out[kEdidBytes - 1] = static_cast<uint8_t>(0u - sum);
  return out;
}

constexpr std::array<uint8_t, kEdidBytes> kEdid = WithSum();

}  // namespace

const std::array<uint8_t, kEdidBytes>& Edid() { return kEdid; }

}  // namespace atl::vga
