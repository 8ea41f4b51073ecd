// SPDX-License-Identifier: Apache-2.0
// MSRs that KVM itself would answer although CPUID, as FilterCpuid() leaves it, has no
// word of what they belong to. A guest's access to one is a #GP, as on a processor
// without them and as on the software CPU, by way of VcpuBus, which counts it.
//
// What KVM does not know either comes to VcpuBus as well (and is a #GP, but for the
// LAPIC's): nothing is silently 0. That is what QEMU's guests get, too, where the
// host does not say kvm.ignore_msrs=1.
#ifndef LIB_CPU_KVM_MSR_FILTER_H_
#define LIB_CPU_KVM_MSR_FILTER_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace atl::cpu::kvm {

struct RefusedMsrs {
  uint32_t first = 0;
  uint32_t count = 0;
};
// Sorted.
std::span<const RefusedMsrs> GetRefusedMsrs();

// Has KVM come back for unknown and refused MSRs, before the first vCPU is made.
// Where the module cannot, its own answers stay. `device`: the node.
absl::Status SetMsrFilter(int device, int vm);
// And for its own, paravirtual ones by what the vCPU's CPUID offers of them.
void EnforceParavirtCpuid(int vm, int vcpu);

}  // namespace atl::cpu::kvm

#endif  // LIB_CPU_KVM_MSR_FILTER_H_
