// SPDX-License-Identifier: Apache-2.0
// Guests whose LAPIC is the kernel's. x2APIC mode, since its MSRs can be reached from
// real mode. Where no node offers that, these tests do not exist.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/eventfds.h"
#include "lib/cpu/kvm/vm.h"
#include "lib/host/event.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::kvm {
namespace {

using testing::ElementsAre;

std::vector<std::string> Devices() {
  std::vector<std::string> out;
  for (const char* device : {"/dev/kvm", "/dev/atoll"}) {
    const UniqueFd fd(open(device, O_RDWR | O_CLOEXEC));
    if (fd.valid() && ioctl(fd.get(), KVM_CHECK_EXTENSION, KVM_CAP_SPLIT_IRQCHIP) > 0) {
      out.push_back(device);
    }
  }
  return out;
}

class FakeBus : public VcpuBus {
 public:
  uint32_t PortIn(uint16_t, unsigned) override { return 0; }
  void PortOut(uint16_t, unsigned, uint32_t value) override {
    outs.push_back(value);
    if (on_out) on_out(value);
  }
  uint64_t MmioRead(Gpa, unsigned) override { return ~uint64_t{0}; }
  void MmioWrite(Gpa at, unsigned size, uint64_t value) override {
    writes.push_back({at.value, size, value});
  }
  int AcknowledgeInterrupt(unsigned) override { return vector.exchange(-1); }
  bool InterruptPending(unsigned) override { return vector.load() >= 0; }
  uint64_t ReadCr8(unsigned) override { return 0; }
  void WriteCr8(unsigned, uint64_t) override {}
  bool ReadApicMsr(unsigned, uint32_t, uint64_t*) override { return false; }
  bool WriteApicMsr(unsigned, uint32_t, uint64_t) override { return false; }
  void EndOfInterrupt(uint8_t ended) override { ends.push_back(ended); }
  uint64_t NowNs() override { return 0; }

  std::vector<uint32_t> outs;
  std::vector<std::array<uint64_t, 3>> writes;  // address, size, value
  std::vector<int> ends;
  std::function<void(uint32_t)> on_out;
  std::atomic<int> vector = -1;
};

// Enables the LAPIC in x2APIC mode, allows interrupts, says 1, halts, says 2, loops.
constexpr uint8_t kGuest[] = {
    0x66, 0xB9, 0x1B, 0,    0, 0,  // mov $0x1B, %ecx
    0x0F, 0x32,                    // rdmsr
    0x66, 0x0D, 0,    0x0C, 0, 0,  // or $0xC00, %eax
    0x0F, 0x30,                    // wrmsr
    0x66, 0xB9, 0x0F, 0x08, 0, 0,  // mov $0x80F, %ecx
    0x66, 0xB8, 0xFF, 0x01, 0, 0,  // mov $0x1FF, %eax
    0x66, 0x31, 0xD2,              // xor %edx, %edx
    0x0F, 0x30,                    // wrmsr
    0xB0, 0x01, 0xE6, 0x80,        // mov $1, %al; out %al, $0x80
    0xFB, 0xF4,                    // sti; hlt
    0xB0, 0x02, 0xE6, 0x80,        // mov $2, %al; out %al, $0x80
    0xEB, 0xFE,                    // jmp .
};
// Says 3, ends the interrupt.
constexpr uint8_t kHandler[] = {
    0xB0, 0x03, 0xE6, 0x80,              // mov $3, %al; out %al, $0x80
    0x66, 0xB9, 0x0B, 0x08, 0,    0,     // mov $0x80B, %ecx
    0x66, 0x31, 0xC0, 0x66, 0x31, 0xD2,  // xor %eax, %eax; xor %edx, %edx
    0x0F, 0x30,                          // wrmsr
    0xCF,                                // iret
};
// Writes a word and a byte to 0x100010, behind memory; says 2; loops.
constexpr uint8_t kWriter[] = {
    0xB8, 0xFF, 0xFF, 0x8E, 0xD8,        // mov $0xFFFF, %ax; mov %ax, %ds
    0xC7, 0x06, 0x20, 0x00, 0x34, 0x12,  // movw $0x1234, 0x20
    0xC6, 0x06, 0x20, 0x00, 0x56,        // movb $0x56, 0x20
    0xB0, 0x02, 0xE6, 0x80,              // mov $2, %al; out %al, $0x80
    0xEB, 0xFE,                          // jmp .
};
constexpr uint64_t kBehind = 0x100010;
constexpr uint8_t kVector = 0x31;
constexpr uint64_t kToFirst = 0xFEE00000;

class SplitTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(1 << 20));
    ASSERT_OK_AND_ASSIGN(vm_, KvmVm::Create(GetParam(), *memory_, true));
    ASSERT_TRUE(vm_->has_lapics());
    ASSERT_OK_AND_ASSIGN(vcpu_, vm_->CreateVcpu({.index = 0, .count = 1, .bus = &bus_}));
    Prepare();
    bus_.on_out = [this](uint32_t value) {
      if (value == 2) vcpu_->Kick();
      if (value == 1) halting_ = true;
    };
  }
  // The guest at its first instruction.
  void Prepare() {
    ASSERT_TRUE(memory_->Write(Gpa(0x1000), kGuest));
    ASSERT_TRUE(memory_->Write(Gpa(0x1100), kHandler));
    memory_->Store(Gpa(kVector * 4), uint32_t{0x1100});
    ASSERT_OK_AND_ASSIGN(SystemRegs system, vcpu_->GetSystemRegs());
    system.segment[kCs].selector = 0;
    system.segment[kCs].base = 0;
    ASSERT_OK(vcpu_->SetSystemRegs(system));
    Regs regs;
    regs.rip = 0x1000;
    regs.gpr[kRsp] = 0x800;
    ASSERT_OK(vcpu_->SetRegs(regs));
  }

  // The guest, which `wake` gets out of its halt.
  void Run(const std::function<void()>& wake) {
    std::thread other([&] {
      while (!halting_) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      wake();
    });
    const absl::StatusOr<Exit> exit = vcpu_->Run();
    other.join();
    ASSERT_OK(exit);
    EXPECT_EQ(exit->reason, ExitReason::kKicked) << exit->detail;
    EXPECT_THAT(bus_.outs, ElementsAre(1, 3, 2));
  }

  FakeBus bus_;
  std::unique_ptr<GuestMemory> memory_;
  std::unique_ptr<KvmVm> vm_;
  std::unique_ptr<Vcpu> vcpu_;
  std::atomic<bool> halting_ = false;
};

TEST_P(SplitTest, AMessageEndsAHaltInTheKernel) {
  Run([this] { vm_->SendInterrupt({kToFirst, kVector}); });
  EXPECT_THAT(bus_.ends, ElementsAre());
}

TEST_P(SplitTest, TheEndOfALevelInterruptIsTold) {
  std::array<InterruptMessage, Vm::kLevelMessages> pins{};
  pins[11] = {kToFirst, kVector | 3u << 14};
  vm_->SetLevelMessages(pins);
  Run([&] { vm_->SendInterrupt(pins[11]); });
  EXPECT_THAT(bus_.ends, ElementsAre(kVector));
}

TEST_P(SplitTest, TheFirstTakesThe8259s) {
  Run([this] {
    bus_.vector = kVector;
    vcpu_->SetInterruptLine(true);
  });
  EXPECT_EQ(bus_.vector, -1);
}

TEST_P(SplitTest, ResetIsTheLapicsToo) {
  Run([this] { vm_->SendInterrupt({kToFirst, kVector}); });
  EXPECT_EQ(*vcpu_->GetMsr(0x1B), 0xFEE00D00u);
  vcpu_->Reset();
  EXPECT_EQ(*vcpu_->GetMsr(0x1B), 0xFEE00900u);
}

class EventFdTest : public SplitTest {
 protected:
  void SetUp() override {
    SplitTest::SetUp();
    ASSERT_NE(vm_->eventfds(), nullptr);
    ASSERT_OK_AND_ASSIGN(host::Event event, host::Event::Create());
    event_.emplace(std::move(event));
  }
  std::unique_ptr<InterruptFd> NewInterrupt() {
    absl::StatusOr<std::unique_ptr<InterruptFd>> made = vm_->eventfds()->NewInterrupt(event_->fd());
    EXPECT_OK(made);
    return made.ok() ? *std::move(made) : nullptr;
  }
  std::vector<std::array<uint64_t, 3>> Write() {
    EXPECT_TRUE(memory_->Write(Gpa(0x1000), kWriter));
    bus_.writes.clear();
    Regs regs;
    regs.rip = 0x1000;
    EXPECT_OK(vcpu_->SetRegs(regs));
    const absl::StatusOr<Exit> exit = vcpu_->Run();
    EXPECT_OK(exit);
    EXPECT_EQ(exit->reason, ExitReason::kKicked) << exit->detail;
    return bus_.writes;
  }

  std::optional<host::Event> event_;
};

TEST_P(EventFdTest, SendsAnInterrupt) {
  const std::unique_ptr<InterruptFd> interrupt = NewInterrupt();
  ASSERT_OK(interrupt->Send({kToFirst, kVector}));
  Run([this] { event_->Signal(); });
}

TEST_P(EventFdTest, SendsWhatItIsToldLast) {
  const std::unique_ptr<InterruptFd> interrupt = NewInterrupt();
  ASSERT_OK(interrupt->Send({kToFirst, 0x77}));
  ASSERT_OK(interrupt->Send({kToFirst, kVector}));
  Run([this] { event_->Signal(); });
}

TEST_P(EventFdTest, KeepsWhatIsWrittenWhileItIsHeld) {
  const std::unique_ptr<InterruptFd> interrupt = NewInterrupt();
  ASSERT_OK(interrupt->Send({kToFirst, 0x77}));
  interrupt->Hold();
  event_->Signal();
  Run([&] { EXPECT_OK(interrupt->Send({kToFirst, kVector})); });
}

TEST_P(EventFdTest, IsInOneTableWithTheLevelMessages) {
  const std::unique_ptr<InterruptFd> interrupt = NewInterrupt();
  std::array<InterruptMessage, Vm::kLevelMessages> pins{};
  pins[11] = {kToFirst, kVector | 3u << 14};
  vm_->SetLevelMessages(pins);
  ASSERT_OK(interrupt->Send({kToFirst, 0x77}));
  interrupt->Hold();
  // Still level-triggered, and with the pins gone the eventfd's stays.
  Run([&] { vm_->SendInterrupt(pins[11]); });
  EXPECT_THAT(bus_.ends, ElementsAre(kVector));
  ASSERT_OK(interrupt->Send({kToFirst, kVector}));
  vm_->SetLevelMessages(std::array<InterruptMessage, Vm::kLevelMessages>{});
  vcpu_->Reset();
  bus_.outs.clear();
  halting_ = false;
  Prepare();
  Run([this] { event_->Signal(); });
}

TEST_P(EventFdTest, ThereIsABoundAndWhatGoesMakesRoom) {
  std::vector<std::unique_ptr<InterruptFd>> all;
  for (unsigned i = 0; i < EventFds::kMaxInterrupts; ++i) {
    all.push_back(NewInterrupt());
    ASSERT_NE(all.back(), nullptr);
  }
  // The last of the table works, too.
  ASSERT_OK(all.back()->Send({kToFirst, kVector}));
  EXPECT_THAT(vm_->eventfds()->NewInterrupt(event_->fd()).status(),
              StatusIs(absl::StatusCode::kResourceExhausted, "256"));
  all.erase(all.begin());
  EXPECT_NE(NewInterrupt(), nullptr);
  Run([this] { event_->Signal(); });
}

TEST_P(EventFdTest, TakesThePortsWritesThatFit) {
  const Doorbell bell{.port = true, .address = 0x80, .size = 1, .value = 3};
  ASSERT_OK(vm_->eventfds()->AddDoorbell(bell, event_->fd()));
  EXPECT_THAT(vm_->eventfds()->AddDoorbell(bell, event_->fd()),
              StatusIs(absl::StatusCode::kAlreadyExists, "port 0x80"));
  std::thread other([&] {
    while (!halting_) std::this_thread::yield();
    vm_->SendInterrupt({kToFirst, kVector});
  });
  ASSERT_OK(vcpu_->Run());
  other.join();
  EXPECT_THAT(bus_.outs, ElementsAre(1, 2));
  EXPECT_TRUE(event_->Clear());
}

TEST_P(EventFdTest, TakesWritesOfItsSizeUntilItGoes) {
  using Access = std::array<uint64_t, 3>;
  const Doorbell word{.address = kBehind, .size = 2};
  ASSERT_OK(vm_->eventfds()->AddDoorbell(word, event_->fd()));
  EXPECT_THAT(Write(), ElementsAre(Access{kBehind, 1, 0x56}));
  EXPECT_TRUE(event_->Clear());
  vm_->eventfds()->RemoveDoorbell(word, event_->fd());
  EXPECT_THAT(Write(), ElementsAre(Access{kBehind, 2, 0x1234}, Access{kBehind, 1, 0x56}));
  EXPECT_FALSE(event_->Clear());
  const Doorbell any{.address = kBehind};
  ASSERT_OK(vm_->eventfds()->AddDoorbell(any, event_->fd()));
  EXPECT_THAT(Write(), ElementsAre());
  EXPECT_TRUE(event_->Clear());
}

INSTANTIATE_TEST_SUITE_P(Nodes, EventFdTest, testing::ValuesIn(Devices()));
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EventFdTest);
INSTANTIATE_TEST_SUITE_P(Nodes, SplitTest, testing::ValuesIn(Devices()));
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SplitTest);

}  // namespace
}  // namespace atl::cpu::kvm
