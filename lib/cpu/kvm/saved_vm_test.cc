// SPDX-License-Identifier: Apache-2.0
// What of a saved VM is the kernel's own: kvmclock, and interrupt controllers and
// timer where it has them. Where no node of KVM's may be opened, or the processor has
// no VT-x or SVM, these tests do not exist.
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/base/unique_fd.h"
#include "lib/cpu/kvm/self_test.h"
#include "lib/cpu/kvm/vm.h"
#include "lib/cpu/saved.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::kvm {
namespace {

using absl::StatusCode;

std::vector<std::string> Devices() {
  std::vector<std::string> out;
  if (VirtualizationHardware().empty()) return out;
  for (const char* device : {"/dev/kvm", "/dev/atoll"}) {
    if (access(device, R_OK | W_OK) == 0) out.push_back(device);
  }
  return out;
}

class SavedVmTest : public testing::TestWithParam<std::string> {
 protected:
  struct Made {
    std::unique_ptr<GuestMemory> memory;
    std::unique_ptr<KvmVm> vm;
  };
  static Made Make(bool chips) {
    Made out;
    out.memory = *GuestMemory::Create(1 << 20);
    auto vm = KvmVm::Create(GetParam(), *out.memory);
    EXPECT_OK(vm.status());
    out.vm = *std::move(vm);
    if (!chips) return out;
    EXPECT_EQ(ioctl(out.vm->fd(), KVM_CREATE_IRQCHIP, 0), 0);
    kvm_pit_config pit{};
    EXPECT_EQ(ioctl(out.vm->fd(), KVM_CREATE_PIT2, &pit), 0);
    return out;
  }
};

TEST_P(SavedVmTest, KvmclockGoesOnWhereItWas) {
  const Made first = Make(false);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  SavedVm saved;
  ASSERT_OK(first.vm->Save(&saved));
  ASSERT_TRUE(saved.has_clock);
  EXPECT_GT(saved.clock_ns, 300'000'000u);
  const Made second = Make(false);
  ASSERT_OK(second.vm->Load(saved));
  SavedVm later;
  ASSERT_OK(second.vm->Save(&later));
  // What a new VM's clock has is less than that.
  EXPECT_GE(later.clock_ns, saved.clock_ns);
  EXPECT_LT(later.clock_ns - saved.clock_ns, 200'000'000u);
}

TEST_P(SavedVmTest, InterruptControllersAndTimer) {
  const Made first = Make(true);
  kvm_irqchip chip{};
  chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
  ASSERT_EQ(ioctl(first.vm->fd(), KVM_GET_IRQCHIP, &chip), 0);
  chip.chip.pic.irq_base = 0x70;
  chip.chip.pic.imr = 0xA5;
  ASSERT_EQ(ioctl(first.vm->fd(), KVM_SET_IRQCHIP, &chip), 0);
  chip.chip_id = KVM_IRQCHIP_IOAPIC;
  ASSERT_EQ(ioctl(first.vm->fd(), KVM_GET_IRQCHIP, &chip), 0);
  chip.chip.ioapic.redirtbl[7].bits = 0x0100000000010031;
  ASSERT_EQ(ioctl(first.vm->fd(), KVM_SET_IRQCHIP, &chip), 0);
  kvm_pit_state2 pit{};
  ASSERT_EQ(ioctl(first.vm->fd(), KVM_GET_PIT2, &pit), 0);
  pit.channels[2].count = 0x1234;
  pit.channels[2].mode = 3;
  ASSERT_EQ(ioctl(first.vm->fd(), KVM_SET_PIT2, &pit), 0);
  SavedVm saved;
  ASSERT_OK(first.vm->Save(&saved));

  const Made second = Make(true);
  ASSERT_OK(second.vm->Load(saved));
  chip = {};
  chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
  ASSERT_EQ(ioctl(second.vm->fd(), KVM_GET_IRQCHIP, &chip), 0);
  EXPECT_EQ(chip.chip.pic.irq_base, 0x70);
  EXPECT_EQ(chip.chip.pic.imr, 0xA5);
  chip.chip_id = KVM_IRQCHIP_IOAPIC;
  ASSERT_EQ(ioctl(second.vm->fd(), KVM_GET_IRQCHIP, &chip), 0);
  EXPECT_EQ(chip.chip.ioapic.redirtbl[7].bits, 0x0100000000010031u);
  pit = {};
  ASSERT_EQ(ioctl(second.vm->fd(), KVM_GET_PIT2, &pit), 0);
  EXPECT_EQ(pit.channels[2].count, 0x1234u);
  EXPECT_EQ(pit.channels[2].mode, 3);

  // Not into a machine that has its own, nor the other way.
  const Made devices = Make(false);
  EXPECT_THAT(devices.vm->Load(saved),
              StatusIs(StatusCode::kInvalidArgument, "pic: 16 bytes, not 0"));
  SavedVm none;
  ASSERT_OK(devices.vm->Save(&none));
  EXPECT_THAT(second.vm->Load(none),
              StatusIs(StatusCode::kInvalidArgument, "pic: 0 bytes, not 16"));
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SavedVmTest);
INSTANTIATE_TEST_SUITE_P(, SavedVmTest, testing::ValuesIn(Devices()), [](const auto& info) {
  return info.param.substr(info.param.rfind('/') + 1);
});

}  // namespace
}  // namespace atl::cpu::kvm
