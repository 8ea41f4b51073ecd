// SPDX-License-Identifier: Apache-2.0
// Which backend runs the guest, and why not the others.
#ifndef LIB_VM_ACCEL_H_
#define LIB_VM_ACCEL_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/cpu/backend.h"
#include "lib/vm/config.h"

namespace atl::vm {

struct BackendVerdict {
  const cpu::Backend* backend = nullptr;
  cpu::Verdict verdict;
};

struct Selection {
  const cpu::Backend* backend = nullptr;
  cpu::BackendOptions options;
  // In the order of trying; the last one is `backend`'s.
  std::vector<BackendVerdict> verdicts;
};

// For "auto" the first backend whose self-test passes; for a name that one, or
// FailedPrecondition with its verdict. NotFound for no backend's name.
absl::StatusOr<Selection> SelectBackend(const MachineConfig& config);

// All verdicts, for --check.
std::vector<BackendVerdict> ProbeBackends(const MachineConfig& config);

}  // namespace atl::vm

#endif  // LIB_VM_ACCEL_H_
