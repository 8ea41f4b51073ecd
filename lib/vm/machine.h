// SPDX-License-Identifier: Apache-2.0
// A running virtual machine: memory, backend, vCPUs, the board with its
// devices, and what happens to them as a whole: start, reset, end.
//
// Threads: the loop thread (timers, consoles, everything that concerns the
// machine as a whole), one thread a vCPU, workers for disks. Requests from
// devices come on any thread and are carried out on the loop thread while all
// vCPUs stand still.
#ifndef LIB_VM_MACHINE_H_
#define LIB_VM_MACHINE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/mutex.h"
#include "lib/cpu/backend.h"
#include "lib/dev/system_control.h"
#include "lib/host/event_loop.h"
#include "lib/mem/guest_memory.h"
#include "lib/ui/screen.h"
#include "lib/vm/accel.h"
#include "lib/vm/board.h"
#include "lib/vm/clock.h"
#include "lib/vm/config.h"
#include "lib/vm/control.h"
#include "lib/vm/firmware.h"
#include "lib/vm/machine_event.h"
#include "lib/vm/machine_stats.h"
#include "lib/vm/networks.h"
#include "lib/vm/posted.h"
#include "lib/vm/vcpu_bus.h"
#include "lib/vm/vcpu_threads.h"

namespace atl::vm {

// How a machine ended.
enum class EndKind : uint8_t {
  kPowerOff,   // the guest switched itself off
  kReset,      // the guest reset itself, with no_reboot
  kCrash,      // triple fault, with no_reboot
  kDebugExit,  // isa-debug-exit; `status` is the process' exit status
  kQuit,       // somebody outside asked: a signal, Ctrl-A x
  kTimeout,
  kError,  // the backend or the machine cannot go on
};

struct End {
  EndKind kind = EndKind::kQuit;
  int status = 0;
  std::string detail;  // for people; may be empty
  // QMP's word for it where `kind` does not say it: "host-qmp-quit".
  absl::string_view reason = "";
};

class Machine final : public dev::SystemControl, public MachineControl {
 public:
  // Opens all that `config` names and loads the guest; nothing runs yet. On an
  // error nothing was written anywhere.
  static absl::StatusOr<std::unique_ptr<Machine>> Create(
      const MachineConfig& config, const Selection& selection, host::EventLoop& loop,
      std::function<void(const MachineEvent&)> on_event);
  ~Machine() override;

  // Runs the guest, and the loop, until the end. Once. The process' further
  // threads are made from here on.
  End Run();

  // From any thread: end soon.
  void RequestEnd(End end);

  uint64_t instructions() const;  // retired by all vCPUs, where counted

  // MachineControl.
  const MachineConfig& config() const override { return config_; }
  absl::string_view backend() const override { return backend_; }
  RunState state() const override { return state_; }
  absl::Status Stop() override;
  absl::Status Cont() override;
  void ResetFromOutside() override;
  void PressPowerButton() override;
  void PressSleepButton() override { board_->PressSleepButton(); }
  void InjectNmi() override;
  void Quit(absl::string_view reason) override;
  std::vector<int> vcpu_threads() const override;
  absl::StatusOr<VcpuState> ReadVcpu(unsigned index) override;
  absl::Status ReadPhysical(uint64_t address, std::span<uint8_t> to) override;
  absl::Status ReadVirtual(unsigned index, uint64_t address, std::span<uint8_t> to) override;
  absl::StatusOr<std::vector<MappedRange>> ReadMappings(unsigned index) override;
  absl::StatusOr<uint64_t> balloon() override { return board_->balloon(); }
  absl::Status SetBalloon(uint64_t bytes) override { return board_->SetBalloon(bytes); }
  std::string DescribeNetworks() const override { return networks_->Describe(); }
  absl::StatusOr<std::string> TellUserNetwork(absl::string_view id,
                                              absl::string_view command) override {
    return networks_->TellUser(id, command);
  }
  std::vector<DriveState> drives() override { return board_->drives(); }
  Media* media() override { return &board_->media(); }
  MuxedConsole* muxed_console() { return board_->muxed_console(); }  // see board.h
  ui::Screen* screen() override { return board_->screen(); }
  ui::Input& input() override { return board_->input(); }
  std::vector<StatsFd> stats_fds() const override;

  // dev::SystemControl, from devices.
  void RequestReset() override;
  void RequestPowerOff() override;
  void RequestExit(int status) override;
  void SetA20(bool enabled) override;

 private:
  Machine(const MachineConfig& config, absl::string_view backend, host::EventLoop& loop,
          std::function<void(const MachineEvent&)> on_event);

  // Runs `work` on the loop thread while all vCPUs stand still. From any thread;
  // a vCPU's own next instruction comes after it.
  void AtStandstill(std::function<void()> work);
  void DoWork();
  bool ResumeGuest();
  absl::Status LoadGuest();
  void ResetAndReload(absl::string_view reason);
  // The guest is gone: the end, or a machine that stands still (-no-shutdown).
  void GuestGone(RunState state, End end);
  // Tells on_event_, on the loop thread; from any thread.
  void Emit(MachineEvent event);
  void StandStill(RunState state);
  void OnVcpuEnd(unsigned vcpu, const cpu::Exit& exit);

  const MachineConfig config_;
  const std::string backend_;
  host::EventLoop& loop_;
  const std::function<void(const MachineEvent&)> on_event_;
  MachineClock clock_;
  std::unique_ptr<GuestMemory> memory_;
  std::unique_ptr<MachineStats> stats_;
  std::unique_ptr<cpu::Vm> vm_;
  VmEventFds event_fds_;
  std::unique_ptr<Firmware> firmware_;
  std::unique_ptr<Networks> networks_;
  std::unique_ptr<PostedPath> posted_;  // where the VM posts
  std::unique_ptr<Board> board_;
  std::vector<std::unique_ptr<MachineVcpuBus>> buses_;
  std::vector<std::unique_ptr<cpu::Vcpu>> vcpus_;
  std::vector<std::unique_ptr<MachineVcpuSignals>> signals_;
  std::unique_ptr<VmLapics> lapics_;  // where the VM has them
  std::unique_ptr<VmChips> chips_;    // the same
  std::unique_ptr<VcpuThreads> threads_;
  std::atomic<uint64_t> last_disk_error_{0};  // when an event told of one, host nanoseconds
  RunState state_ = RunState::kPrelaunch;     // the loop thread's
  // Time-stamp counters as they stood when the clock was stopped.
  std::vector<uint64_t> stopped_tsc_;

  Mutex work_mu_;
  std::vector<std::function<void()>> work_ ABSL_GUARDED_BY(work_mu_);
  Mutex end_mu_;
  std::optional<End> end_ ABSL_GUARDED_BY(end_mu_);  // the first reason counts
};

}  // namespace atl::vm

#endif  // LIB_VM_MACHINE_H_
