// SPDX-License-Identifier: Apache-2.0
// The board: an i440FX/PIIX PC. All devices, the bus that leads to them, who
// interrupts whom. The wiring is in board.cc, to be read from top to bottom.
#ifndef LIB_VM_BOARD_H_
#define LIB_VM_BOARD_H_

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/dev/bus.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/fw_cfg.h"
#include "lib/dev/irq_chips.h"
#include "lib/dev/posted_writes.h"
#include "lib/dev/system_control.h"
#include "lib/dev/vmmouse.h"
#include "lib/host/event_loop.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/pvpanic.h"
#include "lib/ui/screen.h"
#include "lib/vm/bells.h"
#include "lib/vm/clock.h"
#include "lib/vm/config.h"
#include "lib/vm/console.h"
#include "lib/vm/control.h"
#include "lib/vm/media.h"
#include "lib/vm/networks.h"

namespace atl::vm {

struct BoardContext {
  const MachineConfig* config = nullptr;
  GuestMemory* memory = nullptr;
  host::EventLoop* loop = nullptr;
  MachineClock* clock = nullptr;
  dev::SystemControl* control = nullptr;
  // The VM has the 8259s, the IOAPIC and the 8254 itself (IrqChips::UseChips()).
  bool kernel_chips = false;
  // Runs work on the loop thread while all vCPUs stand still, before the
  // calling vCPU's next instruction.
  std::function<void(std::function<void()>)> at_standstill;
  // Somebody at the terminal asked for the end (Ctrl-A x).
  std::function<void()> quit;
  // The guest's kernel said that it has panicked. On any thread.
  std::function<void(pci::PanicEvent)> on_panic;
  // A device's request to a disk failed. On any thread.
  std::function<void(absl::string_view device, bool write, absl::string_view error)> on_disk_error;
  // Whether virtio disks may use io_uring (lib/work/ring.h).
  bool rings = false;
  // The VM's, when it is there; outlives the board.
  const VmEventFds* event_fds = nullptr;
  // The hubs, open to the outside; outlives the board's devices.
  Networks* networks = nullptr;
};

class Board {
 public:
  static constexpr bool kHasHpet = true;

  // Opens disks and consoles. The context's pointees outlive the board.
  static absl::StatusOr<std::unique_ptr<Board>> Create(const BoardContext& context);
  virtual ~Board() = default;

  virtual dev::Bus& bus() = 0;
  virtual dev::IrqChips& irqs() = 0;
  virtual dev::FwCfg& fw_cfg() = 0;
  // VMware's mouse, for the vCPUs' buses, and its lock.
  struct Mouse {
    dev::VmMouse* device = nullptr;
    dev::DeviceLock* lock = nullptr;
  };
  virtual Mouse vmmouse() = 0;

  // How the guest's writes come, where some may be late. Before it runs; outlives the
  // board.
  virtual void UsePosted(dev::PostedWrites* posted) = 0;

  // What the guest shows; null with -vga none. Any thread, as long as the board
  // lives.
  virtual ui::Screen* screen() = 0;
  // The keyboard and the mouse.
  virtual ui::Input& input() = 0;

  // The serial port whose terminal a monitor shares; null where none is to.
  virtual MuxedConsole* muxed_console() { return nullptr; }

  // The BIOS image whose last 128 KiB show below 1 MiB while they are not
  // shadowed. The bytes outlive the board. Before the first Reset().
  virtual void SetBios(std::span<uint8_t> image) = 0;

  // Starts watching consoles; on the loop thread, before the guest runs.
  virtual absl::Status Start() = 0;
  // All devices to their power-on state; all vCPUs stand still.
  virtual void Reset() = 0;
  // What firmware would have done: BARs, interrupt routes. After Reset(), for
  // guests that start without firmware.
  virtual absl::Status AssignResources() = 0;
  // What a VGA BIOS would have done: the screen in text mode 3. False where there
  // is no VGA or no font for it.
  virtual bool SetTextMode() = 0;

  // As MachineControl's of the same names.
  virtual absl::StatusOr<uint64_t> balloon() = 0;
  virtual absl::Status SetBalloon(uint64_t bytes) = 0;
  virtual void PressPowerButton() = 0;
  virtual void PressSleepButton() = 0;
  virtual std::vector<DriveState> drives() = 0;
  // The drives whose medium can be changed.
  virtual Media& media() = 0;

  // Where firmware finds the drives of a letter of -boot, in its words.
  virtual std::vector<std::string> BootDevices(char letter) = 0;

  // Finishes disk requests under way and flushes the images. After the vCPUs
  // have stopped for good.
  virtual absl::Status Close() = 0;
};

}  // namespace atl::vm

#endif  // LIB_VM_BOARD_H_
