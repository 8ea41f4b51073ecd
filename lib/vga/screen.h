// SPDX-License-Identifier: Apache-2.0
// A VGA as viewers see it.
#ifndef LIB_VGA_SCREEN_H_
#define LIB_VGA_SCREEN_H_

#include "lib/dev/device_lock.h"
#include "lib/mem/page_tracker.h"
#include "lib/ui/screen.h"
#include "lib/vga/vga.h"

namespace atl::vga {

// A picture that depends on registers and the legacy window alone is left as it is
// while neither was touched. One in the linear memory, which the guest writes past
// us, is drawn anew where pages were written to, and compared; where the backend
// does not know which, all of it is, from time to time. Nobody looks: no work.
class VgaScreen final : public ui::Screen {
 public:
  // All outlive the screen; `lock` is the chip's, `tracker` of the chip's memory or
  // null.
  VgaScreen(Vga& vga, dev::DeviceLock& lock, PageTracker* tracker = nullptr)
      : vga_(vga), lock_(lock), tracker_(tracker) {}

  ui::ScreenKind kind() override;
  ui::Surface Capture() override;
  ui::Damage Refresh(ui::Surface& surface) override;
  std::optional<ui::TextScreen> Text() override;
  bool OnNextChange(const ui::Surface& seen, std::function<void()> changed) override;

 private:
  Registers Snapshot(uint64_t* version);
  // It is told where the guest draws in this mode.
  bool Told(const Registers& r) const;
  uint64_t TokenOf(const Registers& r, uint64_t version) const;

  Vga& vga_;
  dev::DeviceLock& lock_;
  PageTracker* const tracker_;
};

}  // namespace atl::vga

#endif  // LIB_VGA_SCREEN_H_
