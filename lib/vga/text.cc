// SPDX-License-Identifier: Apache-2.0
// Text modes: characters in plane 0, attributes in plane 1, the font in plane 2.
#include <algorithm>
#include <vector>

#include "lib/vga/render.h"
#include "lib/vga/scan.h"

namespace atl::vga {
namespace {

constexpr unsigned kGlyphBytes = 32;

// Where in plane 2 the font of a 3-bit number of the character map register lies.
constexpr unsigned FontAt(unsigned number) {
  return (number & 3) * 0x4000 + (number >> 2) * 0x2000;
}

struct Cursor {
  bool on;
  unsigned address;  // as the CRTC counts
  unsigned first, last;
};

Cursor CursorOf(const Registers& r) {
  Cursor c;
  c.first = r.crtc[0xA] & 0x1F;
  c.last = r.crtc[0xB] & 0x1F;
  c.on = (r.crtc[0xA] & 0x20) == 0 && c.first <= c.last;
  c.address = unsigned{r.crtc[0xE]} << 8 | r.crtc[0xF];
  return c;
}

bool Blinks(const Registers& r) { return (r.attribute[0x10] & 8) != 0; }

}  // namespace

void RenderText(const Registers& r, std::span<const uint8_t> vram, ui::Surface* out) {
  const CrtcGeometry g = GeometryOf(r);
  const unsigned width = std::min(g.width(), ui::Surface::kMaxWidth);
  out->Resize(width, g.lines);
  uint32_t colors[16];
  for (unsigned i = 0; i < 16; ++i) colors[i] = r.AttributeColor(i);
  const uint8_t map = r.sequencer[3];
  const unsigned font_a = FontAt((map >> 2 & 3) | (map >> 5 & 1) << 2);
  const unsigned font_b = FontAt((map & 3) | (map >> 4 & 1) << 2);
  const bool mono = (r.attribute[0x10] & 2) != 0;
  const bool line_graphics = (r.attribute[0x10] & 4) != 0;
  const bool blinks = Blinks(r);
  const Cursor cursor = CursorOf(r);
  const unsigned underline = r.crtc[0x14] & 0x1F;

  std::vector<uint32_t> line(size_t{g.columns + 1} * g.dots);
  const unsigned wide = g.half_clock ? 2 : 1;
  Scan scan(r, g);
  for (unsigned y = 0; y < g.lines; ++y, scan.NextLine()) {
    const unsigned ra = scan.row_line();
    uint32_t* p = line.data();
    for (unsigned x = 0; x <= g.columns; ++x) {
      const uint8_t* cell = vram.data() + uint64_t{scan.Address(x)} * 4;
      const uint8_t code = cell[0];
      const uint8_t attribute = cell[1];
      unsigned foreground = attribute & 15;
      unsigned background = attribute >> 4;
      const unsigned font = (attribute & 8) != 0 ? font_a : font_b;
      uint8_t glyph = vram[uint64_t{font + code * kGlyphBytes + ra} * 4 + 2];
      if (mono && (attribute & 7) == 1 && ra == underline) glyph = 0xFF;
      if (blinks) background &= 7;
      const bool cursor_here = cursor.on && ra >= cursor.first && ra <= cursor.last &&
                               scan.row_address() + x == cursor.address;
      if (cursor_here) glyph = 0xFF;
      for (unsigned i = 0; i < 8; ++i) *p++ = colors[glyph & 0x80 >> i ? foreground : background];
      if (g.dots == 9) {
        // Line drawing characters join; all others have a gap.
        const bool joins = cursor_here || (line_graphics && code >= 0xC0 && code <= 0xDF);
        *p++ = colors[joins && (glyph & 1) != 0 ? foreground : background];
      }
    }
    // With nine dots a panning of 8 is none, and others count from one.
    const unsigned pan = g.dots == 9 ? (scan.pan() >= 8 ? 0 : scan.pan() + 1) : scan.pan() & 7;
    uint32_t* row = out->Row(y);
    for (unsigned x = 0; x < width; ++x)
      row[x] = line[std::min<size_t>(pan + x / wide, line.size() - 1)];
  }
}

std::optional<ui::TextScreen> ReadText(const Registers& r, std::span<const uint8_t> vram) {
  if (KindOf(r, vram.size()) != ui::ScreenKind::kText) return std::nullopt;
  const CrtcGeometry g = GeometryOf(r);
  const Cursor cursor = CursorOf(r);
  ui::TextScreen text;
  text.columns = g.columns;
  text.blink = Blinks(r);
  for (unsigned i = 0; i < 16; ++i) text.palette[i] = r.AttributeColor(i);
  Scan scan(r, g);
  unsigned row_address = ~0u;
  for (unsigned y = 0; y < g.lines; ++y, scan.NextLine()) {
    // A row of characters begins where the address moves, and at its first line.
    if (scan.row_address() == row_address && scan.row_line() != 0) continue;
    if (scan.row_address() == row_address && g.double_scan && scan.row_line() == 0) continue;
    row_address = scan.row_address();
    for (unsigned x = 0; x < g.columns; ++x) {
      const uint8_t* cell = vram.data() + uint64_t{scan.Address(x)} * 4;
      if (cursor.on && row_address + x == cursor.address) {
        text.cursor = static_cast<unsigned>(text.cells.size());
      }
      text.cells.push_back({cell[0], cell[1]});
    }
    ++text.rows;
  }
  return text;
}

}  // namespace atl::vga
