// SPDX-License-Identifier: Apache-2.0
// The software CPU under test: a guest in 64-bit user mode whose page tables put
// the case's pages where the native executor has them, and whose exception
// handlers halt.
#ifndef TESTS_CPU_SOFT_EXECUTOR_H_
#define TESTS_CPU_SOFT_EXECUTOR_H_

#include <memory>

#include "absl/status/statusor.h"
#include "tests/cpu/machine_state.h"

namespace atl::cpu::test {

absl::StatusOr<std::unique_ptr<Executor>> CreateSoftExecutor();

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_SOFT_EXECUTOR_H_
