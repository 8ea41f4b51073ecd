// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/kvm/self_test.h"

#include <cpuid.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/mutex.h"
#include "lib/base/status_macros.h"
#include "lib/cpu/kvm/vm.h"

extern "C" const uint8_t self_test_guest[], self_test_guest_end[];

namespace atl::cpu::kvm {
namespace {

constexpr Gpa kGuestAt{0x1000}, kCounterAt{0x8000}, kFaultCounterAt{0x8008};
constexpr Gpa kPml4{0x10000}, kPdpt{0x11000}, kDirectory{0x12000};
constexpr uint64_t kMemory = 1 << 20;
constexpr uint16_t kPhasePort = 0x10;
constexpr unsigned kPhases = 7;
constexpr uint32_t kFaults = 256;
// Turns of the loops in protected and in long mode.
constexpr uint64_t kProtectedTurns = 20'000, kLongTurns = 50'000;
// More than that for the protected-mode loop is emulation: a microsecond a turn.
constexpr uint64_t kHopelessNs = 30'000'000;

constexpr const char* kPhaseNames[kPhases + 1] = {"its first instruction",
                                                  "real mode",
                                                  "protected mode",
                                                  "the switch to long mode",
                                                  "long mode",
                                                  "page faults",
                                                  "page tables",
                                                  "HLT"};

// The thread's processor time, guest included: on a busy host what it waits for
// others does not count against KVM.
uint64_t CpuNs() {
  timespec ts;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
}

// A machine of nothing but the port that tells phases.
class PhaseBus : public VcpuBus {
 public:
  uint32_t PortIn(uint16_t, unsigned) override { return ~0u; }
  void PortOut(uint16_t port, unsigned, uint32_t value) override {
    if (port != kPhasePort || value != phase + 1 || value > kPhases) return;
    begin[phase = value] = CpuNs();
    // Beyond hope: the rest would only take longer.
    if (phase == 3 && begin[3] - begin[2] > kHopelessNs) vcpu->Kick();
  }
  uint64_t MmioRead(Gpa, unsigned) override { return ~uint64_t{0}; }
  void MmioWrite(Gpa, unsigned, uint64_t) override {}
  int AcknowledgeInterrupt(unsigned) override { return -1; }
  bool InterruptPending(unsigned) override { return false; }
  uint64_t ReadCr8(unsigned) override { return 0; }
  void WriteCr8(unsigned, uint64_t) override {}
  bool ReadApicMsr(unsigned, uint32_t, uint64_t*) override { return false; }
  bool WriteApicMsr(unsigned, uint32_t, uint64_t) override { return false; }
  uint64_t NowNs() override { return 0; }

  Vcpu* vcpu = nullptr;
  unsigned phase = 0;
  uint64_t begin[kPhases + 1] = {};
};

// Kicks the vCPU again and again once the time is over, until destroyed.
class Watchdog {
 public:
  Watchdog(Vcpu* vcpu, uint64_t budget_ns)
      : thread_([this, vcpu, budget_ns] {
          MutexLock lock(&mu_);
          auto wait = std::chrono::nanoseconds(budget_ns);
          const auto until = std::chrono::steady_clock::now() + wait;
          while (!done_) {
            changed_.WaitFor(&mu_, std::max(until - std::chrono::steady_clock::now(),
                                            std::chrono::nanoseconds(5'000'000)));
            if (!done_ && std::chrono::steady_clock::now() >= until) vcpu->Kick();
          }
        }) {}
  ~Watchdog() {
    {
      MutexLock lock(&mu_);
      done_ = true;
    }
    changed_.NotifyAll();
    thread_.join();
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

absl::Status Load(GuestMemory& memory) {
  constexpr uint64_t kTable = 3;  // present, writable
  const std::span<const uint8_t> code(self_test_guest, self_test_guest_end);
  // The first 2 MiB map to themselves; [4 MiB, 6 MiB) has a table of absent pages.
  const bool ok = memory.Write(kGuestAt, code) &&
                  memory.Store(kPml4, uint64_t{kPdpt.value | kTable}) &&
                  memory.Store(kPdpt, uint64_t{kDirectory.value | kTable}) &&
                  memory.Store(kDirectory, uint64_t{0x80 | kTable}) &&
                  memory.Store(kDirectory + 16, uint64_t{0x13000 | kTable});
  return ok ? absl::OkStatus() : absl::InternalError("the self-test does not fit its memory");
}

}  // namespace

absl::StatusOr<SelfTestTimes> RunSelfTest(const std::string& device, uint64_t budget_ns) {
  ASSIGN_OR_RETURN(const std::unique_ptr<GuestMemory> memory, GuestMemory::Create(kMemory));
  RETURN_IF_ERROR(Load(*memory));
  ASSIGN_OR_RETURN(const std::unique_ptr<KvmVm> vm, KvmVm::Create(device, *memory));
  PhaseBus bus;
  VcpuConfig config;
  config.bus = &bus;
  ASSIGN_OR_RETURN(const std::unique_ptr<Vcpu> vcpu, vm->CreateVcpu(config));
  ASSIGN_OR_RETURN(SystemRegs system, vcpu->GetSystemRegs());
  system.segment[kCs].selector = 0;
  system.segment[kCs].base = 0;
  RETURN_IF_ERROR(vcpu->SetSystemRegs(system));
  Regs regs;
  regs.rip = kGuestAt.value;
  RETURN_IF_ERROR(vcpu->SetRegs(regs));

  bus.vcpu = vcpu.get();
  Exit exit;
  const auto begin = std::chrono::steady_clock::now();
  {
    Watchdog watchdog(vcpu.get(), budget_ns);
    ASSIGN_OR_RETURN(exit, vcpu->Run());
  }
  const char* where = kPhaseNames[bus.phase];
  SelfTestTimes times;
  times.real_mode = bus.begin[2] - bus.begin[1];
  times.protected_mode = bus.begin[3] - bus.begin[2];
  if (bus.phase == 3 && times.protected_mode > kHopelessNs) return times;
  if (exit.reason == ExitReason::kKicked ||
      std::chrono::steady_clock::now() - begin > std::chrono::nanoseconds(budget_ns)) {
    return absl::DeadlineExceededError(absl::StrCat("its test guest did not get past ", where));
  }
  if (exit.reason != ExitReason::kHalted || bus.phase != kPhases) {
    return absl::InternalError(absl::StrCat("its test guest failed in ", where,
                                            exit.detail.empty() ? "" : ": ", exit.detail));
  }
  const std::optional<uint32_t> stores = memory->Load<uint32_t>(kCounterAt);
  const std::optional<uint32_t> faults = memory->Load<uint32_t>(kFaultCounterAt);
  // The last store of the fault loop goes to the counter's page, at its start.
  if (faults != kFaults || stores != 0x4FF000u) {
    return absl::InternalError(absl::StrFormat(
        "its test guest computed wrong: %d page faults, 0x%x stored", *faults, *stores));
  }
  times.enter_long_mode = bus.begin[4] - bus.begin[3];
  times.long_mode = bus.begin[5] - bus.begin[4];
  times.page_faults = bus.begin[6] - bus.begin[5];
  times.page_tables = bus.begin[7] - bus.begin[6];
  return times;
}

uint64_t NativeLongModeNs() {
  volatile uint32_t counter = 0;
  uint64_t sum = 0;
  const uint64_t begin = CpuNs();
  for (uint64_t i = kLongTurns; i != 0; --i) {
    counter = counter + 1;
    sum += i;
    asm volatile("" : "+r"(sum));
  }
  return std::max<uint64_t>(CpuNs() - begin, 1);
}

Verdict Judge(const std::string& device, const SelfTestTimes& times, uint64_t native_ns,
              const std::string& hardware) {
  // Hardware runs the loop at native speed, and nested in another hypervisor at
  // that one's; emulation stays a hundred times and more below.
  constexpr uint64_t kTooSlow = 20, kNoise = 1'000'000;
  // Scaled to the same number of turns where the test gave up before long mode.
  const uint64_t took =
      times.long_mode != 0 ? times.long_mode : times.protected_mode * kLongTurns / kProtectedTurns;
  const uint64_t slower = took / native_ns;
  if (slower > kTooSlow && took > kNoise) {
    return {false, absl::StrCat(device, " opens, but runs guest kernels at 1/", slower,
                                " of this processor's speed: ",
                                hardware.empty() ? "it has neither VT-x nor SVM to run them with"
                                                 : "it emulates them")};
  }
  return {true, hardware.empty() ? "hardware virtualization" : hardware};
}

Verdict JudgeByTests(const std::string& device, uint64_t native_ns, const std::string& hardware,
                     const std::function<absl::StatusOr<SelfTestTimes>()>& test) {
  constexpr int kTests = 3;
  Verdict verdict;
  for (int i = 0; i < kTests; ++i) {
    const absl::StatusOr<SelfTestTimes> times = test();
    if (times.ok()) {
      verdict = Judge(device, *times, native_ns, hardware);
    } else if (absl::IsDeadlineExceeded(times.status())) {
      verdict = {false,
                 absl::StrCat(device, " opens, but ", times.status().message(), " in time",
                              hardware.empty() ? ": the processor has neither VT-x nor SVM" : "")};
    } else {
      // Errors of opening name the device themselves.
      const absl::string_view message = times.status().message();
      return {false, absl::StartsWith(message, device) ? std::string(message)
                                                       : absl::StrCat(device, ": ", message)};
    }
    if (verdict.usable || hardware.empty()) break;
  }
  return verdict;
}

std::string VirtualizationHardware() {
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) && (c >> 5 & 1) != 0) return "Intel VT-x";
  if (__get_cpuid(0x80000001, &a, &b, &c, &d) && (c >> 2 & 1) != 0) return "AMD SVM";
  return {};
}

}  // namespace atl::cpu::kvm
