// SPDX-License-Identifier: Apache-2.0
// Kinds of memory access, shared by the MMU and the page walker.
#ifndef LIB_CPU_SOFT_RIGHTS_H_
#define LIB_CPU_SOFT_RIGHTS_H_

#include <cstdint>

namespace atl::cpu::soft {

enum class Access : uint8_t { kRead, kWrite, kExecute };
// Whose rights an access has: the current CPL's, or the processor's own
// accesses to descriptor tables, TSS and kernel stacks of an inter-privilege
// transfer, which are always supervisor (and never SMAP-checked as explicit).
enum class Rights : uint8_t { kSupervisor, kUser, kImplicitSupervisor };

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_RIGHTS_H_
