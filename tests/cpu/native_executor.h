// SPDX-License-Identifier: Apache-2.0
// The host's processor, in this process: a signal's return loads the case's
// registers, the signal of the exception that ends it gives them back.
#ifndef TESTS_CPU_NATIVE_EXECUTOR_H_
#define TESTS_CPU_NATIVE_EXECUTOR_H_

#include <memory>

#include "absl/status/statusor.h"
#include "tests/cpu/machine_state.h"

namespace atl::cpu::test {

// One at a time in a process, used from one thread.
absl::StatusOr<std::unique_ptr<Executor>> CreateNativeExecutor();

// The base of FS while native code runs: the C library's, which no case may change.
uint64_t NativeFsBase();

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_NATIVE_EXECUTOR_H_
