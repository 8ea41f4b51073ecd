// SPDX-License-Identifier: Apache-2.0
// A VGA as viewers see it.
#ifndef LIB_VGA_SCREEN_H_
#define LIB_VGA_SCREEN_H_

#include "lib/dev/device_lock.h"
#include "lib/ui/screen.h"
#include "lib/vga/vga.h"

namespace atl::vga {

// What changed is found by looking: a picture that depends on registers and the
// legacy window alone is left as it is while neither was touched; one in the
// linear memory, which the guest writes past us, is drawn anew and compared.
// That holds for every backend. Nobody looks: no work.
class VgaScreen final : public ui::Screen {
 public:
  // Both outlive the screen; `lock` is the chip's.
  VgaScreen(Vga& vga, dev::DeviceLock& lock) : vga_(vga), lock_(lock) {}

  ui::ScreenKind kind() override;
  ui::Surface Capture() override;
  ui::Damage Refresh(ui::Surface& surface) override;
  std::optional<ui::TextScreen> Text() override;
  bool OnNextChange(const ui::Surface& seen, std::function<void()> changed) override;

 private:
  Registers Snapshot(uint64_t* version);

  Vga& vga_;
  dev::DeviceLock& lock_;
};

}  // namespace atl::vga

#endif  // LIB_VGA_SCREEN_H_
