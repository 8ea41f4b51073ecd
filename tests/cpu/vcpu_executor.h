// SPDX-License-Identifier: Apache-2.0
// Cases on a vCPU of any backend (lib/cpu/backend.h): a guest kernel enters the case in
// user mode with its registers, saves them when an exception ends it, and tells by a port.
#ifndef TESTS_CPU_VCPU_EXECUTOR_H_
#define TESTS_CPU_VCPU_EXECUTOR_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/cpu/backend.h"
#include "tests/cpu/machine_state.h"

namespace atl::cpu::test {

class VcpuExecutor : public Executor {
 public:
  // Why the last case did not end as it should; empty where it did.
  virtual const std::string& trouble() const = 0;
};

absl::StatusOr<std::unique_ptr<VcpuExecutor>> CreateVcpuExecutor(const Backend& backend,
                                                                 const BackendOptions& options);

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_VCPU_EXECUTOR_H_
