// SPDX-License-Identifier: Apache-2.0
#include "lib/vga/vga.h"

#include <algorithm>
#include <cstring>

namespace atl::vga {
namespace {

constexpr uint16_t kDispiVersion = 0xB0C5;
constexpr uint16_t kDispiOldest = 0xB0C0;

// Bits that exist, by register; the others read as zero.
constexpr uint8_t kSequencerMask[8] = {0x03, 0x3D, 0x0F, 0x3F, 0x0E, 0x00, 0x00, 0xFF};
constexpr uint8_t kGraphicsMask[16] = {0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF};
constexpr unsigned kCrtcRegisters = 0x19;

}  // namespace

void Vga::Reset() {
  r_ = Registers();
  r_.dispi[kDispiId] = kDispiVersion;
  Touch();
}

// Both retraces, at the speed that the registers ask for.
uint8_t Vga::ReadStatus() {
  r_.attribute_data = false;
  const CrtcGeometry g = GeometryOf(r_);
  const uint8_t* c = r_.crtc;
  const uint64_t hz = ((r_.misc >> 2 & 3) == 1 ? 28322000 : 25175000) >> (g.half_clock ? 1 : 0);
  const unsigned columns = c[0] + 5u;
  const unsigned total = (c[6] | (c[7] & 1) << 8 | (c[7] >> 5 & 1) << 9) + 2u;
  uint64_t line_ns = columns * g.dots * uint64_t{1'000'000'000} / hz;
  uint64_t lines = total;
  // Where nothing sensible is programmed: 70 Hz of 449 lines.
  if (line_ns * lines < 1'000'000) {
    line_ns = 31778;
    lines = 449;
  }
  const uint64_t at = clock_.NowNs() % (line_ns * lines);
  const uint64_t line = at / line_ns;
  const uint64_t retrace = c[0x10] | (c[7] >> 2 & 1) << 8 | (c[7] >> 7 & 1) << 9;
  uint64_t end = (retrace & ~uint64_t{15}) | (c[0x11] & 15);
  if (end <= retrace) end += 16;
  const bool shows = line < g.lines && at % line_ns * columns < g.columns * line_ns;
  // Some of the frame is retrace, whatever the registers say: guests wait for it.
  const bool vertical = retrace < lines ? line >= retrace && line < end : line + 2 >= lines;
  return static_cast<uint8_t>((shows && !vertical ? 0 : 0x01) | (vertical ? 0x08 : 0));
}

uint8_t Vga::ReadPort(uint16_t port) {
  const bool color = (r_.misc & 1) != 0;
  switch (port) {
    case 0x3C0:
      return r_.attribute_data ? 0 : r_.attribute_index;
    case 0x3C1:
      return r_.attribute[r_.attribute_index & 0x1F];
    case 0x3C2:
      return 0x10;  // a monitor is there
    case 0x3C4:
      return r_.sequencer_index;
    case 0x3C5:
      return r_.sequencer[r_.sequencer_index];
    case 0x3C6:
      return r_.dac_mask;
    case 0x3C7:
      return r_.dac_state;
    case 0x3C8:
      return r_.dac_write;
    case 0x3C9:
      return ReadDac();
    case 0x3CA:
      return r_.feature;
    case 0x3CC:
      return r_.misc;
    case 0x3CE:
      return r_.graphics_index;
    case 0x3CF:
      return r_.graphics[r_.graphics_index];
    case 0x3B4:
    case 0x3D4:
      return color == (port == 0x3D4) ? r_.crtc_index : 0xFF;
    case 0x3B5:
    case 0x3D5:
      return color == (port == 0x3D5) ? r_.crtc[r_.crtc_index] : 0xFF;
    case 0x3BA:
    case 0x3DA:
      return color == (port == 0x3DA) ? ReadStatus() : 0xFF;
    default:
      return 0xFF;
  }
}

void Vga::WritePort(uint16_t port, uint8_t value) {
  const bool color = (r_.misc & 1) != 0;
  Touch();
  switch (port) {
    case 0x3C0:
      return WriteAttribute(value);
    case 0x3C2:
      r_.misc = value & 0xEF;
      return;
    case 0x3C4:
      r_.sequencer_index = value & 7;
      return;
    case 0x3C5:
      r_.sequencer[r_.sequencer_index] = value & kSequencerMask[r_.sequencer_index];
      return;
    case 0x3C6:
      r_.dac_mask = value;
      return;
    case 0x3C7:
      r_.dac_read = value;
      r_.dac_part = 0;
      r_.dac_state = 3;
      return;
    case 0x3C8:
      r_.dac_write = value;
      r_.dac_part = 0;
      r_.dac_state = 0;
      return;
    case 0x3C9:
      return WriteDac(value);
    case 0x3CE:
      r_.graphics_index = value & 15;
      return;
    case 0x3CF:
      r_.graphics[r_.graphics_index] = value & kGraphicsMask[r_.graphics_index];
      return;
    case 0x3B4:
    case 0x3D4:
      if (color == (port == 0x3D4)) r_.crtc_index = value & 0x1F;
      return;
    case 0x3B5:
    case 0x3D5:
      if (color == (port == 0x3D5)) WriteCrtc(value);
      return;
    case 0x3BA:
    case 0x3DA:
      if (color == (port == 0x3DA)) r_.feature = value & 0x10;
      return;
    default:
      return;
  }
}

void Vga::WriteAttribute(uint8_t value) {
  if (!r_.attribute_data) {
    r_.attribute_index = value & 0x3F;
  } else {
    const unsigned index = r_.attribute_index & 0x1F;
    // The palette is the screen's while the screen is on.
    if (index < 0x10) {
      if ((r_.attribute_index & 0x20) == 0) r_.attribute[index] = value & 0x3F;
    } else if (index < 0x15) {
      static constexpr uint8_t kMask[5] = {0xEF, 0xFF, 0x3F, 0x0F, 0x0F};
      r_.attribute[index] = value & kMask[index - 0x10];
    }
  }
  r_.attribute_data = !r_.attribute_data;
}

void Vga::WriteCrtc(uint8_t value) {
  const unsigned index = r_.crtc_index;
  if (index >= kCrtcRegisters) return;
  constexpr unsigned kOverflow = 7;
  constexpr uint8_t kLineCompareBit = 0x10;
  if (index <= kOverflow && (r_.crtc[0x11] & 0x80) != 0) {  // write-protected
    if (index == kOverflow) {
      r_.crtc[kOverflow] =
          static_cast<uint8_t>((r_.crtc[kOverflow] & ~kLineCompareBit) | (value & kLineCompareBit));
    }
    return;
  }
  r_.crtc[index] = value;
}

uint8_t Vga::ReadDac() {
  const uint8_t value = r_.dac[3 * r_.dac_read + r_.dac_part];
  if (++r_.dac_part == 3) {
    r_.dac_part = 0;
    ++r_.dac_read;
  }
  return value;
}

void Vga::WriteDac(uint8_t value) {
  r_.dac_latch[r_.dac_part] = value;
  if (++r_.dac_part < 3) return;
  r_.dac_part = 0;
  std::memcpy(r_.dac + 3 * r_.dac_write, r_.dac_latch, 3);
  ++r_.dac_write;
}

uint16_t Vga::ReadDispi(bool data) const {
  return data ? ReadDispiRegister(r_.dispi_index) : r_.dispi_index;
}

void Vga::WriteDispi(bool data, uint16_t value) {
  if (data) return WriteDispiRegister(r_.dispi_index, value);
  r_.dispi_index = value;
}

uint16_t Vga::ReadDispiRegister(unsigned index) const {
  if (index >= kDispiRegisters) return 0;
  if (index == kDispiMemory64K) return static_cast<uint16_t>(vram_.size() >> 16);
  if ((r_.dispi[kDispiEnable] & kDispiGetCaps) != 0) {
    if (index == kDispiXres) return kMaxDispiWidth;
    if (index == kDispiYres) return kMaxDispiHeight;
    if (index == kDispiBpp) return 32;
  }
  if (r_.dispi_enabled()) {
    const DispiMode mode = DispiModeOf(r_, vram_.size());
    if (index == kDispiVirtHeight) return static_cast<uint16_t>(mode.virtual_height);
    if (index == kDispiVirtWidth) {
      return std::max<uint16_t>(r_.dispi[kDispiVirtWidth] & 0xFFF8,
                                static_cast<uint16_t>(mode.width));
    }
  }
  return r_.dispi[index];
}

void Vga::WriteDispiRegister(unsigned index, uint16_t value) {
  Touch();
  switch (index) {
    case kDispiId:
      // The driver asks which versions are known.
      if (value >= kDispiOldest && value <= kDispiVersion) r_.dispi[index] = value;
      return;
    case kDispiXres:
      if (value <= kMaxDispiWidth) r_.dispi[index] = value;
      return;
    case kDispiYres:
      if (value <= kMaxDispiHeight) r_.dispi[index] = value;
      return;
    case kDispiBpp:
      if (value == 0 || value == 4 || value == 8 || value == 15 || value == 16 || value == 24 ||
          value == 32) {
        r_.dispi[index] = value == 0 ? 8 : value;
      }
      return;
    case kDispiBank:
      // Beyond the memory there is none.
      if (value < vram_.size() >> 16) r_.dispi[index] = value;
      return;
    case kDispiEnable:
      return SwitchDispi(value);
    case kDispiVirtWidth:
    case kDispiXOffset:
    case kDispiYOffset:
      r_.dispi[index] = value;
      return;
    default:
      return;
  }
}

void Vga::SwitchDispi(uint16_t value) {
  const bool was = r_.dispi_enabled();
  r_.dispi[kDispiEnable] = value;
  if ((value & kDispiEnabled) == 0) {
    r_.dispi[kDispiBank] = 0;
    return;
  }
  if (was) return;
  r_.dispi[kDispiBank] = 0;
  r_.dispi[kDispiVirtWidth] = 0;
  r_.dispi[kDispiXOffset] = 0;
  r_.dispi[kDispiYOffset] = 0;
  // The window is where such modes have it, as their drivers expect.
  r_.graphics[6] = static_cast<uint8_t>((r_.graphics[6] & ~0x0E) | 0x05);
  r_.graphics[5] = r_.dispi[kDispiBpp] == 4 ? 0x00 : 0x40;
  r_.sequencer[2] = 0x0F;
  r_.sequencer[4] = r_.dispi[kDispiBpp] == 4 ? 0x06 : 0x0E;
  if ((value & kDispiNoClear) == 0) vram_.Clear();
}

uint64_t Vga::ReadLinear(uint64_t offset, unsigned size) const {
  uint64_t value = ~uint64_t{0};
  if (offset < vram_.size() && vram_.size() - offset >= size) {
    value = 0;
    std::memcpy(&value, vram_.data() + offset, size);
  }
  return value;
}

void Vga::WriteLinear(uint64_t offset, unsigned size, uint64_t value) {
  Touch();
  if (offset < vram_.size() && vram_.size() - offset >= size) {
    std::memcpy(vram_.data() + offset, &value, size);
  }
}

void Vga::VisitState(dev::StateVisitor& v) {
  r_.VisitState(v);
  v.Bytes("vram", vram_.bytes());
  if (v.loading()) {
    Touch();
    // The index is used to address what follows it.
    r_.dac_part = std::min<uint8_t>(r_.dac_part, 2);
    r_.sequencer_index &= 7;
    r_.crtc_index &= 0x1F;
    r_.graphics_index &= 15;
    r_.attribute_index &= 0x3F;
  }
}

}  // namespace atl::vga
