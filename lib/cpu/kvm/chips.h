// SPDX-License-Identifier: Apache-2.0
// The kernel's 8259s, IOAPIC and 8254 (KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2).
#ifndef LIB_CPU_KVM_CHIPS_H_
#define LIB_CPU_KVM_CHIPS_H_

#include <linux/kvm.h>

#include <array>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/mutex.h"
#include "lib/cpu/chips.h"

namespace atl::cpu::kvm {

class KvmChips final : public InterruptChips {
 public:
  // `device` and `vm` are KVM's descriptors, of which `vm` outlives this object.
  // Before the VM's first vCPU; Unimplemented where the kernel has none.
  static absl::StatusOr<std::unique_ptr<KvmChips>> Create(int device, int vm);

  void SetLine(unsigned line, bool high) override;
  void SetLevelTriggered(unsigned irq) override;
  void ReplaceTimer(bool replaced) override;
  absl::Status Reset() override;

 private:
  explicit KvmChips(int vm) : vm_(vm) {}

  const int vm_;
  Mutex mu_;  // for what is read, changed and written back
  // As the kernel made them.
  std::array<kvm_irqchip, KVM_NR_IRQCHIPS> chips_{};
  kvm_pit_state2 timer_{};
};

}  // namespace atl::cpu::kvm

#endif  // LIB_CPU_KVM_CHIPS_H_
