// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/machine.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/vm/translate.h"

namespace atl::vm {
namespace {

constexpr absl::string_view kGuestReset = "guest-reset";
// The backend whose counters and interrupt controllers are the kernel's, and that may
// have eventfds.
constexpr absl::string_view kKvm = "kvm";
// Between two events that tell of a disk's error: a guest can cause many.
constexpr uint64_t kDiskErrorPauseNs = 100'000'000;
constexpr uint32_t kTscMsr = 0x10;
// Counts that may pass between two looks at a counter that stands still.
constexpr uint64_t kTscSlack = 1'000'000;

// The words of QMP's ShutdownCause.
absl::string_view ShutdownReason(const End& end) {
  if (!end.reason.empty()) return end.reason;
  switch (end.kind) {
    case EndKind::kPowerOff:
    case EndKind::kDebugExit:
      return "guest-shutdown";
    case EndKind::kReset:
      return kGuestReset;
    case EndKind::kCrash:
      return "guest-panic";
    case EndKind::kQuit:
      return end.status > 128 ? "host-signal" : "host-ui";
    case EndKind::kTimeout:
      return "host-signal";
    case EndKind::kError:
      break;
  }
  return "host-error";
}

}  // namespace

Machine::Machine(const MachineConfig& config, absl::string_view backend, host::EventLoop& loop,
                 std::function<void(const MachineEvent&)> on_event)
    : config_(config),
      backend_(backend),
      loop_(loop),
      on_event_(std::move(on_event)),
      clock_(loop, config.rtc_local_time) {}

absl::StatusOr<std::unique_ptr<Machine>> Machine::Create(
    const MachineConfig& config, const Selection& selection, host::EventLoop& loop,
    std::function<void(const MachineEvent&)> on_event) {
  std::unique_ptr<Machine> m(
      new Machine(config, selection.backend->name, loop, std::move(on_event)));

  // 1. What leads outside, before there is memory that a child process would share;
  // then memory and the files: whatever is missing is found before anything runs.
  Machine* const machine = m.get();
  ASSIGN_OR_RETURN(m->networks_,
                   Networks::Open(m->config_, loop, [machine](absl::string_view warning) {
                     machine->Emit({.name = "warning", .detail = std::string(warning)});
                   }));
  ASSIGN_OR_RETURN(m->memory_, GuestMemory::Create(config.ram_bytes));
  ASSIGN_OR_RETURN(m->firmware_, Firmware::Create(m->config_, *m->memory_));

  // 2. The board.
  BoardContext context;
  context.config = &m->config_;
  context.memory = m->memory_.get();
  context.loop = &loop;
  context.clock = &m->clock_;
  context.control = machine;
  context.networks = m->networks_.get();
  context.kernel_chips = config.kernel_chips && selection.backend->name == kKvm;
  context.event_fds = &m->event_fds_;
  context.rings = selection.backend->name == kKvm;
  context.at_standstill = [machine](std::function<void()> work) {
    machine->AtStandstill(std::move(work));
  };
  context.quit = [machine] {
    machine->RequestEnd({EndKind::kQuit, 0, "asked for at the console"});
  };
  context.on_panic = [machine](pci::PanicEvent event) {
    if (event == pci::PanicEvent::kCrashLoaded) return machine->Emit({.name = "crash-loaded"});
    machine->Emit({.name = "panic", .detail = "the guest's kernel panicked", .guest = true});
    machine->GuestGone(RunState::kPanicked, {EndKind::kCrash, 0, "the guest's kernel panicked"});
  };
  context.on_disk_error = [machine](absl::string_view device, bool write, absl::string_view error) {
    const auto now =
        static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    uint64_t last = machine->last_disk_error_.load(std::memory_order_relaxed);
    if (now - last < kDiskErrorPauseNs ||
        !machine->last_disk_error_.compare_exchange_strong(last, now))
      return;
    machine->Emit({.name = "io-error",
                   .detail = std::string(error),
                   .device = std::string(device),
                   .flag = write});
  };
  ASSIGN_OR_RETURN(m->board_, Board::Create(context));
  m->board_->media().SetTrayHandler([machine](absl::string_view device, bool open) {
    machine->Emit({.name = "tray", .device = std::string(device), .flag = open});
  });
  RETURN_IF_ERROR(m->firmware_->Attach(*m->board_));

  // 3. vCPUs, each with its view of the bus and its LAPIC's lines.
  BusDevices devices(m->board_->bus());
  ASSIGN_OR_RETURN(m->stats_, MachineStats::Create(config.vcpus, devices.names,
                                                   selection.backend->name != kKvm));
  ASSIGN_OR_RETURN(m->vm_, selection.backend->create_vm(selection.options, *m->memory_));
  m->posted_ = std::make_unique<PostedPath>(*m->vm_, m->board_->bus());
  if (m->posted_->used()) m->board_->UsePosted(m->posted_.get());
  m->vm_->SetCounters(&m->stats_->vm());
  m->event_fds_.Use(m->vm_->eventfds());
  if (m->vm_->has_lapics()) {
    m->lapics_ = std::make_unique<VmLapics>(*m->vm_);
    m->board_->irqs().UseLapics(m->lapics_.get());
  }
  if (cpu::InterruptChips* chips = m->vm_->chips()) {
    m->chips_ = std::make_unique<VmChips>(*chips);
    m->board_->irqs().UseChips(m->chips_.get());
  }
  for (unsigned i = 0; i < config.vcpus; ++i) {
    m->buses_.push_back(std::make_unique<MachineVcpuBus>(i, m->board_->bus(), m->board_->irqs(),
                                                         m->clock_, m->stats_->vcpu(i), devices));
    cpu::VcpuConfig vcpu;
    vcpu.index = i;
    vcpu.count = config.vcpus;
    vcpu.bus = m->buses_.back().get();
    vcpu.counters = &m->stats_->vcpu(i).counters();
    ASSIGN_OR_RETURN(std::unique_ptr<cpu::Vcpu> created, m->vm_->CreateVcpu(vcpu));
    const Board::Mouse mouse = m->board_->vmmouse();
    m->buses_.back()->ConnectMouse(mouse.device, mouse.lock, created.get());
    m->signals_.push_back(std::make_unique<MachineVcpuSignals>(*created));
    m->board_->irqs().ConnectVcpu(i, m->signals_.back().get());
    m->vcpus_.push_back(std::move(created));
  }

  // 4. Everything as after power-on, and the guest in memory.
  RETURN_IF_ERROR(m->LoadGuest());
  return m;
}

Machine::~Machine() {
  threads_.reset();
  if (board_ != nullptr) {
    for (unsigned i = 0; i < signals_.size(); ++i) board_->irqs().ConnectVcpu(i, nullptr);
    board_->irqs().UseChips(nullptr);
    board_->irqs().UseLapics(nullptr);
  }
  vcpus_.clear();
}

absl::Status Machine::LoadGuest() {
  board_->Reset();
  for (const std::unique_ptr<cpu::Vcpu>& v : vcpus_) v->Reset();
  return firmware_->Load(*board_, *vcpus_[0]);
}

End Machine::Run() {
  std::vector<cpu::Vcpu*> vcpus;
  for (const std::unique_ptr<cpu::Vcpu>& v : vcpus_) vcpus.push_back(v.get());
  threads_ = std::make_unique<VcpuThreads>(
      std::move(vcpus), [this](unsigned vcpu, const cpu::Exit& exit) { OnVcpuEnd(vcpu, exit); },
      stats_.get());
  stats_->Calibrate();
  absl::Status started = board_->Start();
  if (!started.ok()) return {EndKind::kError, 0, std::string(started.message())};
  Emit({.name = "start"});
  if (!config_.start_paused) {
    state_ = RunState::kRunning;
    threads_->Resume();
  } else {
    clock_.Stop();
  }
  loop_.Run();
  threads_->Pause();
  absl::Status closed = board_->Close();
  End end;
  {
    MutexLock lock(&end_mu_);
    if (end_) end = *end_;
  }
  // What could not be written is worse news than how the guest ended.
  if (!closed.ok()) end = {EndKind::kError, 0, std::string(closed.message())};
  on_event_({.name = "end", .detail = end.detail});
  return end;
}

void Machine::RequestEnd(End end) {
  {
    MutexLock lock(&end_mu_);
    if (end_) return;
    end_ = end;
  }
  Emit({.name = "shutdown",
        .detail = end.detail,
        .reason = ShutdownReason(end),
        .guest = end.kind == EndKind::kPowerOff || end.kind == EndKind::kReset ||
                 end.kind == EndKind::kCrash || end.kind == EndKind::kDebugExit});
  if (threads_ != nullptr) threads_->PauseSoon();
  loop_.Quit();
}

void Machine::AtStandstill(std::function<void()> work) {
  {
    MutexLock lock(&work_mu_);
    work_.push_back(std::move(work));
  }
  if (threads_ != nullptr) threads_->PauseSoon();
  loop_.Post([this] { DoWork(); });
}

// One access of the guest can ask for several changes: it goes on when all are
// made, not after the first.
void Machine::DoWork() {
  for (;;) {
    std::vector<std::function<void()>> work;
    {
      MutexLock lock(&work_mu_);
      work.swap(work_);
    }
    if (work.empty()) return;
    threads_->Pause();
    for (const std::function<void()>& w : work) w();
    if (ResumeGuest()) return;
  }
}

// False, and the guest stands, where something is still to be done at standstill.
bool Machine::ResumeGuest() {
  MutexLock lock(&work_mu_);
  if (!work_.empty()) return false;
  MutexLock end_lock(&end_mu_);
  if (!end_ && state_ == RunState::kRunning) threads_->Resume();
  return true;
}

void Machine::ResetAndReload(absl::string_view reason) {
  Emit({.name = "reset", .reason = reason, .guest = reason == kGuestReset});
  absl::Status status = LoadGuest();
  if (!status.ok()) RequestEnd({EndKind::kError, 0, std::string(status.message())});
  // What was gone can run again, when it is told to.
  if (state_ != RunState::kRunning && state_ != RunState::kPrelaunch) state_ = RunState::kPaused;
}

void Machine::RequestReset() {
  if (config_.no_reboot) {
    GuestGone(RunState::kShutdown, {EndKind::kReset, 0, "the guest asked for a reset"});
    return;
  }
  AtStandstill([this] { ResetAndReload(kGuestReset); });
}

void Machine::RequestPowerOff() {
  GuestGone(RunState::kShutdown, {EndKind::kPowerOff, 0, "the guest shut down"});
}

void Machine::GuestGone(RunState state, End end) {
  if (!config_.no_shutdown) return RequestEnd(std::move(end));
  AtStandstill([this, state, end = std::move(end)] {
    Emit({.name = "shutdown", .detail = end.detail, .reason = ShutdownReason(end), .guest = true});
    StandStill(state);
  });
}

void Machine::RequestExit(int status) {
  RequestEnd({EndKind::kDebugExit, status, absl::StrCat("isa-debug-exit with status ", status)});
}

void Machine::SetA20(bool enabled) {
  if (vm_ != nullptr) vm_->SetA20(enabled);
}

void Machine::OnVcpuEnd(unsigned vcpu, const cpu::Exit& exit) {
  const std::string detail = absl::StrCat("vCPU ", vcpu, ": ", exit.detail);
  if (exit.reason == cpu::ExitReason::kError) {
    RequestEnd({EndKind::kError, 0, detail});
  } else if (config_.no_reboot) {
    Emit({.name = "crash", .detail = detail, .guest = true});
    GuestGone(RunState::kPanicked,
              {EndKind::kCrash, 0, absl::StrCat("the guest crashed: ", detail)});
  } else {
    Emit({.name = "crash", .detail = detail, .guest = true});
    AtStandstill([this] { ResetAndReload(kGuestReset); });
  }
}

void Machine::Emit(MachineEvent event) {
  if (loop_.InLoop()) return on_event_(event);
  loop_.Post([this, event = std::move(event)] { on_event_(event); });
}

// What somebody outside asks for.

void Machine::StandStill(RunState state) {
  const bool ran = state_ == RunState::kRunning;
  state_ = state;
  if (!ran) return;
  threads_->Pause();
  clock_.Stop();
  stopped_tsc_.clear();
  for (const std::unique_ptr<cpu::Vcpu>& v : vcpus_) {
    stopped_tsc_.push_back(v->GetMsr(kTscMsr).value_or(0));
  }
  Emit({.name = "stop"});
}

absl::Status Machine::Stop() {
  if (state_ == RunState::kRunning) StandStill(RunState::kPaused);
  return absl::OkStatus();
}

absl::Status Machine::Cont() {
  switch (state_) {
    case RunState::kRunning:
      return absl::OkStatus();
    case RunState::kPrelaunch:
    case RunState::kPaused:
      break;
    case RunState::kShutdown:
    case RunState::kPanicked:
    case RunState::kInternalError:
      return absl::FailedPreconditionError("Resetting the Virtual Machine is required");
  }
  clock_.Continue();
  // A counter that went on with the host's goes back to where the guest left
  // it, as the clock did; one that is made from the clock stands there already.
  for (size_t i = 0; i < stopped_tsc_.size(); ++i) {
    const uint64_t now = vcpus_[i]->GetMsr(kTscMsr).value_or(0);
    if (now - stopped_tsc_[i] > kTscSlack) {
      absl::Status set = vcpus_[i]->SetMsr(kTscMsr, stopped_tsc_[i]);
      if (!set.ok()) return set;
    }
  }
  stopped_tsc_.clear();
  state_ = RunState::kRunning;
  Emit({.name = "resume"});
  ResumeGuest();
  return absl::OkStatus();
}

void Machine::ResetFromOutside() {
  static constexpr absl::string_view kReason = "host-qmp-system-reset";
  if (config_.no_reboot) {
    RequestEnd({EndKind::kReset, 0, "reset from outside", kReason});
    return;
  }
  AtStandstill([this] { ResetAndReload(kReason); });
  DoWork();
}

void Machine::PressPowerButton() {
  Emit({.name = "powerdown"});
  board_->PressPowerButton();
}

void Machine::InjectNmi() { board_->irqs().PulseNmi(); }

void Machine::Quit(absl::string_view reason) {
  RequestEnd({EndKind::kQuit, 0, "asked for by a monitor", reason});
}

std::vector<StatsFd> Machine::stats_fds() const {
  std::vector<StatsFd> out = stats_->fds();
  if (vm_->stats_fd() >= 0) out.insert(out.begin(), {-1, vm_->stats_fd()});
  for (size_t i = 0; i < vcpus_.size(); ++i) {
    if (vcpus_[i]->stats_fd() >= 0) out.push_back({static_cast<int>(i), vcpus_[i]->stats_fd()});
  }
  return out;
}

std::vector<int> Machine::vcpu_threads() const { return threads_->thread_ids(); }

absl::StatusOr<VcpuState> Machine::ReadVcpu(unsigned index) {
  if (index >= vcpus_.size()) {
    return absl::NotFoundError(absl::StrCat("there is no CPU ", index));
  }
  threads_->Pause();
  absl::StatusOr<cpu::Regs> regs = vcpus_[index]->GetRegs();
  absl::StatusOr<cpu::SystemRegs> system = vcpus_[index]->GetSystemRegs();
  ResumeGuest();
  RETURN_IF_ERROR(regs.status());
  RETURN_IF_ERROR(system.status());
  return VcpuState{*regs, *system};
}

absl::Status Machine::ReadPhysical(uint64_t address, std::span<uint8_t> to) {
  if (memory_->Read(Gpa(address), to)) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrFormat("no memory at physical address 0x%x", address));
}

absl::Status Machine::ReadVirtual(unsigned index, uint64_t address, std::span<uint8_t> to) {
  ASSIGN_OR_RETURN(VcpuState state, ReadVcpu(index));
  while (!to.empty()) {
    const std::optional<uint64_t> at = Translate(*memory_, state.system, address);
    if (!at) return absl::OutOfRangeError(absl::StrFormat("nothing is mapped at 0x%x", address));
    const size_t n = std::min<size_t>(to.size(), kPageSize - (address & (kPageSize - 1)));
    RETURN_IF_ERROR(ReadPhysical(*at, to.first(n)));
    to = to.subspan(n);
    address += n;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<MappedRange>> Machine::ReadMappings(unsigned index) {
  ASSIGN_OR_RETURN(VcpuState state, ReadVcpu(index));
  return FindMappings(*memory_, state.system);
}

uint64_t Machine::instructions() const {
  uint64_t sum = 0;
  for (const std::unique_ptr<cpu::Vcpu>& v : vcpus_) sum += v->instructions();
  return sum;
}

}  // namespace atl::vm
