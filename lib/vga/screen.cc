// SPDX-License-Identifier: Apache-2.0
#include "lib/vga/screen.h"

#include <utility>

#include "lib/vga/render.h"

namespace atl::vga {

Registers VgaScreen::Snapshot(uint64_t* version, uint64_t* now_ns) {
  return lock_.Run([&] {
    *version = vga_.version();
    *now_ns = vga_.clock().NowNs();
    return vga_.registers();
  });
}

ui::ScreenKind VgaScreen::kind() {
  uint64_t version, now;
  return KindOf(Snapshot(&version, &now), vga_.vram().size());
}

ui::Surface VgaScreen::Capture() {
  uint64_t version, now;
  const Registers r = Snapshot(&version, &now);
  ui::Surface out;
  // Nothing is blinked away in a picture.
  Render(r, vga_.vram().bytes(), {}, &out);
  return out;
}

ui::Damage VgaScreen::Refresh(ui::Surface& surface) {
  uint64_t version, now;
  const Registers r = Snapshot(&version, &now);
  const bool text = KindOf(r, vga_.vram().size()) == ui::ScreenKind::kText;
  const BlinkPhase phase = text ? PhaseAt(now) : BlinkPhase{};
  const uint64_t token =
      r.dispi_enabled() ? 0 : version << 2 | (phase.cursor ? 2 : 0) | (phase.characters ? 1 : 0);
  if (token != 0 && surface.token == token) return {};
  ui::Surface fresh;
  Render(r, vga_.vram().bytes(), phase, &fresh);
  ui::Damage damage = ui::UpdateSurface(surface, fresh);
  surface.token = token;
  return damage;
}

std::optional<ui::TextScreen> VgaScreen::Text() {
  uint64_t version, now;
  return ReadText(Snapshot(&version, &now), vga_.vram().bytes());
}

}  // namespace atl::vga
