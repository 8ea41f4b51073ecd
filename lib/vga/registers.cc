// SPDX-License-Identifier: Apache-2.0
#include "lib/vga/registers.h"

#include <algorithm>

namespace atl::vga {

uint32_t Registers::Color(uint8_t index) const {
  const uint8_t* entry = dac + 3 * (index & dac_mask);
  uint32_t out = 0;
  for (unsigned i = 0; i < 3; ++i) {
    unsigned v = entry[i];
    // Six bits, spread so that the brightest is white.
    if ((dispi[kDispiEnable] & kDispi8BitDac) == 0) v = (v & 0x3F) << 2 | (v >> 4 & 3);
    out = out << 8 | v;
  }
  return out;
}

uint32_t Registers::AttributeColor(unsigned pixel) const {
  unsigned index = attribute[pixel & attribute[0x12] & 0xF] & 0x3F;
  const unsigned select = attribute[0x14];
  if ((attribute[0x10] & 0x80) != 0) index = (index & 0xF) | (select & 3) << 4;
  return Color(static_cast<uint8_t>(index | (select & 0xC) << 4));
}

void Registers::VisitState(dev::StateVisitor& v) {
  v.Field("misc", misc);
  v.Field("feature", feature);
  v.Bounded("sequencer_index", sequencer_index, sizeof sequencer - 1);
  v.Array("sequencer", sequencer);
  v.Bounded("crtc_index", crtc_index, sizeof crtc - 1);
  v.Array("crtc", crtc);
  v.Bounded("graphics_index", graphics_index, sizeof graphics - 1);
  v.Array("graphics", graphics);
  v.Bounded("attribute_index", attribute_index, 0x3F);
  v.Field("attribute_data", attribute_data);
  v.Array("attribute", attribute);
  v.Field("dac_mask", dac_mask);
  v.Bounded("dac_state", dac_state, 3);
  v.Field("dac_read", dac_read);
  v.Field("dac_write", dac_write);
  v.Bounded("dac_part", dac_part, 2);
  v.Array("dac_latch", dac_latch);
  v.Array("dac", dac);
  v.Field("latch", latch);
  v.Field("dispi_index", dispi_index);
  v.Array("dispi", dispi);
}

CrtcGeometry GeometryOf(const Registers& r) {
  const uint8_t* c = r.crtc;
  const auto bit = [](unsigned value, unsigned from, unsigned to) {
    return (value >> from & 1) << to;
  };
  CrtcGeometry g;
  g.columns = c[1] + 1u;
  g.dots = (r.sequencer[1] & 1) != 0 || r.graphics_mode() ? 8 : 9;
  g.half_clock = (r.sequencer[1] & 8) != 0;
  g.lines = (c[0x12] | bit(c[7], 1, 8) | bit(c[7], 6, 9)) + 1u;
  g.row_lines = (c[9] & 0x1F) + 1u;
  g.double_scan = (c[9] & 0x80) != 0;
  g.start = unsigned{c[0xC]} << 8 | c[0xD];
  g.pitch = c[0x13] * 2u;
  g.line_compare = c[0x18] | bit(c[7], 4, 8) | bit(c[9], 6, 9);
  g.programmed = c[0] != 0;
  return g;
}

DispiMode DispiModeOf(const Registers& r, uint64_t vram_bytes) {
  DispiMode m;
  switch (r.dispi[kDispiBpp]) {
    case 4:
    case 8:
    case 15:
    case 16:
    case 24:
    case 32:
      m.bpp = r.dispi[kDispiBpp];
      break;
    case 0:
      m.bpp = 8;
      break;
    default:
      return m;
  }
  // In 4 bpp each of four planes has a quarter of the memory.
  const uint64_t room = m.bpp == 4 ? vram_bytes / 4 : vram_bytes;
  const auto bytes = [&m](uint64_t pixels) {
    return m.bpp == 4 ? pixels / 8 : pixels * ((m.bpp + 7) / 8);
  };
  m.width = std::min<unsigned>(r.dispi[kDispiXres], kMaxDispiWidth) & ~7u;
  m.height = std::min<unsigned>(r.dispi[kDispiYres], kMaxDispiHeight);
  m.pitch = bytes(std::max<unsigned>(r.dispi[kDispiVirtWidth] & ~7u, m.width));
  if (m.width == 0 || m.height == 0 || m.pitch > room) return {};
  m.virtual_height = static_cast<unsigned>(std::min<uint64_t>(room / m.pitch, 0xFFFF));
  m.height = std::min(m.height, m.virtual_height);
  // What is moved out of the memory is not moved.
  uint64_t x = r.dispi[kDispiXOffset];
  uint64_t y = r.dispi[kDispiYOffset];
  if (m.bpp == 4) x &= ~uint64_t{7};
  if (y + m.height > m.virtual_height) y = 0;
  m.start = y * m.pitch + bytes(x);
  if (m.start + (m.height - 1) * m.pitch + bytes(m.width) > room) m.start = 0;
  return m;
}

}  // namespace atl::vga
