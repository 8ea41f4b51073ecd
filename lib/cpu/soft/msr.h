// SPDX-License-Identifier: Apache-2.0
// Model-specific registers: one table of numbers, names and rules. What is not
// in it raises #GP(0).
#ifndef LIB_CPU_SOFT_MSR_H_
#define LIB_CPU_SOFT_MSR_H_

#include <cstdint>
#include <span>

#include "absl/strings/string_view.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {

struct MsrEntry {
  uint32_t first = 0, last = 0;  // numbers that one entry serves
  absl::string_view name;
  // False: #GP(0). Null: no such access.
  bool (*read)(SoftVcpu& c, uint32_t msr, uint64_t* value) = nullptr;
  bool (*write)(SoftVcpu& c, uint32_t msr, uint64_t value) = nullptr;
};

// Sorted by number.
std::span<const MsrEntry> MsrTable();

// RDMSR and WRMSR, without the check of CPL. False: #GP(0).
bool ReadMsr(SoftVcpu& c, uint32_t msr, uint64_t* value);
bool WriteMsr(SoftVcpu& c, uint32_t msr, uint64_t value);

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_MSR_H_
