// SPDX-License-Identifier: Apache-2.0
// Floating point whose exceptions the guest may take: native_simd.cc.
#ifndef LIB_CPU_SOFT_NATIVE_UNMASKED_H_
#define LIB_CPU_SOFT_NATIVE_UNMASKED_H_

#include "lib/cpu/soft/native_thunk.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {

struct ThunkOperands {
  void* a;
  const void *b, *c, *d;
};

// Runs a thunk of floating point and sets the flags of MXCSR. `p.a` is a copy of
// the destination, `spare` another of the same; the first and the frame hold the
// result afterwards. False: #XM or #UD is in SoftVcpu::fault, drop the result.
bool RunUnmasked(SoftVcpu& c, const Thunk& t, const ThunkOperands& p, void* spare,
                 ThunkFrame& frame);

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_NATIVE_UNMASKED_H_
