// SPDX-License-Identifier: Apache-2.0
// The legacy window: how the processor's bytes come to the four planes.
#include <cstring>

#include "lib/vga/vga.h"

namespace atl::vga {
namespace {

// A byte in all four planes' places, little end first.
constexpr uint32_t Spread(uint8_t byte) { return byte * 0x01010101u; }

// Four bits, a plane each, to bytes of all ones or zeros.
constexpr uint32_t PlaneMask(unsigned bits) {
  return (bits & 1 ? 0x000000FFu : 0) | (bits & 2 ? 0x0000FF00u : 0) |
         (bits & 4 ? 0x00FF0000u : 0) | (bits & 8 ? 0xFF000000u : 0);
}

}  // namespace

bool Vga::LinearBank() const { return r_.dispi_enabled() && r_.dispi[kDispiBpp] != 4; }

bool Vga::Decode(uint64_t offset, uint32_t* address) const {
  if ((r_.misc & 2) == 0 && !r_.dispi_enabled()) return false;  // switched off
  switch (r_.graphics[6] >> 2 & 3) {
    case 0:
      break;
    case 1:
      if (offset >= 0x10000) return false;
      break;
    case 2:
      if (offset < 0x10000 || offset >= 0x18000) return false;
      offset -= 0x10000;
      break;
    case 3:
      if (offset < 0x18000) return false;
      offset -= 0x18000;
      break;
  }
  *address = static_cast<uint32_t>(offset);
  return true;
}

uint8_t Vga::ReadByte(uint64_t offset) {
  uint32_t a;
  if (!Decode(offset, &a)) return 0xFF;
  const uint64_t bank = r_.dispi_enabled() ? uint64_t{r_.dispi[kDispiBank]} << 16 : 0;
  if (LinearBank()) return vram_.data()[(bank + a) & (vram_.size() - 1)];

  unsigned plane = r_.graphics[4] & 3;
  if ((r_.sequencer[4] & 8) != 0) {
    plane = a & 3;
    a &= ~3u;
  } else if ((r_.graphics[5] & 0x10) != 0) {
    plane = (plane & 2) | (a & 1);
    a &= ~1u;
  }
  const uint64_t byte = bank + (r_.dispi_enabled() ? a : a & 0xFFFF);
  std::memcpy(&r_.latch, vram_.data() + (byte * 4 & (vram_.size() - 1)), 4);
  if ((r_.graphics[5] & 8) == 0) return static_cast<uint8_t>(r_.latch >> 8 * plane);
  // The pixels whose colour is the one compared with, in the planes that count.
  uint32_t differ = (r_.latch ^ PlaneMask(r_.graphics[2])) & PlaneMask(r_.graphics[7]);
  differ |= differ >> 16;
  differ |= differ >> 8;
  return static_cast<uint8_t>(~differ);
}

void Vga::WriteByte(uint64_t offset, uint8_t value) {
  uint32_t a;
  if (!Decode(offset, &a)) return;
  const uint64_t bank = r_.dispi_enabled() ? uint64_t{r_.dispi[kDispiBank]} << 16 : 0;
  if (LinearBank()) {
    vram_.data()[(bank + a) & (vram_.size() - 1)] = value;
    return;
  }

  unsigned planes = r_.sequencer[2];
  if ((r_.sequencer[4] & 8) != 0) {
    planes &= 1u << (a & 3);
    a &= ~3u;
  } else if ((r_.sequencer[4] & 4) == 0) {
    planes &= a & 1 ? 0xA : 0x5;
    a &= ~1u;
  }
  if (planes == 0) return;

  const uint8_t* g = r_.graphics;
  const unsigned mode = g[5] & 3;
  const unsigned turn = g[3] & 7;
  const uint8_t turned = static_cast<uint8_t>(value >> turn | value << (8 - turn));
  uint32_t bits = Spread(g[8]);
  uint32_t data = 0;
  switch (mode) {
    case 0: {
      const uint32_t fixed = PlaneMask(g[1]);
      data = (Spread(turned) & ~fixed) | (PlaneMask(g[0]) & fixed);
      break;
    }
    case 1:
      data = r_.latch;
      break;
    case 2:
      data = PlaneMask(value & 0xF);
      break;
    case 3:
      bits &= Spread(turned);
      data = PlaneMask(g[0]);
      break;
  }
  if (mode != 1) {
    switch (g[3] >> 3 & 3) {
      case 1:
        data &= r_.latch;
        break;
      case 2:
        data |= r_.latch;
        break;
      case 3:
        data ^= r_.latch;
        break;
      default:
        break;
    }
    data = (data & bits) | (r_.latch & ~bits);
  }
  const uint64_t byte = bank + (r_.dispi_enabled() ? a : a & 0xFFFF);
  uint8_t* at = vram_.data() + (byte * 4 & (vram_.size() - 1));
  const uint32_t mask = PlaneMask(planes);
  uint32_t old;
  std::memcpy(&old, at, 4);
  old = (old & ~mask) | (data & mask);
  std::memcpy(at, &old, 4);
}

uint64_t Vga::ReadWindow(uint64_t offset, unsigned size) {
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) {
    const uint8_t byte = offset + i < kWindowSize ? ReadByte(offset + i) : 0xFF;
    value |= uint64_t{byte} << 8 * i;
  }
  return value;
}

void Vga::WriteWindow(uint64_t offset, unsigned size, uint64_t value) {
  Touch();
  for (unsigned i = 0; i < size && offset + i < kWindowSize; ++i) {
    WriteByte(offset + i, static_cast<uint8_t>(value >> 8 * i));
  }
}

}  // namespace atl::vga
