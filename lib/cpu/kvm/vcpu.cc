// SPDX-License-Identifier: Apache-2.0
// A vCPU: KVM_RUN, what it comes back for, and the signals of other threads.
//
// Signals are flags. Who raises one sets the flag, then looks whether the vCPU is
// about to execute KVM_RUN (in_run_); if so it sets immediate_exit and sends the
// kick signal. The vCPU sets in_run_ first and looks at the flags after that,
// so one of both always sees the other. Where the LAPIC is the machine's, a halted
// vCPU is no business of KVM: it sleeps in WaitForWork(), which the same signals end.
// Where it is the kernel's, so are halts, INIT and SIPI, and KVM_RUN sleeps.
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/mutex.h"
#include "lib/base/status_macros.h"
#include "lib/cpu/kvm/regs_convert.h"
#include "lib/cpu/kvm/snapshot.h"
#include "lib/cpu/kvm/vm.h"
#include "lib/cpu/kvm/xsave.h"
#include "lib/cpu/msr_table.h"
#include "lib/cpu/saved.h"

namespace atl::cpu::kvm {
namespace {

constexpr uint32_t kMsrApicBase = 0x1B;
constexpr uint64_t kInterruptFlag = 0x200;
// A guest that does nothing but write to new pages fills its ring that often and goes
// on; a KVM without VT-x or SVM has been seen to lose count of it for good.
constexpr unsigned kMostFullRings = 100000;
constexpr uint64_t kInitKeepsCr0 = 0x60000000;  // CD and NW survive INIT

class KvmVcpu : public Vcpu {
 public:
  static absl::StatusOr<std::unique_ptr<Vcpu>> Create(KvmVm& vm, const VcpuConfig& config) {
    if (config.bus == nullptr || config.count == 0 || config.count > 254 ||
        config.index >= config.count) {
      return absl::InvalidArgumentError(absl::StrCat("processor ", config.index, " of ",
                                                     config.count, ": KVM here takes 1 to 254"));
    }
    UniqueFd fd(ioctl(vm.fd(), KVM_CREATE_VCPU, config.index));
    if (!fd.valid()) return ErrnoError(errno, absl::StrCat("KVM_CREATE_VCPU ", config.index));
    void* run = mmap(nullptr, vm.run_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (run == MAP_FAILED) return ErrnoError(errno, "mmap of kvm_run");
    std::unique_ptr<KvmVcpu> out(
        new KvmVcpu(vm, config, std::move(fd), static_cast<kvm_run*>(run)));
    out->stats_ = OpenStats(out->fd_.get());
    RETURN_IF_ERROR(vm.AddVcpu(out->fd_.get()));
    if (vm.has_lapics()) {
      RETURN_IF_ERROR(out->Ioctl(KVM_GET_LAPIC, &out->power_on_lapic_, "KVM_GET_LAPIC"));
    }
    RETURN_IF_ERROR(out->SetCpuid());
    ASSIGN_OR_RETURN(out->msrs_, out->SupportedMsrs());
    RETURN_IF_ERROR(out->PowerOn());
    return std::unique_ptr<Vcpu>(std::move(out));
  }

  ~KvmVcpu() override { munmap(run_, vm_.run_size()); }

  absl::StatusOr<Exit> Run() override;
  void WaitForWork() override {
    MutexLock lock(&mu_);
    while (!event_) changed_.Wait(&mu_);
    event_ = false;
  }

  void Kick() override {
    kick_.store(true);
    Notify();
  }
  void SetInterruptLine(bool high) override {
    if (high) Notify();
  }
  void RaiseNmi() override {
    nmi_.store(true);
    Notify();
  }
  void SendInit() override {
    {
      MutexLock lock(&mu_);
      init_ = true;
      sipi_ = -1;  // it came before and was ignored
    }
    startup_.store(true);
    Notify();
  }
  void SendSipi(uint8_t vector) override {
    {
      MutexLock lock(&mu_);
      sipi_ = vector;
    }
    startup_.store(true);
    Notify();
  }

  void Reset() override {
    // What fails here fails again, and with its error, when the vCPU runs.
    reset_error_ = PowerOn();
  }
  absl::StatusOr<Regs> GetRegs() override {
    kvm_regs regs{};
    RETURN_IF_ERROR(Ioctl(KVM_GET_REGS, &regs, "KVM_GET_REGS"));
    return FromKvm(regs);
  }
  absl::Status SetRegs(const Regs& regs) override {
    kvm_regs out = ToKvm(regs);
    // Then KVM's own idea of interrupts that can be taken is out of date.
    run_->ready_for_interrupt_injection = 0;
    return Ioctl(KVM_SET_REGS, &out, "KVM_SET_REGS");
  }
  absl::StatusOr<SystemRegs> GetSystemRegs() override {
    kvm_sregs sregs{};
    RETURN_IF_ERROR(Ioctl(KVM_GET_SREGS, &sregs, "KVM_GET_SREGS"));
    SystemRegs out = FromKvm(sregs);
    if (!vm_.has_lapics()) out.cr8 = config_.bus->ReadCr8(config_.index);
    return out;
  }
  absl::Status SetSystemRegs(const SystemRegs& regs) override {
    kvm_sregs out = ToKvm(regs);
    run_->cr8 = regs.cr8;
    apic_base_ = regs.apic_base;
    return Ioctl(KVM_SET_SREGS, &out, "KVM_SET_SREGS");
  }
  absl::StatusOr<uint64_t> GetMsr(uint32_t msr) override {
    MsrList list = OneMsr(msr, 0);
    const int n = ioctl(fd_.get(), kGetMsrs, &list);
    if (n == 1) return list.entry.data;
    return NoMsr(n, msr, "read");
  }
  absl::Status SetMsr(uint32_t msr, uint64_t value) override {
    MsrList list = OneMsr(msr, value);
    const int n = ioctl(fd_.get(), kSetMsrs, &list);
    return n == 1 ? absl::OkStatus() : NoMsr(n, msr, "written");
  }
  absl::Status Save(SavedVcpu* out) override;
  absl::Status Load(const SavedVcpu& in, StatePart part) override;
  int stats_fd() const override { return stats_.get(); }

 private:
  KvmVcpu(KvmVm& vm, const VcpuConfig& config, UniqueFd fd, kvm_run* run)
      : vm_(vm), config_(config), fd_(std::move(fd)), run_(run) {}

  static MsrList OneMsr(uint32_t msr, uint64_t value) {
    MsrList list;
    list.entry.index = msr;
    list.entry.data = value;
    return list;
  }
  static absl::Status NoMsr(int result, uint32_t msr, absl::string_view how) {
    if (result < 0) return ErrnoError(errno, absl::StrFormat("MSR 0x%x", msr));
    return absl::NotFoundError(absl::StrFormat("MSR 0x%x cannot be %s", msr, how));
  }
  absl::Status Ioctl(unsigned long request, void* argument, absl::string_view name) {
    if (ioctl(fd_.get(), request, argument) != 0) return ErrnoError(errno, name);
    return absl::OkStatus();
  }

  absl::Status SetCpuid();
  absl::StatusOr<std::vector<uint32_t>> SupportedMsrs();
  absl::Status PowerOn();
  absl::Status PowerOnLapic();
  absl::Status Init();
  absl::Status StartAt(uint8_t sipi_vector);
  void Notify();
  void AttachThread();
  absl::StatusOr<bool> Prepare();
  absl::Status Inject();
  std::optional<Exit> HandleExit();
  void SyncFromRun();
  void HandlePorts();
  void HandleMmio();
  void HandleMsr();
  std::string InternalError();

  KvmVm& vm_;
  const VcpuConfig config_;
  const UniqueFd fd_;
  UniqueFd stats_;
  kvm_run* const run_;
  std::vector<uint32_t> msrs_;        // those to write at power-on that KVM has
  kvm_lapic_state power_on_lapic_{};  // as KVM made it, where it is KVM's
  absl::Status reset_error_;
  pid_t thread_ = 0;  // that called Run() last

  // The vCPU thread's alone, or anybody's while Run() is not executing.
  bool halted_ = false;
  bool wait_for_sipi_ = false;
  unsigned full_rings_ = 0;  // exits for a full ring, one after the other
  bool incomplete_ = false;  // KVM_RUN has to take the result of an access yet
  uint64_t apic_base_ = 0;   // as the bus knows it

  std::atomic<bool> kick_{false};
  std::atomic<bool> nmi_{false};
  std::atomic<bool> startup_{false};  // INIT or SIPI below
  std::atomic<pid_t> in_run_{0};      // the thread in KVM_RUN or on the way there

  Mutex mu_;
  CondVar changed_;
  bool event_ ABSL_GUARDED_BY(mu_) = false;  // something happened since it was cleared
  bool init_ ABSL_GUARDED_BY(mu_) = false;
  int sipi_ ABSL_GUARDED_BY(mu_) = -1;  // the vector; follows init_ where both are set
};

absl::Status KvmVcpu::SetCpuid() {
  std::vector<kvm_cpuid_entry2> entries = vm_.cpuid();
  SetTopology(entries, config_.index, config_.count);
  auto list = std::make_unique<CpuidList>();
  list->count = static_cast<uint32_t>(std::min(entries.size(), std::size(list->entries)));
  std::copy_n(entries.begin(), list->count, list->entries);
  return Ioctl(kSetCpuid2, list.get(), "KVM_SET_CPUID2");
}

absl::StatusOr<std::vector<uint32_t>> KvmVcpu::SupportedMsrs() {
  std::vector<uint32_t> out;
  for (const MsrInfo& m : MsrInfos()) {
    if (!m.power_on) continue;
    absl::StatusOr<uint64_t> value = GetMsr(m.first);
    if (value.ok()) {
      out.push_back(m.first);
    } else if (!absl::IsNotFound(value.status())) {
      return value.status();
    }
  }
  return out;
}

absl::Status KvmVcpu::PowerOn() {
  {
    MutexLock lock(&mu_);
    init_ = false;
    sipi_ = -1;
  }
  startup_ = false;
  nmi_ = false;
  halted_ = false;
  wait_for_sipi_ = config_.index != 0 && !vm_.has_lapics();
  kvm_vcpu_events events{};
  RETURN_IF_ERROR(Ioctl(KVM_SET_VCPU_EVENTS, &events, "KVM_SET_VCPU_EVENTS"));
  RETURN_IF_ERROR(SetSystemRegs(PowerOnSystemRegs(config_.index == 0)));
  RETURN_IF_ERROR(SetRegs(PowerOnRegs()));
  if (vm_.has_lapics()) RETURN_IF_ERROR(PowerOnLapic());
  RETURN_IF_ERROR(ResetXsave(fd_.get(), vm_.xsave_bytes()));
  kvm_debugregs debug{};
  debug.dr6 = 0xFFFF0FF0;
  debug.dr7 = 0x400;
  RETURN_IF_ERROR(Ioctl(KVM_SET_DEBUGREGS, &debug, "KVM_SET_DEBUGREGS"));
  kvm_xcrs xcrs{};
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].value = 1;
  ioctl(fd_.get(), KVM_SET_XCRS, &xcrs);  // processors without XSAVE have none
  // Those that cannot be written have that value anyway.
  for (uint32_t known : msrs_) (void)SetMsr(known, FindMsr(known)->reset);
  return absl::OkStatus();
}

absl::Status KvmVcpu::Save(SavedVcpu* out) {
  *out = SavedVcpu();
  if (incomplete_) {
    return absl::FailedPreconditionError("vCPU state: an access of the guest's is under way");
  }
  RETURN_IF_ERROR(SaveFromKernel(vm_, fd_.get(), out));
  ASSIGN_OR_RETURN(out->regs, GetRegs());
  ASSIGN_OR_RETURN(out->system, GetSystemRegs());
  SavedEvents& e = out->events;
  e.nmi_pending |= nmi_.load();
  if (vm_.has_lapics()) return absl::OkStatus();
  out->activity = wait_for_sipi_ ? Activity::kWaitForSipi
                  : halted_      ? Activity::kHalted
                                 : Activity::kRunning;
  MutexLock lock(&mu_);
  e.init = init_;
  e.sipi = sipi_ >= 0;
  e.sipi_vector = static_cast<uint8_t>(std::max(sipi_, 0));
  return absl::OkStatus();
}

absl::Status KvmVcpu::Load(const SavedVcpu& in, StatePart part) {
  Reset();
  RETURN_IF_ERROR(reset_error_);
  incomplete_ = false;
  RETURN_IF_ERROR(Annotate(SetSystemRegs(in.system), "vCPU state: system registers"));
  RETURN_IF_ERROR(SetRegs(in.regs));
  // What KVM says of the last run, for Prepare().
  run_->if_flag = (in.regs.rflags & kInterruptFlag) != 0;
  RETURN_IF_ERROR(LoadIntoKernel(vm_, fd_.get(), in, part));
  if (vm_.has_lapics()) return absl::OkStatus();
  config_.bus->WriteCr8(config_.index, in.system.cr8);
  config_.bus->WriteApicMsr(config_.index, kMsrApicBase, in.system.apic_base);
  wait_for_sipi_ = in.activity == Activity::kWaitForSipi;
  halted_ = in.activity == Activity::kHalted;
  MutexLock lock(&mu_);
  init_ = in.events.init;
  sipi_ = in.events.sipi ? in.events.sipi_vector : -1;
  startup_ = init_ || sipi_ >= 0;
  // What is pending may end the first wait.
  event_ = true;
  return absl::OkStatus();
}

absl::Status KvmVcpu::PowerOnLapic() {
  RETURN_IF_ERROR(Ioctl(KVM_SET_LAPIC, &power_on_lapic_, "KVM_SET_LAPIC"));
  kvm_mp_state state{config_.index == 0 ? uint32_t{KVM_MP_STATE_RUNNABLE}
                                        : uint32_t{KVM_MP_STATE_UNINITIALIZED}};
  return Ioctl(KVM_SET_MP_STATE, &state, "KVM_SET_MP_STATE");
}

// INIT (Intel SDM vol. 3, table 10-1): as after power-on, but caches, FPU and
// most MSRs keep their state.
absl::Status KvmVcpu::Init() {
  ASSIGN_OR_RETURN(SystemRegs old, GetSystemRegs());
  SystemRegs next = PowerOnSystemRegs(config_.index == 0);
  next.cr0 = (old.cr0 & kInitKeepsCr0) | 0x10;
  next.apic_base = old.apic_base;
  kvm_vcpu_events events{};
  RETURN_IF_ERROR(Ioctl(KVM_SET_VCPU_EVENTS, &events, "KVM_SET_VCPU_EVENTS"));
  RETURN_IF_ERROR(SetSystemRegs(next));
  RETURN_IF_ERROR(SetRegs(PowerOnRegs()));
  nmi_ = false;
  halted_ = false;
  wait_for_sipi_ = config_.index != 0;
  return absl::OkStatus();
}

absl::Status KvmVcpu::StartAt(uint8_t sipi_vector) {
  ASSIGN_OR_RETURN(SystemRegs system, GetSystemRegs());
  system.segment[kCs].selector = static_cast<uint16_t>(sipi_vector << 8);
  system.segment[kCs].base = uint64_t{sipi_vector} << 12;
  RETURN_IF_ERROR(SetSystemRegs(system));
  ASSIGN_OR_RETURN(Regs regs, GetRegs());
  regs.rip = 0;
  return SetRegs(regs);
}

void KvmVcpu::Notify() {
  {
    MutexLock lock(&mu_);
    event_ = true;
  }
  changed_.NotifyAll();
  // A read-modify-write like the one in Run(): whichever comes second sees what
  // the other side did before.
  const pid_t thread = in_run_.fetch_add(0);
  if (thread != 0) {
    __atomic_store_n(&run_->immediate_exit, uint8_t{1}, __ATOMIC_SEQ_CST);
    tgkill(getpid(), thread, KickSignal());
  }
}

void KvmVcpu::AttachThread() {
  const pid_t self = gettid();
  if (thread_ == self) return;
  thread_ = self;
  sigset_t kick;
  sigemptyset(&kick);
  sigaddset(&kick, KickSignal());
  pthread_sigmask(SIG_UNBLOCK, &kick, nullptr);
}

// Takes the signals. False where there is nothing to execute.
absl::StatusOr<bool> KvmVcpu::Prepare() {
  bool init = false;
  int sipi = -1;
  if (halted_ || wait_for_sipi_ || startup_.load()) {
    MutexLock lock(&mu_);
    startup_ = false;
    // Cleared before anything is looked at: what comes later ends the wait.
    event_ = false;
    init = std::exchange(init_, false);
    sipi = std::exchange(sipi_, -1);
  }
  if (init) RETURN_IF_ERROR(Init());
  if (wait_for_sipi_) {
    if (sipi < 0) return false;
    RETURN_IF_ERROR(StartAt(static_cast<uint8_t>(sipi)));
    wait_for_sipi_ = false;
  }
  if (halted_) {
    halted_ = !nmi_.load() && (run_->if_flag == 0 || !config_.bus->InterruptPending(config_.index));
    if (halted_) return false;
  }
  RETURN_IF_ERROR(Inject());
  return true;
}

// Hands KVM what can be taken now, and has it come back for what cannot.
absl::Status KvmVcpu::Inject() {
  if (nmi_.exchange(false) && ioctl(fd_.get(), KVM_NMI, 0) != 0) {
    return ErrnoError(errno, "KVM_NMI");
  }
  VcpuBus& bus = *config_.bus;
  run_->request_interrupt_window = 0;
  if (!bus.InterruptPending(config_.index)) return absl::OkStatus();
  if (run_->ready_for_interrupt_injection != 0 && run_->if_flag != 0) {
    const int vector = bus.AcknowledgeInterrupt(config_.index);
    if (vector >= 0) {
      kvm_interrupt interrupt{static_cast<uint32_t>(vector)};
      RETURN_IF_ERROR(Ioctl(KVM_INTERRUPT, &interrupt, "KVM_INTERRUPT"));
      run_->ready_for_interrupt_injection = 0;
    }
  }
  run_->request_interrupt_window = bus.InterruptPending(config_.index);
  return absl::OkStatus();
}

void KvmVcpu::SyncFromRun() {
  if (vm_.has_lapics()) return;
  VcpuBus& bus = *config_.bus;
  if (run_->cr8 != bus.ReadCr8(config_.index)) bus.WriteCr8(config_.index, run_->cr8);
  if (run_->apic_base != apic_base_) {
    apic_base_ = run_->apic_base;
    bus.WriteApicMsr(config_.index, kMsrApicBase, apic_base_);
  }
}

absl::StatusOr<Exit> KvmVcpu::Run() {
  RETURN_IF_ERROR(vm_.slot_error());
  RETURN_IF_ERROR(reset_error_);
  AttachThread();
  for (;;) {
    // Before in_run_ is set nobody else writes it, and after that not in vain.
    __atomic_store_n(&run_->immediate_exit, uint8_t{0}, __ATOMIC_SEQ_CST);
    in_run_.exchange(thread_);
    const bool kicked = kick_.load();
    if (incomplete_ && (kicked || startup_.load())) {
      // The registers tell of an access only after KVM_RUN took its result.
      __atomic_store_n(&run_->immediate_exit, uint8_t{1}, __ATOMIC_SEQ_CST);
    } else {
      absl::StatusOr<bool> ready = kicked ? false : Prepare();
      if (!ready.ok() || !*ready) {
        in_run_.exchange(0);
        RETURN_IF_ERROR(ready.status());
        return Exit{kick_.exchange(false) ? ExitReason::kKicked : ExitReason::kHalted, {}};
      }
    }

    if (!vm_.has_lapics()) run_->cr8 = config_.bus->ReadCr8(config_.index);
    const int result = ioctl(fd_.get(), KVM_RUN, 0);
    const int error = errno;
    in_run_.exchange(0);
    incomplete_ = false;
    // Before this exit is looked at: they came first.
    vm_.DeliverPosted();
    SyncFromRun();
    if (result < 0) {
      if (error == EINTR || error == EAGAIN) continue;
      return ErrnoError(error, "KVM_RUN");
    }
    if (std::optional<Exit> exit = HandleExit()) return *std::move(exit);
  }
}

std::optional<Exit> KvmVcpu::HandleExit() {
  if (run_->exit_reason != KVM_EXIT_DIRTY_RING_FULL) full_rings_ = 0;
  switch (run_->exit_reason) {
    case KVM_EXIT_IO:
      HandlePorts();
      return std::nullopt;
    case KVM_EXIT_MMIO:
      HandleMmio();
      return std::nullopt;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
      HandleMsr();
      return std::nullopt;
    case KVM_EXIT_HLT:
      halted_ = true;
      return std::nullopt;
    case KVM_EXIT_IOAPIC_EOI:
      config_.bus->EndOfInterrupt(run_->eoi.vector);
      return std::nullopt;
    case KVM_EXIT_DIRTY_RING_FULL:
      vm_.slots().RingIsFull();
      if (++full_rings_ < kMostFullRings) return std::nullopt;
      return Exit{ExitReason::kError, "KVM's dirty ring stays full: it has overrun it"};
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
      return std::nullopt;
    case KVM_EXIT_SHUTDOWN:
      return Exit{ExitReason::kShutdown, "triple fault"};
    case KVM_EXIT_FAIL_ENTRY:
      return Exit{ExitReason::kError,
                  absl::StrFormat("the processor refused to enter the guest (reason 0x%x)",
                                  run_->fail_entry.hardware_entry_failure_reason)};
    case KVM_EXIT_INTERNAL_ERROR:
      return Exit{ExitReason::kError, InternalError()};
    default:
      return Exit{ExitReason::kError,
                  absl::StrCat("KVM came back for an unknown reason, ", run_->exit_reason)};
  }
}

void KvmVcpu::HandlePorts() {
  incomplete_ = true;
  VcpuBus& bus = *config_.bus;
  const auto& io = run_->io;
  uint8_t* data = reinterpret_cast<uint8_t*>(run_) + io.data_offset;
  for (uint32_t i = 0; i < io.count; ++i, data += io.size) {
    uint32_t value = 0;
    if (io.direction == KVM_EXIT_IO_OUT) {
      std::memcpy(&value, data, io.size);
      bus.PortOut(io.port, io.size, value);
    } else {
      value = bus.PortIn(io.port, io.size);
      std::memcpy(data, &value, io.size);
    }
  }
}

void KvmVcpu::HandleMmio() {
  incomplete_ = true;
  VcpuBus& bus = *config_.bus;
  auto& mmio = run_->mmio;
  // A write to read-only memory comes here too; it has no effect.
  if (mmio.is_write && vm_.memory().Find(Gpa(mmio.phys_addr), mmio.len) != nullptr) return;
  // KVM splits at pages and gives up to 8 bytes, of any number.
  unsigned done = 0;
  while (done < mmio.len) {
    unsigned n = 8;
    while (n > mmio.len - done) n /= 2;
    const Gpa at(mmio.phys_addr + done);
    uint64_t value = 0;
    if (mmio.is_write) {
      std::memcpy(&value, mmio.data + done, n);
      bus.MmioWrite(at, n, value);
    } else {
      value = bus.MmioRead(at, n);
      std::memcpy(mmio.data + done, &value, n);
    }
    done += n;
  }
}

void KvmVcpu::HandleMsr() {
  incomplete_ = true;
  auto& msr = run_->msr;
  const bool known = run_->exit_reason == KVM_EXIT_X86_RDMSR
                         ? config_.bus->ReadApicMsr(config_.index, msr.index,
                                                    reinterpret_cast<uint64_t*>(&msr.data))
                         : config_.bus->WriteApicMsr(config_.index, msr.index, msr.data);
  msr.error = !known;
}

std::string KvmVcpu::InternalError() {
  const auto& e = run_->emulation_failure;
  const absl::StatusOr<Regs> regs = GetRegs();
  const uint64_t rip = regs.ok() ? regs->rip : 0;
  if (e.suberror != KVM_INTERNAL_ERROR_EMULATION) {
    return absl::StrFormat("KVM's internal error %d at rip 0x%x", e.suberror, rip);
  }
  std::string bytes;
  if (e.ndata >= 3 && (e.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0 &&
      e.insn_size <= sizeof e.insn_bytes) {
    bytes = absl::StrCat(": ", absl::BytesToHexString(absl::string_view(
                                   reinterpret_cast<const char*>(e.insn_bytes), e.insn_size)));
  }
  return absl::StrFormat("KVM cannot emulate the instruction at rip 0x%x%s", rip, bytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Vcpu>> MakeVcpu(KvmVm& vm, const VcpuConfig& config) {
  return KvmVcpu::Create(vm, config);
}

}  // namespace atl::cpu::kvm
