// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/machine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::vm {

Machine::Machine(const MachineConfig& config, host::EventLoop& loop,
                 std::function<void(const MachineEvent&)> on_event)
    : config_(config),
      loop_(loop),
      on_event_(std::move(on_event)),
      clock_(loop, config.rtc_local_time) {}

absl::StatusOr<std::unique_ptr<Machine>> Machine::Create(
    const MachineConfig& config, const Selection& selection, host::EventLoop& loop,
    std::function<void(const MachineEvent&)> on_event) {
  std::unique_ptr<Machine> m(new Machine(config, loop, std::move(on_event)));

  // 1. Memory, then the files: whatever is missing is found before anything runs.
  ASSIGN_OR_RETURN(m->memory_, GuestMemory::Create(config.ram_bytes));
  ASSIGN_OR_RETURN(m->firmware_, Firmware::Create(m->config_, *m->memory_));

  // 2. The board.
  Machine* const machine = m.get();
  BoardContext context;
  context.config = &m->config_;
  context.memory = m->memory_.get();
  context.loop = &loop;
  context.clock = &m->clock_;
  context.control = machine;
  context.at_standstill = [machine](std::function<void()> work) {
    machine->AtStandstill(std::move(work));
  };
  context.quit = [machine] {
    machine->RequestEnd({EndKind::kQuit, 0, "asked for at the console"});
  };
  ASSIGN_OR_RETURN(m->board_, Board::Create(context));
  RETURN_IF_ERROR(m->firmware_->Attach(*m->board_));

  // 3. vCPUs, each with its view of the bus and its LAPIC's lines.
  ASSIGN_OR_RETURN(m->vm_, selection.backend->create_vm(selection.options, *m->memory_));
  std::vector<cpu::Vcpu*> vcpus;
  for (unsigned i = 0; i < config.vcpus; ++i) {
    m->buses_.push_back(
        std::make_unique<MachineVcpuBus>(i, m->board_->bus(), m->board_->irqs(), m->clock_));
    cpu::VcpuConfig vcpu;
    vcpu.index = i;
    vcpu.count = config.vcpus;
    vcpu.bus = m->buses_.back().get();
    ASSIGN_OR_RETURN(std::unique_ptr<cpu::Vcpu> created, m->vm_->CreateVcpu(vcpu));
    m->signals_.push_back(std::make_unique<MachineVcpuSignals>(*created));
    m->board_->irqs().ConnectVcpu(i, m->signals_.back().get());
    vcpus.push_back(created.get());
    m->vcpus_.push_back(std::move(created));
  }

  // 4. Everything as after power-on, and the guest in memory.
  RETURN_IF_ERROR(m->LoadGuest());
  m->threads_ = std::make_unique<VcpuThreads>(
      std::move(vcpus),
      [machine](unsigned vcpu, const cpu::Exit& exit) { machine->OnVcpuEnd(vcpu, exit); });
  return m;
}

Machine::~Machine() {
  threads_.reset();
  if (board_ != nullptr) {
    for (unsigned i = 0; i < signals_.size(); ++i) board_->irqs().ConnectVcpu(i, nullptr);
  }
  vcpus_.clear();
}

absl::Status Machine::LoadGuest() {
  board_->Reset();
  for (const std::unique_ptr<cpu::Vcpu>& v : vcpus_) v->Reset();
  return firmware_->Load(*board_, *vcpus_[0]);
}

End Machine::Run() {
  absl::Status started = board_->Start();
  if (!started.ok()) return {EndKind::kError, 0, std::string(started.message())};
  on_event_({"start", ""});
  threads_->Resume();
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
  on_event_({"end", end.detail});
  return end;
}

void Machine::RequestEnd(End end) {
  {
    MutexLock lock(&end_mu_);
    if (!end_) end_ = std::move(end);
  }
  if (threads_ != nullptr) threads_->PauseSoon();
  loop_.Quit();
}

void Machine::AtStandstill(std::function<void()> work) {
  {
    MutexLock lock(&work_mu_);
    work_.push_back(std::move(work));
  }
  threads_->PauseSoon();
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
    MutexLock lock(&work_mu_);
    if (!work_.empty()) continue;
    MutexLock end_lock(&end_mu_);
    if (!end_) threads_->Resume();
    return;
  }
}

void Machine::ResetAndReload() {
  on_event_({"reset", ""});
  absl::Status status = LoadGuest();
  if (!status.ok()) RequestEnd({EndKind::kError, 0, std::string(status.message())});
}

void Machine::RequestReset() {
  if (config_.no_reboot) {
    RequestEnd({EndKind::kReset, 0, "the guest asked for a reset"});
    return;
  }
  AtStandstill([this] { ResetAndReload(); });
}

void Machine::RequestPowerOff() { RequestEnd({EndKind::kPowerOff, 0, "the guest shut down"}); }

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
    RequestEnd({EndKind::kCrash, 0, absl::StrCat("the guest crashed: ", detail)});
  } else {
    on_event_({"crash", detail});
    AtStandstill([this] { ResetAndReload(); });
  }
}

uint64_t Machine::instructions() const {
  uint64_t sum = 0;
  for (const std::unique_ptr<cpu::Vcpu>& v : vcpus_) sum += v->instructions();
  return sum;
}

}  // namespace atl::vm
