// SPDX-License-Identifier: Apache-2.0
// What the human monitor shows of CPUs and memory.
#ifndef LIB_QMP_HMP_MEMORY_H_
#define LIB_QMP_HMP_MEMORY_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/vm/control.h"

namespace atl::qmp {

std::string DescribeRegisters(const vm::VcpuState& state, unsigned index);

// "x" and "xp": `format` is what stands behind the slash ("10xw": count, one of
// x d u o c, one of b h w g; empty: as the last one would be, 1xw), `address` an
// expression of numbers and $registers with + and -.
absl::StatusOr<std::string> DumpMemory(vm::MachineControl& machine, unsigned cpu, bool physical,
                                       absl::string_view format, absl::string_view address);

// The linear addresses that are mapped, runs of one kind of access a line.
absl::StatusOr<std::string> DescribeMappings(vm::MachineControl& machine, unsigned cpu);

}  // namespace atl::qmp

#endif  // LIB_QMP_HMP_MEMORY_H_
