// SPDX-License-Identifier: Apache-2.0
// A VGA for tests, and the modes they want it in.
#ifndef LIB_VGA_TEST_CARD_H_
#define LIB_VGA_TEST_CARD_H_

#include <cstdint>
#include <memory>

#include "lib/dev/device_lock.h"
#include "lib/dev/testing/fakes.h"
#include "lib/vga/screen.h"
#include "lib/vga/vga.h"
#include "lib/vga/vram.h"

namespace atl::vga {

struct Card {
  std::unique_ptr<Vram> vram = Vram::Create(Vram::kMinBytes).value();
  dev::ManualClock clock;
  dev::DeviceLock lock{&clock};
  Vga vga{*vram, lock.clock()};
  VgaScreen screen{vga, lock};

  void Seq(uint8_t i, uint8_t v) { Indexed(0x3C4, i, v); }
  void Graphics(uint8_t i, uint8_t v) { Indexed(0x3CE, i, v); }
  void Crtc(uint8_t i, uint8_t v) { Indexed(0x3D4, i, v); }
  void Indexed(uint16_t port, uint8_t i, uint8_t v) {
    vga.WritePort(port, i);
    vga.WritePort(port + 1, v);
  }
  void Attribute(uint8_t i, uint8_t v) {
    vga.ReadPort(0x3DA);
    vga.WritePort(0x3C0, i);
    vga.WritePort(0x3C0, v);
  }
  void Show() {
    vga.ReadPort(0x3DA);
    vga.WritePort(0x3C0, 0x20);
  }
  void Dispi(unsigned i, uint16_t v) {
    vga.WriteDispi(false, static_cast<uint16_t>(i));
    vga.WriteDispi(true, v);
  }
  uint8_t Plane(unsigned plane, unsigned at) { return vram->data()[4 * at + plane]; }

  // A grey ramp, and attributes that are themselves.
  void Palette() {
    vga.WritePort(0x3C8, 0);
    for (unsigned i = 0; i < 256; ++i)
      for (unsigned c = 0; c < 3; ++c) vga.WritePort(0x3C9, i & 63);
    for (uint8_t i = 0; i < 16; ++i) Attribute(i, i);
    Attribute(0x12, 0x0F);
  }
  // Mode 3 of 4 columns and 2 rows of 4 lines, with a font in which line n of
  // each character is its code.
  void Text() {
    vga.WritePort(0x3C2, 0x67);
    Palette();
    Seq(4, 0x06);
    Seq(2, 0x04);
    Graphics(6, 0x05);
    Graphics(8, 0xFF);
    for (unsigned code = 0; code < 256; ++code)
      for (unsigned n = 0; n < 4; ++n) vga.WriteWindow(code * 32 + n, 1, code);
    Seq(1, 0x00);
    Seq(2, 0x03);
    Seq(4, 0x02);
    Graphics(5, 0x10);
    Graphics(6, 0x0E);
    const uint8_t crtc[] = {0x5F, 3, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0,    0x43, 0x20, 0,   0,
                            0,    0, 0,    0x9C, 0x0E, 7,    2,    0,    0x96, 0xB9, 0xA3, 0xFF};
    for (uint8_t i = 0; i < sizeof crtc; ++i) Crtc(i, crtc[i]);
    Crtc(7, 0x10);
    Attribute(0x10, 0x0C);
    Attribute(0x13, 8);
    Show();
  }
  void Put(unsigned cell, uint8_t code, uint8_t attribute) {
    vga.WriteWindow(0x18000 + 2 * cell, 2, code | attribute << 8);
  }
};

}  // namespace atl::vga

#endif  // LIB_VGA_TEST_CARD_H_
