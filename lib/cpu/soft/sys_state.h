// SPDX-License-Identifier: Apache-2.0
// What of CpuState derives from the rest, and the TSC.
#ifndef LIB_CPU_SOFT_SYS_STATE_H_
#define LIB_CPU_SOFT_SYS_STATE_H_

#include "lib/cpu/soft/model.h"
#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {

// The TSC's rate: NowNs() times this, so that the LAPIC's TSC-deadline timer,
// CPUID 0x15 and 0x40000010 and kvmclock agree.
inline constexpr uint64_t kTscHz = 1000000000;

// CR4's bits that a guest can set, and CR0's that there are.
uint64_t OfferedCr4(CpuModel model);
inline constexpr uint64_t kCr0Defined = kCr0Pe | kCr0Mp | kCr0Em | kCr0Ts | kCr0Et | kCr0Ne |
                                        kCr0Wp | kCr0Am | kCr0Nw | kCr0Cd | kCr0Pg;
// Of DR6 and DR7 those that can be written, and those that read as set.
inline constexpr uint64_t kDr6Writable = 0xE00F, kDr7Writable = 0xFFFF23FF;
inline constexpr uint64_t kDr6Fixed = 0xFFFF0FF0, kDr7Fixed = 0x400;

// The value RDTSC would give now.
uint64_t ReadTsc(const SoftVcpu& c);

// CS, or the mode that its D and L bits count in, changed: code_size.
inline void CodeSegmentChanged(CpuState& s) {
  const uint16_t a = s.seg[kCs].attributes;
  if (s.long_mode && (a & 0x2000) != 0 && !s.v8086) {
    s.code_size = CodeSize::k64;
  } else {
    s.code_size = (a & 0x4000) != 0 && !s.v8086 ? CodeSize::k32 : CodeSize::k16;
  }
}

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_SYS_STATE_H_
