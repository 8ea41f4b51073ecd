// SPDX-License-Identifier: Apache-2.0
#include "lib/vga/screen.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "lib/vga/render.h"

namespace atl::vga {

bool VgaScreen::Told(const Registers& r) const {
  return tracker_ != nullptr && tracker_->knows() && RowsAreBytes(r, vga_.vram().size());
}

// A surface's mark of what the chip itself did; 0 where the guest draws past it
// unseen.
uint64_t VgaScreen::TokenOf(const Registers& r, uint64_t version) const {
  return r.dispi_enabled() && !Told(r) ? 0 : version << 1 | 1;
}

Registers VgaScreen::Snapshot(uint64_t* version) {
  if (posted_ != nullptr) posted_->Deliver();
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
  ui::Damage damage = Update(surface);
  still_.store(damage.empty() ? std::min(still_.load() + 1, kStill) : 0);
  return damage;
}

ui::Damage VgaScreen::Update(ui::Surface& surface) {
  uint64_t version;
  const Registers r = Snapshot(&version);
  const uint64_t token = TokenOf(r, version);
  const bool same = token != 0 && surface.token == token;
  std::vector<bool> written;
  uint64_t look = 0;
  if (Told(r)) {
    look = tracker_->Look(surface.look, &written);
  } else if (same) {
    return {};
  }
  const bool known = same && surface.look != 0;
  surface.token = token;
  surface.look = look;
  if (std::optional<ui::Damage> damage =
          RenderLinearChanges(r, vga_.vram().bytes(), known ? &written : nullptr, &surface)) {
    return *std::move(damage);
  }
  ui::Surface fresh;
  Render(r, vga_.vram().bytes(), &fresh);
  fresh.token = token;
  fresh.look = look;
  return ui::UpdateSurface(surface, fresh);
}

std::optional<ui::TextScreen> VgaScreen::Text() {
  uint64_t version;
  return ReadText(Snapshot(&version), vga_.vram().bytes());
}

bool VgaScreen::OnNextChange(const ui::Surface& seen, std::function<void()> changed) {
  const bool wait = changed == nullptr || still_.load() < kStill;
  if (posted_ != nullptr) {
    posted_->MayWait(wait);
    posted_->Deliver();
  }
  const bool told = TellNextChange(seen, std::move(changed));
  return told && (posted_ == nullptr || !wait);
}

bool VgaScreen::TellNextChange(const ui::Surface& seen, std::function<void()> changed) {
  return lock_.Run([&] {
    if (changed == nullptr) {
      vga_.OnNextChange(nullptr);
      if (tracker_ != nullptr) tracker_->OnNextMark(nullptr);
      return true;
    }
    const uint64_t token = TokenOf(vga_.registers(), vga_.version());
    if (token != 0 && token != seen.token) {
      changed();
      return true;
    }
    // A change of the mode is told in every case.
    if (!Told(vga_.registers())) {
      vga_.OnNextChange(std::move(changed));
      if (tracker_ != nullptr) tracker_->OnNextMark(nullptr);
      return token != 0;
    }
    // Whoever of the two is the first.
    const auto once = [changed = std::move(changed), said = std::make_shared<std::atomic<bool>>()] {
      if (!said->exchange(true)) changed();
    };
    vga_.OnNextChange(once);
    return tracker_->OnNextMark(once);
  });
}

}  // namespace atl::vga
