// SPDX-License-Identifier: Apache-2.0
// What of a vCPU's state is the kernel's, beside the general and the system
// registers, which vcpu.cc reads and writes itself.
#ifndef LIB_CPU_KVM_SNAPSHOT_H_
#define LIB_CPU_KVM_SNAPSHOT_H_

#include "absl/status/status.h"
#include "lib/cpu/kvm/vm.h"
#include "lib/cpu/saved.h"

namespace atl::cpu::kvm {

// `vcpu` is KVM's fd of one. The kernel checks what it is given; what of a state
// would be lost is refused by name.
absl::Status SaveFromKernel(const KvmVm& vm, int vcpu, SavedVcpu* out);
// After power-on, with the general and system registers loaded.
absl::Status LoadIntoKernel(const KvmVm& vm, int vcpu, const SavedVcpu& in, StatePart part);

}  // namespace atl::cpu::kvm

#endif  // LIB_CPU_KVM_SNAPSHOT_H_
