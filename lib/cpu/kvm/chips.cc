// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/kvm/chips.h"

#include <errno.h>
#include <sys/ioctl.h>

#include <cstdint>

#include "lib/base/status_macros.h"

namespace atl::cpu::kvm {
namespace {

constexpr int kNeeded[] = {KVM_CAP_IRQCHIP, KVM_CAP_PIT2, KVM_CAP_PIT_STATE2, KVM_CAP_IRQ_ROUTING,
                           KVM_CAP_SIGNAL_MSI};

}  // namespace

absl::StatusOr<std::unique_ptr<KvmChips>> KvmChips::Create(int device, int vm) {
  for (const int capability : kNeeded) {
    if (ioctl(device, KVM_CHECK_EXTENSION, capability) <= 0) {
      return absl::UnimplementedError(
          "its kernel has no interrupt controllers for kernel-irqchip=on");
    }
  }
  if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) != 0) return ErrnoError(errno, "KVM_CREATE_IRQCHIP");
  kvm_pit_config config{};
  config.flags = KVM_PIT_SPEAKER_DUMMY;  // port 0x61 is the kernel's too
  if (ioctl(vm, KVM_CREATE_PIT2, &config) != 0) return ErrnoError(errno, "KVM_CREATE_PIT2");
  std::unique_ptr<KvmChips> out(new KvmChips(vm));
  for (uint32_t i = 0; i < out->chips_.size(); ++i) {
    out->chips_[i].chip_id = i;
    if (ioctl(vm, KVM_GET_IRQCHIP, &out->chips_[i]) != 0) {
      return ErrnoError(errno, "KVM_GET_IRQCHIP");
    }
  }
  if (ioctl(vm, KVM_GET_PIT2, &out->timer_) != 0) return ErrnoError(errno, "KVM_GET_PIT2");
  return out;
}

void KvmChips::SetLine(unsigned line, bool high) {
  kvm_irq_level level{};
  level.irq = line;
  level.level = high;
  // A line that goes nowhere is no error on a PC's board either.
  (void)ioctl(vm_, KVM_IRQ_LINE, &level);
}

void KvmChips::SetLevelTriggered(unsigned irq) {
  MutexLock lock(&mu_);
  kvm_irqchip chip{};
  chip.chip_id = irq < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
  if (ioctl(vm_, KVM_GET_IRQCHIP, &chip) != 0) return;
  chip.chip.pic.elcr |= static_cast<uint8_t>(1u << (irq & 7));
  (void)ioctl(vm_, KVM_SET_IRQCHIP, &chip);
}

void KvmChips::ReplaceTimer(bool replaced) {
  MutexLock lock(&mu_);
  kvm_pit_state2 timer{};
  if (ioctl(vm_, KVM_GET_PIT2, &timer) != 0) return;
  const uint32_t flags = (timer.flags & ~uint32_t{KVM_PIT_FLAGS_HPET_LEGACY}) |
                         (replaced ? KVM_PIT_FLAGS_HPET_LEGACY : 0);
  if (timer.flags == flags) return;
  timer.flags = flags;
  (void)ioctl(vm_, KVM_SET_PIT2, &timer);
}

absl::Status KvmChips::Reset() {
  MutexLock lock(&mu_);
  for (kvm_irqchip chip : chips_) {
    if (ioctl(vm_, KVM_SET_IRQCHIP, &chip) != 0) return ErrnoError(errno, "KVM_SET_IRQCHIP");
  }
  kvm_pit_state2 timer = timer_;
  if (ioctl(vm_, KVM_SET_PIT2, &timer) != 0) return ErrnoError(errno, "KVM_SET_PIT2");
  return absl::OkStatus();
}

}  // namespace atl::cpu::kvm
