// SPDX-License-Identifier: Apache-2.0
// Where random programs (random_program.h) and the machine that runs them
// (random_machine.h) have things: linear addresses, two address spaces alike but
// for what is said here. Code and data lie where machine_state.h has them.
#ifndef TESTS_CPU_RANDOM_LAYOUT_H_
#define TESTS_CPU_RANDOM_LAYOUT_H_

#include <cstdint>

#include "tests/cpu/machine_state.h"

namespace atl::cpu::test {

// Code: writable for its own program unless it is to run on the host too.
inline constexpr uint64_t kProgramPages = 4, kProgramBytes = kProgramPages * kPage;
// The same bytes once more, for stores to code by another address.
inline constexpr uint64_t kAliasAt = 0x40010000;
// kDataAt: the second address space has the two writable pages exchanged.
// What programs rest on: loop counters, then tables of jump targets.
inline constexpr uint64_t kExtraAt = 0x40120000, kTablesAt = kExtraAt + 0x800;
// Two pages; the stack pointer starts a little above their border.
inline constexpr uint64_t kStackAt = 0x40128000, kStackStart = kStackAt + kPage + 0x48;
// Pages that the page fault handler maps when they are touched.
inline constexpr uint64_t kDemandAt = 0x40130000, kDemandPages = 4;
// Data pages that kernel programs map anew among kRemapFrames frames.
inline constexpr uint64_t kRemapAt = 0x40140000, kRemapPages = 2, kRemapFrames = 4;
// One page of functions, mapped anew likewise, each frame with other ones:
// kRemapFunctions of them, kRemapFunctionBytes apart.
inline constexpr uint64_t kRemapCodeAt = 0x40150000, kRemapFunctions = 4, kRemapFunctionBytes = 64;
// The page tables of 0x40000000 to 0x40200000 of the first and the second
// address space, for the kernel's stores.
inline constexpr uint64_t kTableWindowAt = 0x40160000;

// The kernel, nowhere that random addresses go: 2 MiB of physical memory from 0.
inline constexpr uint64_t kKernelAt = 0x123400000000;

// Physical addresses of what programs name.
inline constexpr uint64_t kRemapFrameAt = 0xA0000, kRemapCodeFrameAt = 0xB0000;
inline constexpr uint64_t kCr3[2] = {0x10000, 0x18000};

inline constexpr unsigned kInterruptVector = 0x40, kCallVector = 0x80;

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_RANDOM_LAYOUT_H_
