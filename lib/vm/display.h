// SPDX-License-Identifier: Apache-2.0
// The display adapter of a machine: its memory, its chip, its VGA BIOS, and how
// viewers see it.
#ifndef LIB_VM_DISPLAY_H_
#define LIB_VM_DISPLAY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/posted_writes.h"
#include "lib/mem/guest_memory.h"
#include "lib/mem/page_tracker.h"
#include "lib/pci/device.h"
#include "lib/pci/wiring.h"
#include "lib/vga/screen.h"
#include "lib/vga/vga.h"
#include "lib/vga/vram.h"
#include "lib/vm/config.h"
#include "lib/vm/framebuffer.h"

namespace atl::vm {

class Display {
 public:
  static constexpr uint64_t kVramBytes = 16 << 20;

  // `bars` and `memory` outlive it, `lock` is the display's. The VGA BIOS is
  // vgabios-stdvga.bin beside the BIOS image, else of SeaBIOS's package, else
  // there is none.
  static absl::StatusOr<std::unique_ptr<Display>> Create(const MachineConfig& config,
                                                         GuestMemory& memory, pci::BarMapper& bars,
                                                         dev::DeviceLock& lock,
                                                         Framebuffer::AtStandstill at_standstill);

  // For the board to attach, and to map its regions (std_vga.h). Once.
  std::unique_ptr<pci::PciDevice> NewFunction(pci::PciWiring wiring);
  // By vga/text_mode.h, with the font of the VGA BIOS.
  bool SetTextMode();
  // Before the guest runs; outlives the display.
  void UsePosted(dev::PostedWrites* posted) { screen_.SetPosted(posted); }
  vga::VgaScreen& screen() { return screen_; }
  Framebuffer& framebuffer() { return framebuffer_; }

 private:
  Display(std::unique_ptr<vga::Vram> vram, std::vector<uint8_t> rom, GuestMemory& memory,
          pci::BarMapper& bars, dev::DeviceLock& lock, Framebuffer::AtStandstill at_standstill);

  std::unique_ptr<vga::Vram> vram_;
  std::vector<uint8_t> rom_;
  dev::DeviceLock& lock_;
  vga::Vga vga_;
  PageTracker tracker_;
  vga::VgaScreen screen_;
  Framebuffer framebuffer_;
};

}  // namespace atl::vm

#endif  // LIB_VM_DISPLAY_H_
