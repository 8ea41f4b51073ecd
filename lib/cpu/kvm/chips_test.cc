// SPDX-License-Identifier: Apache-2.0
// Guests whose 8259s, IOAPIC and 8254 are the kernel's. Where no node offers that, these
// tests do not exist.
#include "lib/cpu/kvm/chips.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/base/unique_fd.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/kvm/vm.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::kvm {
namespace {

using testing::ElementsAre;

std::vector<std::string> Devices() {
  std::vector<std::string> out;
  for (const char* device : {"/dev/kvm", "/dev/atoll"}) {
    const UniqueFd fd(open(device, O_RDWR | O_CLOEXEC));
    if (fd.valid() && ioctl(fd.get(), KVM_CHECK_EXTENSION, KVM_CAP_IRQCHIP) > 0 &&
        ioctl(fd.get(), KVM_CHECK_EXTENSION, KVM_CAP_PIT_STATE2) > 0) {
      out.push_back(device);
    }
  }
  return out;
}

class FakeBus : public VcpuBus {
 public:
  uint32_t PortIn(uint16_t port, unsigned) override {
    ins.push_back(port);
    return 0;
  }
  void PortOut(uint16_t port, unsigned, uint32_t value) override {
    if (port != 0x80) return others.push_back(port);
    outs.push_back(value);
    if (on_out) on_out(value);
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

  std::vector<uint32_t> outs;
  std::vector<uint16_t> ins, others;  // what is the kernel's does not come here
  std::function<void(uint32_t)> on_out;
};

// The 8259 at vector 0x20, only `kMaskAt` open; the 8254 at 18 Hz; says 1, halts, says 2.
constexpr size_t kMaskAt = 17;
constexpr uint8_t kGuest[] = {
    0xB0, 0x11, 0xE6, 0x20,  // mov $0x11, %al; out %al, $0x20
    0xB0, 0x20, 0xE6, 0x21,  // mov $0x20, %al; out %al, $0x21
    0xB0, 0x04, 0xE6, 0x21,  // mov $4, %al; out %al, $0x21
    0xB0, 0x01, 0xE6, 0x21,  // mov $1, %al; out %al, $0x21
    0xB0, 0xFF, 0xE6, 0x21,  // mov $0xFF, %al; out %al, $0x21
    0xB0, 0x34, 0xE6, 0x43,  // mov $0x34, %al; out %al, $0x43
    0xB0, 0x00, 0xE6, 0x40,  // mov $0, %al; out %al, $0x40
    0xB0, 0x00, 0xE6, 0x40,  // mov $0, %al; out %al, $0x40
    0xE4, 0x61,              // in $0x61, %al
    0xB0, 0x01, 0xE6, 0x80,  // mov $1, %al; out %al, $0x80
    0xFB, 0xF4, 0xFA,        // sti; hlt; cli
    0xB0, 0x02, 0xE6, 0x80,  // mov $2, %al; out %al, $0x80
    0xEB, 0xFE,              // jmp .
};
// Says 3, ends the interrupt.
constexpr uint8_t kHandler[] = {
    0xB0, 0x03, 0xE6, 0x80,  // mov $3, %al; out %al, $0x80
    0xB0, 0x20, 0xE6, 0x20,  // mov $0x20, %al; out %al, $0x20
    0xCF,                    // iret
};

class ChipsTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(1 << 20));
    ASSERT_OK_AND_ASSIGN(vm_, KvmVm::Create(GetParam(), *memory_, true, true));
    ASSERT_TRUE(vm_->has_lapics());
    ASSERT_NE(vm_->chips(), nullptr);
    ASSERT_OK_AND_ASSIGN(vcpu_, vm_->CreateVcpu({.index = 0, .count = 1, .bus = &bus_}));
    ASSERT_TRUE(memory_->Write(Gpa(0x1000), kGuest));
    ASSERT_TRUE(memory_->Write(Gpa(0x1100), kHandler));
    ASSERT_OK_AND_ASSIGN(SystemRegs system, vcpu_->GetSystemRegs());
    system.segment[kCs].selector = 0;
    system.segment[kCs].base = 0;
    ASSERT_OK(vcpu_->SetSystemRegs(system));
    Regs regs;
    regs.rip = 0x1000;
    regs.gpr[kRsp] = 0x800;
    ASSERT_OK(vcpu_->SetRegs(regs));
  }

  // The guest with `irq` open, which `wake` gets out of its halt.
  void Run(unsigned irq, const std::function<void()>& wake) {
    memory_->Store(Gpa(0x1000 + kMaskAt), static_cast<uint8_t>(~(1u << irq)));
    memory_->Store(Gpa((0x20 + irq) * 4), uint32_t{0x1100});
    bus_.on_out = [&](uint32_t value) {
      if (value == 2) vcpu_->Kick();
      if (value == 1) halting_ = true;
    };
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
    EXPECT_THAT(bus_.ins, ElementsAre());
    EXPECT_THAT(bus_.others, ElementsAre());
  }
  kvm_irqchip Chip(uint32_t id) {
    kvm_irqchip chip{};
    chip.chip_id = id;
    EXPECT_EQ(ioctl(vm_->fd(), KVM_GET_IRQCHIP, &chip), 0);
    return chip;
  }

  FakeBus bus_;
  std::unique_ptr<GuestMemory> memory_;
  std::unique_ptr<KvmVm> vm_;
  std::unique_ptr<Vcpu> vcpu_;
  std::atomic<bool> halting_ = false;
};

TEST_P(ChipsTest, ALineEndsAHalt) {
  Run(4, [this] { vm_->chips()->SetLine(4, true); });
}

TEST_P(ChipsTest, TheTimerEndsAHalt) {
  Run(0, [] {});
}

TEST_P(ChipsTest, AReplacedTimerDoesNot) {
  vm_->chips()->ReplaceTimer(true);
  const auto begin = std::chrono::steady_clock::now();
  Run(0, [this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    vm_->chips()->SetLine(0, true);
  });
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(100));
}

TEST_P(ChipsTest, ResetIsTheirsToo) {
  std::array<kvm_irqchip, 3> before;
  for (uint32_t i = 0; i < before.size(); ++i) before[i] = Chip(i);
  vm_->chips()->SetLevelTriggered(11);
  EXPECT_EQ(Chip(KVM_IRQCHIP_PIC_SLAVE).chip.pic.elcr, 1 << 3);
  Run(4, [this] {
    vm_->chips()->SetLine(4, true);
    vm_->chips()->SetLine(4, false);
  });
  EXPECT_EQ(Chip(KVM_IRQCHIP_PIC_MASTER).chip.pic.irq_base, 0x20);
  ASSERT_OK(vm_->chips()->Reset());
  for (uint32_t i = 0; i < before.size(); ++i) {
    const kvm_irqchip after = Chip(i);
    EXPECT_EQ(std::memcmp(&before[i], &after, sizeof after), 0) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Nodes, ChipsTest, testing::ValuesIn(Devices()));
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ChipsTest);

}  // namespace
}  // namespace atl::cpu::kvm
