// SPDX-License-Identifier: Apache-2.0
// How the CRTC walks through memory, line by line: shared by text and graphics.
#ifndef LIB_VGA_SCAN_H_
#define LIB_VGA_SCAN_H_

#include <cstdint>
#include <span>

#include "lib/vga/registers.h"
#include "lib/vga/render.h"

namespace atl::vga {

class Scan {
 public:
  Scan(const Registers& r, const CrtcGeometry& g)
      : r_(r),
        g_(g),
        row_address_(g.start + (r.crtc[8] >> 5 & 3)),
        row_line_(r.crtc[8] & 0x1F),
        pan_(r.attribute[0x13]) {}

  // The counter's value at the row's first character, and the line in the row.
  unsigned row_address() const { return row_address_; }
  unsigned row_line() const { return row_line_; }
  // The pixel panning register as it counts for this line.
  unsigned pan() const { return pan_; }
  // The byte of each plane that the character `x` of this line comes from,
  // below 64 Ki.
  unsigned Address(unsigned x) const {
    const uint8_t mode = r_.crtc[0x17];
    unsigned a = row_address_;
    if ((mode & 8) != 0) {
      a += x >> 1;
    } else if ((r_.crtc[0x14] & 0x20) != 0) {
      a += x >> 2;
    } else {
      a += x;
    }
    if ((r_.crtc[0x14] & 0x40) != 0) {  // double words
      a = a << 2 | (a >> 14 & 3);
    } else if ((mode & 0x40) == 0) {  // words
      a = a << 1 | (a >> ((mode & 0x20) != 0 ? 15 : 13) & 1);
    }
    // As CGA and Hercules have their lines: bits of the address count lines.
    if ((mode & 1) == 0) a = (a & ~0x2000u) | (row_line_ & 1) << 13;
    if ((mode & 2) == 0) a = (a & ~0x4000u) | (row_line_ >> 1 & 1) << 14;
    return a & 0xFFFF;
  }
  void NextLine() {
    if (line_++ == g_.line_compare) {
      row_address_ = 0;
      row_line_ = 0;
      second_ = false;
      if ((r_.attribute[0x10] & 0x20) != 0) pan_ = 0;
      return;
    }
    if (g_.double_scan) {
      second_ = !second_;
      if (second_) return;
    }
    // A row that begins past its last line counts on to 31.
    if (row_line_ == g_.row_lines - 1) {
      row_line_ = 0;
      row_address_ += g_.pitch;
    } else {
      row_line_ = (row_line_ + 1) & 0x1F;
    }
  }

 private:
  const Registers& r_;
  const CrtcGeometry& g_;
  unsigned row_address_;
  unsigned row_line_;
  unsigned pan_;
  unsigned line_ = 0;
  bool second_ = false;
};

void RenderText(const Registers& r, std::span<const uint8_t> vram, ui::Surface* out);

}  // namespace atl::vga

#endif  // LIB_VGA_SCAN_H_
