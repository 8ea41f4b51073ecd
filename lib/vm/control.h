// SPDX-License-Identifier: Apache-2.0
// What somebody outside can ask of a running machine: the monitors' side of it.
//
// Thread rule: every call on the loop thread; none blocks longer than it takes
// the vCPUs to stand still.
#ifndef LIB_VM_CONTROL_H_
#define LIB_VM_CONTROL_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/cpu/regs.h"
#include "lib/ui/screen.h"
#include "lib/vm/config.h"
#include "lib/vm/machine_stats.h"
#include "lib/vm/media.h"

namespace atl::vm {

enum class RunState : uint8_t {
  kPrelaunch,      // made and not started yet (-S)
  kRunning,        //
  kPaused,         // by somebody outside
  kShutdown,       // the guest is off, the process is kept (-no-shutdown)
  kPanicked,       // the guest crashed, the process is kept
  kInternalError,  // the backend cannot go on
};

struct DriveState {
  std::string device;  // "ide0-hd0", "virtio0"
  std::string file;
  std::string format;
  uint64_t size = 0;  // bytes
  bool read_only = false;
  // Since the start. Bytes and requests that the device asked for.
  uint64_t read_bytes = 0, read_requests = 0;
  uint64_t written_bytes = 0, write_requests = 0;
  uint64_t flush_requests = 0;
  uint64_t failed_reads = 0, failed_writes = 0;
};

struct VcpuState {
  cpu::Regs regs;
  cpu::SystemRegs system;
};

// A run of linear addresses with the same access.
struct MappedRange {
  uint64_t begin = 0;
  uint64_t size = 0;  // bytes
  bool user = false;
  bool writable = false;
};

class MachineControl {
 public:
  virtual ~MachineControl() = default;

  virtual const MachineConfig& config() const = 0;
  virtual absl::string_view backend() const = 0;  // "kvm", "soft"
  virtual RunState state() const = 0;

  // Both are nothing where it is so already. FailedPrecondition where the guest
  // has to be reset before it can run.
  virtual absl::Status Stop() = 0;
  virtual absl::Status Cont() = 0;
  // The reset button; the machine is reset when this has returned, or ends where
  // it is not to reboot.
  virtual void ResetFromOutside() = 0;
  virtual void PressPowerButton() = 0;
  virtual void PressSleepButton() = 0;
  virtual void InjectNmi() = 0;
  // `reason`: QMP's word for it, "host-qmp-quit".
  virtual void Quit(absl::string_view reason) = 0;

  // Threads of the vCPUs, by index; 0 where one has not begun.
  virtual std::vector<int> vcpu_threads() const = 0;
  virtual absl::StatusOr<VcpuState> ReadVcpu(unsigned index) = 0;
  // Guest memory as devices see it; OutOfRange names the address.
  virtual absl::Status ReadPhysical(uint64_t address, std::span<uint8_t> to) = 0;
  // By the page tables of vCPU `index`.
  virtual absl::Status ReadVirtual(unsigned index, uint64_t address, std::span<uint8_t> to) = 0;

  // The linear addresses that its page tables map, from the bottom; the first
  // some thousand ranges. None without paging.
  virtual absl::StatusOr<std::vector<MappedRange>> ReadMappings(unsigned index) = 0;

  // How much of its memory the guest has, and is to have: it gives back what it
  // can, by a balloon. FailedPrecondition where it has none.
  virtual absl::StatusOr<uint64_t> balloon() { return NoBalloon(); }
  virtual absl::Status SetBalloon(uint64_t /*bytes*/) { return NoBalloon(); }
  static absl::Status NoBalloon() {
    return absl::FailedPreconditionError("No balloon device has been activated");
  }

  // The networks, for people to read.
  virtual std::string DescribeNetworks() const { return ""; }
  // See Networks::TellUser(). Waits for the network's process, two seconds at most.
  virtual absl::StatusOr<std::string> TellUserNetwork(absl::string_view /*id*/,
                                                      absl::string_view /*command*/) {
    return absl::NotFoundError("there is no user-mode network");
  }

  // The disks that cannot be taken out.
  virtual std::vector<DriveState> drives() = 0;
  // Those whose medium can; null where the machine has none.
  virtual Media* media() = 0;

  // See board.h; any thread, while the machine lives.
  virtual ui::Screen* screen() = 0;
  virtual ui::Input& input() = 0;

  // Counters in the binary stats format, the VM's first: ours, and the kernel's.
  virtual std::vector<StatsFd> stats_fds() const { return {}; }
};

}  // namespace atl::vm

#endif  // LIB_VM_CONTROL_H_
