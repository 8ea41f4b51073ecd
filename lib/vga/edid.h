// SPDX-License-Identifier: Apache-2.0
// What the monitor says of itself (VESA E-EDID, release A, block 0), where
// drivers of the Bochs display interface look for it: at the start of the
// register BAR.
#ifndef LIB_VGA_EDID_H_
#define LIB_VGA_EDID_H_

#include <array>
#include <cstdint>

namespace atl::vga {

inline constexpr unsigned kEdidBytes = 128;

// A digital monitor that likes 1024x768 best and takes what the adapter has.
const std::array<uint8_t, kEdidBytes>& Edid();

}  // namespace atl::vga

#endif  // LIB_VGA_EDID_H_
