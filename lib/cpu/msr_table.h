// SPDX-License-Identifier: Apache-2.0
// The model-specific registers that backends know of a guest's processor, once: what
// of them is state to save, in the order in which it is loaded, and their values
// after power-on. What soft does when one is written is in lib/cpu/soft/msr.cc.
#ifndef LIB_CPU_MSR_TABLE_H_
#define LIB_CPU_MSR_TABLE_H_

#include <cstdint>
#include <span>

#include "absl/strings/string_view.h"

namespace atl::cpu {

enum class MsrKind : uint8_t {
  kRegister,   // saved, the same on every backend
  kTime,       // saved, and meant for the same clock only: kvmclock and its like
  kLapic,      // saved with the VM's own LAPIC, loaded after it
  kElsewhere,  // in another field of SavedVcpu
  kNone,       // no state of a guest of ours: `why`
};

struct MsrInfo {
  uint32_t first = 0, last = 0;  // the numbers that one entry serves
  absl::string_view name;
  MsrKind kind = MsrKind::kNone;
  absl::string_view why = "";  // of kElsewhere and kNone
  uint64_t reset = 0;          // after power-on
  // KVM: written at a reset, since the kernel keeps it.
  bool power_on = false;
};

// Sorted by number. None overlap.
std::span<const MsrInfo> MsrInfos();
// The entry that has `msr`, or null.
const MsrInfo* FindMsr(uint32_t msr);

}  // namespace atl::cpu

#endif  // LIB_CPU_MSR_TABLE_H_
