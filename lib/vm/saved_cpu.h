// SPDX-License-Identifier: Apache-2.0
// lib/cpu/saved.h's values as bytes, in the form of the devices' states
// (lib/dev/state.h): each field by its name, loading refuses with an error that
// names one. What the fields may hold is for the backend to judge that loads them;
// here sizes and counts are bounded.
#ifndef LIB_VM_SAVED_CPU_H_
#define LIB_VM_SAVED_CPU_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/cpu/saved.h"

namespace atl::vm {

std::vector<uint8_t> ToBytes(const cpu::SavedVcpu& state);
absl::StatusOr<cpu::SavedVcpu> SavedVcpuFromBytes(std::span<const uint8_t> bytes);

std::vector<uint8_t> ToBytes(const cpu::SavedVm& state);
absl::StatusOr<cpu::SavedVm> SavedVmFromBytes(std::span<const uint8_t> bytes);

}  // namespace atl::vm

#endif  // LIB_VM_SAVED_CPU_H_
