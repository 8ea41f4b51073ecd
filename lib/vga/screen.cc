// SPDX-License-Identifier: Apache-2.0
#include "lib/vga/screen.h"

#include <utility>

#include "lib/vga/render.h"

namespace atl::vga {

namespace {

// A surface's mark of a picture that only the chip can change; 0 where the guest
// draws past it.
uint64_t TokenOf(const Registers& r, uint64_t version) {
  return r.dispi_enabled() ? 0 : version << 1 | 1;
}

}  // namespace

Registers VgaScreen::Snapshot(uint64_t* version) {
  return lock_.Run([&] {
    *version = vga_.version();
    return vga_.registers();
  });
}

ui::ScreenKind VgaScreen::kind() {
  uint64_t version;
  return KindOf(Snapshot(&version), vga_.vram().size());
}

ui::Surface VgaScreen::Capture() {
  uint64_t version;
  const Registers r = Snapshot(&version);
  ui::Surface out;
  Render(r, vga_.vram().bytes(), &out);
  return out;
}

ui::Damage VgaScreen::Refresh(ui::Surface& surface) {
  uint64_t version;
  const Registers r = Snapshot(&version);
  const uint64_t token = TokenOf(r, version);
  if (token != 0 && surface.token == token) return {};
  surface.token = token;
  if (std::optional<ui::Damage> damage = RenderLinearChanges(r, vga_.vram().bytes(), &surface)) {
    return *std::move(damage);
  }
  ui::Surface fresh;
  Render(r, vga_.vram().bytes(), &fresh);
  fresh.token = token;
  return ui::UpdateSurface(surface, fresh);
}

std::optional<ui::TextScreen> VgaScreen::Text() {
  uint64_t version;
  return ReadText(Snapshot(&version), vga_.vram().bytes());
}

bool VgaScreen::OnNextChange(const ui::Surface& seen, std::function<void()> changed) {
  return lock_.Run([&] {
    if (changed == nullptr) {
      vga_.OnNextChange(nullptr);
      return true;
    }
    const uint64_t token = TokenOf(vga_.registers(), vga_.version());
    const bool knows = token != 0;
    // A change of the mode is told in every case.
    if (knows && token != seen.token) {
      changed();
    } else {
      vga_.OnNextChange(std::move(changed));
    }
    return knows;
  });
}

}  // namespace atl::vga
