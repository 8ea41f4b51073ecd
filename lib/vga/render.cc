// SPDX-License-Identifier: Apache-2.0
#include "lib/vga/render.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "lib/base/endian.h"
#include "lib/vga/scan.h"

namespace atl::vga {
namespace {

constexpr unsigned kPageShift = 12;
constexpr unsigned kBlankWidth = 720;
constexpr unsigned kBlankHeight = 400;

using Palette = std::array<uint32_t, 256>;

Palette DacPalette(const Registers& r) {
  Palette out;
  for (unsigned i = 0; i < out.size(); ++i) out[i] = r.Color(static_cast<uint8_t>(i));
  return out;
}

// Eight pixels of four planes, the leftmost in the highest bits.
void PlanarRow(const Registers& r, const uint8_t* vram, uint64_t size, uint64_t at, unsigned width,
               uint32_t* out) {
  uint32_t colors[16];
  for (unsigned i = 0; i < 16; ++i) colors[i] = r.AttributeColor(i);
  for (unsigned x = 0; x < width; x += 8, ++at) {
    const uint8_t* p = vram + (at * 4 & (size - 1));
    for (unsigned i = 0; i < 8 && x + i < width; ++i) {
      const unsigned shift = 7 - i;
      const unsigned pixel = (p[0] >> shift & 1) | (p[1] >> shift & 1) << 1 |
                             (p[2] >> shift & 1) << 2 | (p[3] >> shift & 1) << 3;
      *out++ = colors[pixel];
    }
  }
}

// Bits of a component, spread so that the brightest is 0xFF.
constexpr uint32_t Five(unsigned v) { return v << 3 | v >> 2; }
constexpr uint32_t Six(unsigned v) { return v << 2 | v >> 4; }

void LinearRow(const Palette& palette, unsigned bpp, const uint8_t* in, unsigned width,
               uint32_t* out) {
  for (unsigned x = 0; x < width; ++x) {
    switch (bpp) {
      case 8:
        out[x] = palette[in[x]];
        break;
      case 15: {
        const unsigned v = LoadLe<uint16_t>(in + 2 * x);
        out[x] = Five(v >> 10 & 31) << 16 | Five(v >> 5 & 31) << 8 | Five(v & 31);
        break;
      }
      case 16: {
        const unsigned v = LoadLe<uint16_t>(in + 2 * x);
        out[x] = Five(v >> 11) << 16 | Six(v >> 5 & 63) << 8 | Five(v & 31);
        break;
      }
      case 24:
        out[x] = uint32_t{in[3 * x + 2]} << 16 | uint32_t{in[3 * x + 1]} << 8 | in[3 * x];
        break;
      default:
        out[x] = LoadLe<uint32_t>(in + 4 * x) & 0xFFFFFF;
        break;
    }
  }
}

void DispiRow(const Registers& r, const Palette& palette, std::span<const uint8_t> vram,
              const DispiMode& mode, unsigned y, uint32_t* out) {
  const uint64_t at = mode.start + y * mode.pitch;
  if (mode.bpp == 4) {
    PlanarRow(r, vram.data(), vram.size(), at, mode.width, out);
  } else {
    LinearRow(palette, mode.bpp, vram.data() + at, mode.width, out);
  }
}

void RenderDispi(const Registers& r, std::span<const uint8_t> vram, const DispiMode& mode,
                 ui::Surface* out) {
  out->Resize(mode.width, mode.height);
  const Palette palette = DacPalette(r);
  for (unsigned y = 0; y < mode.height; ++y) DispiRow(r, palette, vram, mode, y, out->Row(y));
}

// Graphics modes of the CRTC.
void RenderGraphics(const Registers& r, std::span<const uint8_t> vram, ui::Surface* out) {
  const CrtcGeometry g = GeometryOf(r);
  const unsigned width = std::min(g.width(), ui::Surface::kMaxWidth);
  out->Resize(width, g.lines);
  const bool colors256 = (r.graphics[5] & 0x40) != 0;
  const bool interleaved = !colors256 && (r.graphics[5] & 0x20) != 0;
  const Palette palette = DacPalette(r);
  uint32_t colors[16];
  for (unsigned i = 0; i < 16; ++i) colors[i] = r.AttributeColor(i);

  // A character more than shows, for what panning moves in.
  std::vector<uint32_t> line(size_t{g.columns + 1} * 8);
  const unsigned wide = g.half_clock ? 2 : 1;
  Scan scan(r, g);
  unsigned drawn_ma = ~0u, drawn_ra = ~0u, drawn_pan = ~0u;
  for (unsigned y = 0; y < g.lines; ++y, scan.NextLine()) {
    const unsigned pan = scan.pan() & 7;
    uint32_t* row = out->Row(y);
    if (scan.row_address() == drawn_ma && scan.row_line() == drawn_ra && pan == drawn_pan &&
        y > 0) {
      std::memcpy(row, out->Row(y - 1), size_t{width} * 4);
      continue;
    }
    drawn_ma = scan.row_address();
    drawn_ra = scan.row_line();
    drawn_pan = pan;
    uint32_t* p = line.data();
    for (unsigned x = 0; x <= g.columns; ++x) {
      const uint8_t* in = vram.data() + uint64_t{scan.Address(x)} * 4;
      if (colors256) {
        // Four pixels, each two dots wide.
        for (unsigned i = 0; i < 4; ++i, p += 2) p[0] = p[1] = palette[in[i]];
      } else if (interleaved) {
        // Two bits a pixel: planes 0 and 2 first, then 1 and 3.
        for (unsigned i = 0; i < 8; ++i) {
          const unsigned shift = 6 - 2 * (i & 3);
          const unsigned low = in[i >> 2] >> shift & 3;
          const unsigned high = in[2 + (i >> 2)] >> shift & 3;
          *p++ = colors[low | high << 2];
        }
      } else {
        for (unsigned i = 0; i < 8; ++i) {
          const unsigned shift = 7 - i;
          *p++ = colors[(in[0] >> shift & 1) | (in[1] >> shift & 1) << 1 |
                        (in[2] >> shift & 1) << 2 | (in[3] >> shift & 1) << 3];
        }
      }
    }
    for (unsigned x = 0; x < width; ++x) row[x] = line[pan + x / wide];
  }
}

}  // namespace

ui::ScreenKind KindOf(const Registers& r, uint64_t vram_bytes) {
  if (r.dispi_enabled()) {
    return DispiModeOf(r, vram_bytes).width != 0 ? ui::ScreenKind::kGraphics
                                                 : ui::ScreenKind::kBlank;
  }
  if (r.blank() || !GeometryOf(r).programmed) return ui::ScreenKind::kBlank;
  return r.graphics_mode() ? ui::ScreenKind::kGraphics : ui::ScreenKind::kText;
}

void Render(const Registers& r, std::span<const uint8_t> vram, ui::Surface* out) {
  switch (KindOf(r, vram.size())) {
    case ui::ScreenKind::kBlank: {
      const CrtcGeometry g = GeometryOf(r);
      // As large as what was there before it was switched off.
      if (g.programmed && !r.dispi_enabled()) {
        out->Resize(std::min(g.width(), ui::Surface::kMaxWidth), g.lines);
      } else {
        out->Resize(kBlankWidth, kBlankHeight);
      }
      return;
    }
    case ui::ScreenKind::kText:
      return RenderText(r, vram, out);
    case ui::ScreenKind::kGraphics:
      if (r.dispi_enabled()) return RenderDispi(r, vram, DispiModeOf(r, vram.size()), out);
      return RenderGraphics(r, vram, out);
  }
}

bool RowsAreBytes(const Registers& r, uint64_t vram_bytes) {
  return r.dispi_enabled() && DispiModeOf(r, vram_bytes).bpp >= 8;
}

std::optional<ui::Damage> RenderLinearChanges(const Registers& r, std::span<const uint8_t> vram,
                                              const std::vector<bool>* written, ui::Surface* out) {
  if (!r.dispi_enabled()) return std::nullopt;
  const DispiMode mode = DispiModeOf(r, vram.size());
  if (mode.width == 0 || out->width != mode.width || out->height != mode.height) {
    return std::nullopt;
  }
  const Palette palette = DacPalette(r);
  const uint64_t bytes = uint64_t{mode.width} * ((mode.bpp + 7) / 8);
  const auto touched = [&](unsigned y) {
    const uint64_t first = mode.start + y * mode.pitch, last = first + bytes - 1;
    for (uint64_t page = first >> kPageShift; page <= last >> kPageShift; ++page) {
      if ((*written)[page]) return true;
    }
    return false;
  };
  return ui::UpdateRows(*out, [&](unsigned y, uint32_t* row) {
    if (written != nullptr && !touched(y)) return false;
    DispiRow(r, palette, vram, mode, y, row);
    return true;
  });
}

}  // namespace atl::vga
