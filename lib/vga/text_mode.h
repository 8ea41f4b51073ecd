// SPDX-License-Identifier: Apache-2.0
// What a VGA BIOS would have done before an operating system starts, for guests
// that are started without one.
#ifndef LIB_VGA_TEXT_MODE_H_
#define LIB_VGA_TEXT_MODE_H_

#include <cstdint>
#include <span>

#include "lib/vga/vga.h"

namespace atl::vga {

inline constexpr unsigned kTextColumns = 80;
inline constexpr unsigned kTextRows = 25;
inline constexpr unsigned kFontLines = 16;

// Sets mode 3, 80x25 characters of 9x16 dots, and clears the screen. The font is
// looked for in `rom`, a VGA BIOS; false, and nothing done, where none is found.
bool SetTextMode(Vga& vga, std::span<const uint8_t> rom);

}  // namespace atl::vga

#endif  // LIB_VGA_TEXT_MODE_H_
