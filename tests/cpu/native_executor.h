// SPDX-License-Identifier: Apache-2.0
// The host's processor, in this process: a signal's return loads the case's
// registers, the signal of the exception that ends it gives them back.
#ifndef TESTS_CPU_NATIVE_EXECUTOR_H_
#define TESTS_CPU_NATIVE_EXECUTOR_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/cpu/machine_state.h"

namespace atl::cpu::test {

// One at a time in a process, used from one thread.
absl::StatusOr<std::unique_ptr<Executor>> CreateNativeExecutor();

// The base of FS while native code runs: the C library's, which no case may change.
uint64_t NativeFsBase();

// Ranges of addresses that belong to this process and not to the cases, ordered:
// a sanitizer's shadow begins at 2 GiB. What a case does there cannot be compared.
using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;
absl::StatusOr<Ranges> ForeignMappings();

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_NATIVE_EXECUTOR_H_
