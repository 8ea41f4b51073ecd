// SPDX-License-Identifier: Apache-2.0
// From a VGA's registers and memory to a picture.
#ifndef LIB_VGA_RENDER_H_
#define LIB_VGA_RENDER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/ui/screen.h"
#include "lib/ui/surface.h"
#include "lib/vga/registers.h"

namespace atl::vga {

ui::ScreenKind KindOf(const Registers& r, uint64_t vram_bytes);

// `vram`: a power of two of bytes, at least 256 KiB; the guest may write to it
// meanwhile. `out` gets the size that the mode has. What blinks is shown.
void Render(const Registers& r, std::span<const uint8_t> vram, ui::Surface* out);
// The same of the linear modes, into a picture that was drawn before: says what
// is new in it, and writes no more than that. Nothing in other modes. `written`,
// where there is one: the pages of `vram`, by 4 KiB; the rest is as it was drawn.
std::optional<ui::Damage> RenderLinearChanges(const Registers& r, std::span<const uint8_t> vram,
                                              const std::vector<bool>* written, ui::Surface* out);
// Whether each row of the picture is bytes of the memory one after the other.
bool RowsAreBytes(const Registers& r, uint64_t vram_bytes);

// The characters of a text mode; nothing in others.
std::optional<ui::TextScreen> ReadText(const Registers& r, std::span<const uint8_t> vram);

}  // namespace atl::vga

#endif  // LIB_VGA_RENDER_H_
