// SPDX-License-Identifier: Apache-2.0
// A VGA as viewers see it.
#ifndef LIB_VGA_SCREEN_H_
#define LIB_VGA_SCREEN_H_

#include <atomic>

#include "lib/dev/device_lock.h"
#include "lib/dev/posted_writes.h"
#include "lib/mem/page_tracker.h"
#include "lib/ui/screen.h"
#include "lib/vga/vga.h"

namespace atl::vga {

// A picture that depends on registers and the legacy window alone is left as it is
// while neither was touched. One in the linear memory, which the guest writes past
// us, is drawn anew where pages were written to, and compared; where the backend
// does not know which, all of it is, from time to time. Nobody looks: no work.
//
// Where the guest's writes to the chip may lie on the way for a while, they do as long
// as nobody looks, and as long as the picture keeps changing: then it is looked at from
// time to time. When it stands still the next write is to arrive at once, and tells.
class VgaScreen final : public ui::Screen {
 public:
  // All outlive the screen; `lock` is the chip's, `tracker` of the chip's memory or
  // null.
  VgaScreen(Vga& vga, dev::DeviceLock& lock, PageTracker* tracker = nullptr)
      : vga_(vga), lock_(lock), tracker_(tracker) {}

  // Before anybody looks; outlives the last look.
  void SetPosted(dev::PostedWrites* posted) { posted_ = posted; }

  ui::ScreenKind kind() override;
  ui::Surface Capture() override;
  ui::Damage Refresh(ui::Surface& surface) override;
  std::optional<ui::TextScreen> Text() override;
  bool OnNextChange(const ui::Surface& seen, std::function<void()> changed) override;

 private:
  // Looks without a change after which a picture stands still.
  static constexpr unsigned kStill = 8;

  ui::Damage Update(ui::Surface& surface);
  bool TellNextChange(const ui::Surface& seen, std::function<void()> changed);
  Registers Snapshot(uint64_t* version);
  // It is told where the guest draws in this mode.
  bool Told(const Registers& r) const;
  uint64_t TokenOf(const Registers& r, uint64_t version) const;

  Vga& vga_;
  dev::DeviceLock& lock_;
  PageTracker* const tracker_;
  dev::PostedWrites* posted_ = nullptr;
  std::atomic<unsigned> still_{0};  // looks without a change
};

}  // namespace atl::vga

#endif  // LIB_VGA_SCREEN_H_
