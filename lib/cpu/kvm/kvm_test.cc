// SPDX-License-Identifier: Apache-2.0
// Guests of a few real-mode instructions on whatever KVM the machine has: also
// a KVM without VT-x or SVM runs these, only slowly.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <initializer_list>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/kvm/self_test.h"
#include "lib/cpu/kvm/vm.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::kvm {
namespace {

using absl::StatusCode;
using testing::ElementsAre;

// Of the nodes that speak KVM's interface those that may be opened here. Where
// there is none, the tests of guests do not exist: nothing counts as passed.
std::vector<std::string> Devices() {
  std::vector<std::string> out;
  for (const char* device : {"/dev/kvm", "/dev/atoll"}) {
    if (access(device, R_OK | W_OK) == 0) out.push_back(device);
  }
  return out;
}

struct Access {
  char kind;  // 'i'n, 'o'ut, 'r'ead, 'w'rite
  uint64_t at;
  unsigned size;
  uint64_t value;
  friend bool operator==(const Access&, const Access&) = default;
  friend void PrintTo(const Access& a, std::ostream* os) {
    *os << a.kind << std::hex << " 0x" << a.at << " size " << a.size << " = 0x" << a.value;
  }
};

// Records accesses, answers reads from a list, and has one interrupt to give.
class FakeBus : public VcpuBus {
 public:
  uint32_t PortIn(uint16_t port, unsigned size) override {
    return static_cast<uint32_t>(Answer('i', port, size));
  }
  void PortOut(uint16_t port, unsigned size, uint32_t value) override {
    seen.push_back({'o', port, size, value});
    if (on_out) on_out(port, value);
  }
  uint64_t MmioRead(Gpa at, unsigned size) override { return Answer('r', at.value, size); }
  void MmioWrite(Gpa at, unsigned size, uint64_t value) override {
    seen.push_back({'w', at.value, size, value});
  }
  int AcknowledgeInterrupt(unsigned) override { return vector.exchange(-1); }
  bool InterruptPending(unsigned) override { return vector.load() >= 0; }
  uint64_t ReadCr8(unsigned) override { return cr8; }
  void WriteCr8(unsigned, uint64_t value) override { cr8 = value; }
  bool ReadApicMsr(unsigned, uint32_t msr, uint64_t* value) override {
    *value = apic_msrs[msr];
    return true;
  }
  bool WriteApicMsr(unsigned, uint32_t msr, uint64_t value) override {
    apic_msrs[msr] = value;
    return true;
  }
  uint64_t NowNs() override { return 0; }

  std::vector<Access> seen;
  std::deque<uint64_t> answers;
  std::function<void(uint16_t, uint32_t)> on_out;
  std::atomic<int> vector = -1;
  uint64_t cr8 = 0;
  std::map<uint32_t, uint64_t> apic_msrs;

 private:
  uint64_t Answer(char kind, uint64_t at, unsigned size) {
    uint64_t value = 0;
    if (!answers.empty()) {
      value = answers.front();
      answers.pop_front();
    }
    seen.push_back({kind, at, size, value});
    return value;
  }
};

class KvmTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(1 << 20));
    ASSERT_OK_AND_ASSIGN(vm_, KvmVm::Create(GetParam(), *memory_));
    ASSERT_OK_AND_ASSIGN(vcpu_, vm_->CreateVcpu({.index = 0, .count = 2, .bus = &bus_}));
  }

  // Real-mode code at 0x1000, entered with flat segments of base 0.
  void Code(std::initializer_list<uint8_t> code) {
    const std::vector<uint8_t> bytes(code);
    ASSERT_TRUE(memory_->Write(Gpa(0x1000), bytes));
    ASSERT_OK_AND_ASSIGN(SystemRegs system, vcpu_->GetSystemRegs());
    system.segment[kCs].selector = 0;
    system.segment[kCs].base = 0;
    ASSERT_OK(vcpu_->SetSystemRegs(system));
    Regs regs;
    regs.rip = 0x1000;
    regs.gpr[kRsp] = 0x800;
    ASSERT_OK(vcpu_->SetRegs(regs));
  }
  ExitReason Run(Vcpu& vcpu) {
    const absl::StatusOr<Exit> exit = vcpu.Run();
    EXPECT_OK(exit);
    if (!exit.ok()) return ExitReason::kError;
    detail_ = exit->detail;
    return exit->reason;
  }
  uint64_t Rip() { return vcpu_->GetRegs()->rip; }

  FakeBus bus_;
  std::unique_ptr<GuestMemory> memory_;
  std::unique_ptr<KvmVm> vm_;
  std::unique_ptr<Vcpu> vcpu_;
  std::string detail_;
};

TEST_P(KvmTest, PortsOfAllSizesAndStrings) {
  bus_.answers = {0x12, 0x3456, 0x789ABCDE, 0xA1, 0xA2, 0xA3};
  Code({
      0xE4, 0x71,                    // in $0x71, %al
      0xE6, 0x80,                    // out %al, $0x80
      0xBA, 0xF8, 0x0C,              // mov $0xCF8, %dx
      0xED, 0xEF,                    // in %dx, %ax; out %ax, %dx
      0x66, 0xED, 0x66, 0xEF,        // the same with %eax
      0xBF, 0x00, 0x20,              // mov $0x2000, %di
      0xB9, 0x03, 0x00, 0xF3, 0x6C,  // mov $3, %cx; rep insb
      0xF4,                          // hlt
  });
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  EXPECT_THAT(bus_.seen, ElementsAre(Access{'i', 0x71, 1, 0x12}, Access{'o', 0x80, 1, 0x12},
                                     Access{'i', 0xCF8, 2, 0x3456}, Access{'o', 0xCF8, 2, 0x3456},
                                     Access{'i', 0xCF8, 4, 0x789ABCDE},
                                     Access{'o', 0xCF8, 4, 0x789ABCDE}, Access{'i', 0xCF8, 1, 0xA1},
                                     Access{'i', 0xCF8, 1, 0xA2}, Access{'i', 0xCF8, 1, 0xA3}));
  EXPECT_EQ(*memory_->Load<uint16_t>(Gpa(0x2000)), 0xA2A1);
  EXPECT_EQ(*memory_->Load<uint8_t>(Gpa(0x2002)), 0xA3);
}

TEST_P(KvmTest, MmioOutsideMemoryAndRom) {
  static uint8_t rom[4096] __attribute__((aligned(4096)));
  rom[0x10] = 0x77;
  memory_->SetSlot(Gpa(0xC0000), sizeof rom, rom, SlotKind::kRom);
  memory_->SetSlot(Gpa(0xA0000), 0x20000, nullptr, SlotKind::kRam);
  bus_.answers = {0xBEEF};
  Code({
      0xB8, 0x00, 0xA0, 0x8E, 0xD8,  // mov $0xA000, %ax; mov %ax, %ds
      0xA1, 0x08, 0x00,              // mov 8, %ax
      0xA2, 0x21, 0x00,              // mov %al, 0x21
      0xB8, 0x00, 0xC0, 0x8E, 0xD8,  // mov $0xC000, %ax; mov %ax, %ds
      0xC6, 0x06, 0x10, 0x00, 0x55,  // movb $0x55, 0x10: dropped
      0xA0, 0x10, 0x00, 0xE6, 0x80,  // mov 0x10, %al; out %al, $0x80
      0xF4,                          // hlt
  });
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  EXPECT_THAT(bus_.seen, ElementsAre(Access{'r', 0xA0008, 2, 0xBEEF}, Access{'w', 0xA0021, 1, 0xEF},
                                     Access{'o', 0x80, 1, 0x77}));
  EXPECT_EQ(rom[0x10], 0x77);
}

TEST_P(KvmTest, RegistersGoInAndComeBack) {
  Code({0xF4});
  Regs regs;
  for (unsigned i = 0; i < 16; ++i) regs.gpr[i] = 0x1111111111111111u * i;
  regs.rip = 0x1000;
  ASSERT_OK(vcpu_->SetRegs(regs));
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  ASSERT_OK_AND_ASSIGN(const Regs got, vcpu_->GetRegs());
  for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(got.gpr[i], regs.gpr[i]) << i;
  EXPECT_EQ(got.rip, 0x1001u);

  ASSERT_OK_AND_ASSIGN(SystemRegs system, vcpu_->GetSystemRegs());
  system.segment[kGs].base = 0x54320;
  system.segment[kGs].selector = 0x5432;
  system.cr2 = 0x1234;
  ASSERT_OK(vcpu_->SetSystemRegs(system));
  ASSERT_OK_AND_ASSIGN(system, vcpu_->GetSystemRegs());
  EXPECT_EQ(system.segment[kGs].base, 0x54320u);
  EXPECT_EQ(system.cr2, 0x1234u);

  ASSERT_OK(vcpu_->SetMsr(0x174, 0x10));
  EXPECT_EQ(*vcpu_->GetMsr(0x174), 0x10u);
  EXPECT_FALSE(vcpu_->GetMsr(0xDEAD0000).ok());

  vcpu_->Reset();
  ASSERT_OK_AND_ASSIGN(system, vcpu_->GetSystemRegs());
  EXPECT_EQ(system.segment[kCs].base, 0xFFFF0000u);
  EXPECT_EQ(Rip(), 0xFFF0u);
  EXPECT_EQ(*vcpu_->GetMsr(0x174), 0u);
}

// The access that a kick cut short shows in the registers.
TEST_P(KvmTest, AKickAfterAnAccessFindsItDone) {
  bus_.on_out = [this](uint16_t, uint32_t) { vcpu_->Kick(); };
  Code({0xE6, 0x80, 0xF4});
  EXPECT_EQ(Run(*vcpu_), ExitReason::kKicked);
  EXPECT_EQ(Rip(), 0x1002u);
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  EXPECT_EQ(bus_.seen.size(), 1u);
}

TEST_P(KvmTest, AKickBeforeRunCounts) {
  Code({0xEB, 0xFE});  // jmp .
  vcpu_->Kick();
  EXPECT_EQ(Run(*vcpu_), ExitReason::kKicked);
}

TEST_P(KvmTest, AKickStopsALoopFromAnotherThread) {
  Code({0xEB, 0xFE});
  for (int i = 0; i < 50; ++i) {
    std::atomic<bool> kicked = false;
    std::thread other([&] {
      if (i % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100 * i));
      kicked = true;
      vcpu_->Kick();
    });
    EXPECT_EQ(Run(*vcpu_), ExitReason::kKicked);
    EXPECT_TRUE(kicked);
    other.join();
  }
}

TEST_P(KvmTest, InterruptsWaitForTheFlagAndWakeAHalt) {
  // Vector 0x21 leads to 0x1100: out %al, $0x99; movb $1, 0x2000; iret.
  memory_->Store(Gpa(0x21 * 4), uint32_t{0x1100});
  const uint8_t handler[] = {0xE6, 0x99, 0xC6, 0x06, 0x00, 0x20, 0x01, 0xCF};
  memory_->Write(Gpa(0x1100), handler);
  Code({
      0xB0, 0x01, 0xE6, 0x80,        // mov $1, %al; out %al, $0x80
      0x40,                          // inc %ax
      0xFB,                          // sti
      0x40,                          // inc %ax: in the shadow of sti
      0x80, 0x3E, 0x00, 0x20, 0x00,  // 1: cmpb $0, 0x2000
      0x74, 0xF9,                    // je 1b
      0xF4,                          // hlt
      0xE6, 0x80,                    // out %al, $0x80
      0xF4,                          // hlt
  });
  // It arrives while interrupts are off.
  bus_.on_out = [this](uint16_t port, uint32_t value) {
    if (port == 0x80 && value == 1) {
      bus_.vector = 0x21;
      vcpu_->SetInterruptLine(true);
    }
  };
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  EXPECT_EQ(bus_.seen[0], (Access{'o', 0x80, 1, 1}));
  EXPECT_EQ(bus_.seen[1], (Access{'o', 0x99, 1, 3}));
  EXPECT_EQ(bus_.seen.size(), 2u);
  EXPECT_EQ(Rip(), 0x100Fu);

  // And one that wakes the halt, from another thread.
  std::thread device([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    bus_.vector = 0x21;
    vcpu_->SetInterruptLine(true);
  });
  // The line that rose before has left one wake-up for nothing.
  while (bus_.seen.size() < 4) {
    vcpu_->WaitForWork();
    EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  }
  device.join();
  EXPECT_EQ(bus_.seen[2], (Access{'o', 0x99, 1, 3}));
  EXPECT_EQ(bus_.seen[3], (Access{'o', 0x80, 1, 3}));
  EXPECT_EQ(Rip(), 0x1012u);
}

TEST_P(KvmTest, AHaltWithInterruptsOffSleepsThroughThem) {
  Code({0xFA, 0xF4, 0xE6, 0x80, 0xF4});  // cli; hlt; out; hlt
  bus_.vector = 0x21;
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  EXPECT_EQ(Rip(), 0x1002u);
  EXPECT_TRUE(bus_.seen.empty());
}

TEST_P(KvmTest, AnNmiWakesAnyHalt) {
  memory_->Store(Gpa(2 * 4), uint32_t{0x1100});
  const uint8_t handler[] = {0xE6, 0x02, 0xCF};
  memory_->Write(Gpa(0x1100), handler);
  Code({0xFA, 0xF4, 0xE6, 0x80, 0xF4});
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  vcpu_->RaiseNmi();
  vcpu_->WaitForWork();
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  ASSERT_EQ(bus_.seen.size(), 2u);
  EXPECT_EQ(bus_.seen[0].at, 2u);
  EXPECT_EQ(bus_.seen[1].at, 0x80u);
}

TEST_P(KvmTest, TheSecondProcessorWaitsForSipi) {
  ASSERT_OK_AND_ASSIGN(auto second, vm_->CreateVcpu({.index = 1, .count = 2, .bus = &bus_}));
  const uint8_t code[] = {0x8C, 0xC8, 0xE7, 0x80, 0xF4};  // mov %cs, %ax; out %ax, $0x80; hlt
  memory_->Write(Gpa(0x9000), code);
  EXPECT_EQ(Run(*second), ExitReason::kHalted);
  second->RaiseNmi();  // does not end that wait
  EXPECT_EQ(Run(*second), ExitReason::kHalted);
  EXPECT_TRUE(bus_.seen.empty());
  std::thread bsp([&] {
    second->SendInit();
    second->SendSipi(9);
  });
  while (bus_.seen.empty()) {
    second->WaitForWork();
    EXPECT_EQ(Run(*second), ExitReason::kHalted);
  }
  bsp.join();
  EXPECT_THAT(bus_.seen, ElementsAre(Access{'o', 0x80, 2, 0x900}));
  // A second SIPI means nothing to a processor that runs; INIT makes it wait again.
  second->SendSipi(7);
  EXPECT_EQ(Run(*second), ExitReason::kHalted);
  EXPECT_EQ(bus_.seen.size(), 1u);
  second->SendInit();
  EXPECT_EQ(Run(*second), ExitReason::kHalted);
  second->SendSipi(9);
  EXPECT_EQ(Run(*second), ExitReason::kHalted);
  EXPECT_EQ(bus_.seen.size(), 2u);
}

TEST_P(KvmTest, InitRestartsTheFirstProcessorAtItsResetVector) {
  Code({0xF4});
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  static uint8_t rom[65536] __attribute__((aligned(4096)));
  rom[0xFFF0] = 0xE6;  // out %al, $0x42; hlt
  rom[0xFFF1] = 0x42;
  rom[0xFFF2] = 0xF4;
  memory_->SetSlot(Gpa(0xFFFF0000), sizeof rom, rom, SlotKind::kRom);
  vcpu_->SendInit();
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted);
  ASSERT_EQ(bus_.seen.size(), 1u);
  EXPECT_EQ(bus_.seen[0].at, 0x42u);
}

TEST_P(KvmTest, AnExceptionWithoutAHandlerIsAShutdown) {
  // In long mode, whose first 2 MiB map to themselves: a load from 4 MiB.
  Code({0x8B, 0x04, 0x25, 0x00, 0x00, 0x40, 0x00});
  memory_->Store(Gpa(0x10000), uint64_t{0x11003});
  memory_->Store(Gpa(0x11000), uint64_t{0x12003});
  memory_->Store(Gpa(0x12000), uint64_t{0x83});
  ASSERT_OK_AND_ASSIGN(SystemRegs system, vcpu_->GetSystemRegs());
  system.cr0 = 0x80000031;
  system.cr3 = 0x10000;
  system.cr4 = 0x20;
  system.efer = 0x500;
  for (Segment& s : system.segment) {
    s.selector = 0x10;
    s.limit = 0xFFFFFFFF;
    s.g = s.db = true;
  }
  system.segment[kCs].selector = 0x8;
  system.segment[kCs].type = 0xB;
  system.segment[kCs].l = true;
  system.segment[kCs].db = false;
  system.idt = {0, 0};
  ASSERT_OK(vcpu_->SetSystemRegs(system));
  EXPECT_EQ(Run(*vcpu_), ExitReason::kShutdown) << detail_;
  // And it starts anew after that.
  vcpu_->Reset();
  Code({0xF4});
  EXPECT_EQ(Run(*vcpu_), ExitReason::kHalted) << detail_;
}

TEST_P(KvmTest, ProcessorsAreNumberedInCpuid) {
  ASSERT_OK_AND_ASSIGN(auto second, vm_->CreateVcpu({.index = 1, .count = 2, .bus = &bus_}));
  std::vector<kvm_cpuid_entry2> entries = vm_->cpuid();
  SetTopology(entries, 1, 2);
  bool leaf1 = false, leaf_b = false;
  for (const kvm_cpuid_entry2& e : entries) {
    if (e.function == 1) {
      leaf1 = true;
      EXPECT_EQ(e.ebx >> 16, 0x0102u);
      EXPECT_EQ(e.ecx & (1 << 5 | 1 << 21 | 1 << 24), 0u);  // VMX, x2APIC, TSC deadline
      EXPECT_NE(e.edx & 1 << 28, 0u);
    }
    if (e.function == 0xB && e.index == 1) {
      leaf_b = true;
      EXPECT_EQ(e.ebx, 2u);
      EXPECT_EQ(e.edx, 1u);
    }
  }
  EXPECT_TRUE(leaf1);
  EXPECT_TRUE(leaf_b);
}

TEST_P(KvmTest, RefusesProcessorsThatItCannotNumber) {
  EXPECT_THAT(vm_->CreateVcpu({.index = 1, .count = 300, .bus = &bus_}),
              StatusIs(StatusCode::kInvalidArgument, "1 to 254"));
}

// The self-test, whatever it finds here, must say so soon.
TEST(KvmProbe, ComesToAVerdictInTime) {
  const auto begin = std::chrono::steady_clock::now();
  const Verdict verdict = kKvmBackend.probe({});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
  EXPECT_FALSE(verdict.reason.empty());
  if (!Devices().empty() && VirtualizationHardware().empty()) {
    EXPECT_FALSE(verdict.usable);
    EXPECT_THAT(verdict.reason, testing::HasSubstr("neither VT-x nor SVM"));
  }
}

// Of a processor that says that it cannot, no guest is run to find out.
TEST(KvmProbe, IsQuickWhereTheProcessorHasNoHardware) {
  EXPECT_THAT(kKvmBackend.probe({.device = "/dev/no-such", .thorough = false}).reason,
              testing::HasSubstr("/dev/no-such does not exist"));
  for (const std::string& device : Devices()) {
    const Verdict verdict = kKvmBackend.probe({.device = device, .thorough = false});
    const bool tested = !VirtualizationHardware().empty();
    EXPECT_TRUE(tested || !verdict.usable);
    EXPECT_EQ(verdict.reason.find("neither VT-x nor SVM: not tested") == std::string::npos, tested)
        << verdict.reason;
  }
}

TEST(KvmProbe, TellsWhyANodeIsNoUse) {
  const auto reason = [](const std::string& device) {
    const Verdict v = kKvmBackend.probe({.device = device});
    EXPECT_FALSE(v.usable) << device;
    return v.reason;
  };
  EXPECT_THAT(reason("/dev/no-such"), testing::HasSubstr("/dev/no-such does not exist"));
  EXPECT_THAT(reason("/dev/null"), testing::HasSubstr("does not speak KVM's interface"));
  EXPECT_THAT(reason("/tmp"), testing::HasSubstr("/tmp"));
  const std::string file = testing::TempDir() + "/node";
  close(open(file.c_str(), O_CREAT | O_WRONLY, 0600));
  EXPECT_THAT(reason(file), testing::HasSubstr("is not a device"));
  EXPECT_THAT(OpenDevice("/dev/no-such").status(), StatusIs(StatusCode::kNotFound, "modprobe"));
}

TEST(KvmProbe, JudgesBySpeedNotByOpening) {
  const SelfTestTimes fast{.long_mode = 30'000}, slow{.long_mode = 300'000'000};
  EXPECT_TRUE(Judge("/dev/kvm", fast, 25'000, "AMD SVM").usable);
  const Verdict v = Judge("/dev/kvm", slow, 25'000, "");
  EXPECT_FALSE(v.usable);
  EXPECT_THAT(v.reason, testing::HasSubstr("at 1/12000 of this processor's speed"));
}

// On a busy host hardware looks slow for a while.
TEST(KvmProbe, TestsHardwareThatLooksSlowAgain) {
  const SelfTestTimes fast{.long_mode = 30'000}, slow{.long_mode = 300'000'000};
  std::deque<absl::StatusOr<SelfTestTimes>> results;
  const auto next = [&] {
    absl::StatusOr<SelfTestTimes> result = results.front();
    results.pop_front();
    return result;
  };
  results = {slow, absl::DeadlineExceededError("its test guest did not get past x"), fast};
  const Verdict late = JudgeByTests("/dev/kvm", 25'000, "AMD SVM", next);
  EXPECT_TRUE(late.usable);
  EXPECT_EQ(late.reason, "AMD SVM");
  EXPECT_TRUE(results.empty());

  results = {slow, slow, slow, fast};
  EXPECT_FALSE(JudgeByTests("/dev/kvm", 25'000, "AMD SVM", next).usable);
  EXPECT_EQ(results.size(), 1u);

  // Without hardware once says it, and an error stays one.
  results = {slow, fast};
  EXPECT_FALSE(JudgeByTests("/dev/kvm", 25'000, "", next).usable);
  EXPECT_EQ(results.size(), 1u);
  results = {absl::InternalError("broken"), fast};
  EXPECT_EQ(JudgeByTests("/dev/kvm", 25'000, "AMD SVM", next).reason, "/dev/kvm: broken");
  EXPECT_EQ(results.size(), 1u);
}

TEST_P(KvmTest, ASelfTestThatTakesTooLongIsStopped) {
  EXPECT_THAT(RunSelfTest(GetParam(), 1),
              StatusIs(StatusCode::kDeadlineExceeded, "did not get past"));
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(KvmTest);
INSTANTIATE_TEST_SUITE_P(, KvmTest, testing::ValuesIn(Devices()), [](const auto& info) {
  return info.param.substr(info.param.rfind('/') + 1);
});

}  // namespace
}  // namespace atl::cpu::kvm
