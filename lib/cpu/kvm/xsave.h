// SPDX-License-Identifier: Apache-2.0
// A vCPU's x87, SSE, AVX and further state, as one area in XSAVE's standard form
// (Intel SDM vol. 1, 13.4): 4 KiB, or more where the VM has components that
// do not fit (KVM_CAP_XSAVE2). Only where KVM has it (KVM_CAP_XSAVE).
#ifndef LIB_CPU_KVM_XSAVE_H_
#define LIB_CPU_KVM_XSAVE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace atl::cpu::kvm {

// Bytes of the area of vCPUs of this VM; 0 where KVM has but KVM_GET_FPU.
size_t XsaveBytes(int vm);
// `bytes` from XsaveBytes().
absl::StatusOr<std::vector<uint8_t>> GetXsave(int vcpu, size_t bytes);
// An area of the same size. InvalidArgument where KVM does not take it: components
// that the processor lacks.
absl::Status SetXsave(int vcpu, std::span<const uint8_t> area);
// As after power-on, all components. `bytes` may be 0.
absl::Status ResetXsave(int vcpu, size_t bytes);

}  // namespace atl::cpu::kvm

#endif  // LIB_CPU_KVM_XSAVE_H_
