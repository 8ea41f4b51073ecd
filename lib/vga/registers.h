// SPDX-License-Identifier: Apache-2.0
// The registers of a VGA with the Bochs display interface (dispi), as they
// stand, and what they mean together. Every value of every register is
// possible: the guest writes them.
//
// Sources: IBM VGA technical reference; the register tables of the FreeVGA
// project; docs/specs/standard-vga.txt of QEMU and vbe_dispi of Bochs.
#ifndef LIB_VGA_REGISTERS_H_
#define LIB_VGA_REGISTERS_H_

#include <cstdint>

#include "lib/dev/state.h"

namespace atl::vga {

// Register numbers of the dispi.
enum DispiRegister : unsigned {
  kDispiId,
  kDispiXres,
  kDispiYres,
  kDispiBpp,
  kDispiEnable,
  kDispiBank,
  kDispiVirtWidth,
  kDispiVirtHeight,
  kDispiXOffset,
  kDispiYOffset,
  kDispiMemory64K,  // read-only
  kDispiRegisters,
};
inline constexpr uint16_t kDispiEnabled = 0x01;
inline constexpr uint16_t kDispiGetCaps = 0x02;
inline constexpr uint16_t kDispi8BitDac = 0x20;
inline constexpr uint16_t kDispiLfb = 0x40;
inline constexpr uint16_t kDispiNoClear = 0x80;

struct Registers {
  uint8_t misc = 0;
  uint8_t feature = 0;
  uint8_t sequencer_index = 0;
  uint8_t sequencer[8] = {};
  uint8_t crtc_index = 0;
  uint8_t crtc[32] = {};
  uint8_t graphics_index = 0;
  uint8_t graphics[16] = {};
  uint8_t attribute_index = 0;  // bit 5: the palette drives the screen
  bool attribute_data = false;  // the next write to 0x3C0 is data
  uint8_t attribute[32] = {};
  uint8_t dac_mask = 0xFF;
  uint8_t dac_state = 0;  // 0 after a write address was set, 3 after a read one
  uint8_t dac_read = 0;
  uint8_t dac_write = 0;
  uint8_t dac_part = 0;  // of red, green, blue
  uint8_t dac_latch[3] = {};
  uint8_t dac[768] = {};
  uint32_t latch = 0;  // a byte a plane
  uint16_t dispi_index = 0;
  uint16_t dispi[kDispiRegisters] = {};

  bool dispi_enabled() const { return (dispi[kDispiEnable] & kDispiEnabled) != 0; }
  bool graphics_mode() const { return (graphics[6] & 1) != 0; }
  // The picture is switched off.
  bool blank() const {
    return !dispi_enabled() && ((attribute_index & 0x20) == 0 || (sequencer[1] & 0x20) != 0);
  }
  // 0x00RRGGBB of an entry of the DAC.
  uint32_t Color(uint8_t index) const;
  // The same of a 4-bit pixel, through the attribute controller.
  uint32_t AttributeColor(unsigned pixel) const;

  void VisitState(dev::StateVisitor& v);
};

// The screen that the CRTC describes, in dots and scan lines as a monitor would
// count them: a mode of 320x200 is 640x400.
struct CrtcGeometry {
  unsigned columns;       // characters of 8 or 9 dots, 1 to 256
  unsigned dots;          // of a character: 8 or 9
  bool half_clock;        // each dot is two wide
  unsigned lines;         // 1 to 1024
  unsigned row_lines;     // of a row, 1 to 32
  bool double_scan;       // each line counts twice
  unsigned start;         // address of the first character
  unsigned pitch;         // addresses from row to row
  unsigned line_compare;  // after this line the picture goes on from address 0
  bool programmed;        // somebody has set a mode
  unsigned width() const { return columns * dots * (half_clock ? 2 : 1); }
};
CrtcGeometry GeometryOf(const Registers& r);

// What the dispi registers come to with so much memory: the only place where
// their values become offsets. All visible bytes lie within the memory.
struct DispiMode {
  unsigned width = 0;  // pixels; 0 where nothing can be shown
  unsigned height = 0;
  unsigned bpp = 0;    // 4, 8, 15, 16, 24 or 32
  uint64_t pitch = 0;  // bytes from row to row; in each plane where bpp is 4
  uint64_t start = 0;  // of the first visible one
  unsigned virtual_height = 0;
};
inline constexpr unsigned kMaxDispiWidth = 2560;
inline constexpr unsigned kMaxDispiHeight = 1600;
DispiMode DispiModeOf(const Registers& r, uint64_t vram_bytes);

}  // namespace atl::vga

#endif  // LIB_VGA_REGISTERS_H_
