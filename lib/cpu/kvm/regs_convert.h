// SPDX-License-Identifier: Apache-2.0
// Between the project's register files and KVM's.
#ifndef LIB_CPU_KVM_REGS_CONVERT_H_
#define LIB_CPU_KVM_REGS_CONVERT_H_

#include <linux/kvm.h>

#include "lib/cpu/regs.h"

namespace atl::cpu::kvm {

Regs FromKvm(const kvm_regs& in);
kvm_regs ToKvm(const Regs& in);
SystemRegs FromKvm(const kvm_sregs& in);
kvm_sregs ToKvm(const SystemRegs& in);

// The register file after power-on (Intel SDM vol. 3, 10.1.1): real mode at
// 0xFFFFFFF0. `bsp`: the bootstrap processor, as its APIC base tells.
SystemRegs PowerOnSystemRegs(bool bsp);
Regs PowerOnRegs();

}  // namespace atl::cpu::kvm

#endif  // LIB_CPU_KVM_REGS_CONVERT_H_
