// SPDX-License-Identifier: Apache-2.0
// Small guests that must end alike on every processor, as one runs them on any backend.
#ifndef TESTS_CPU_GUEST_PROGRAMS_H_
#define TESTS_CPU_GUEST_PROGRAMS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/cpu/backend.h"

namespace atl::cpu::test {

struct GuestProgram {
  absl::string_view name;
  absl::string_view what;
  uint64_t entry;  // its linear address
};
std::span<const GuestProgram> GuestPrograms();

// Where the log of exceptions is (guest_programs.S).
inline constexpr uint64_t kGuestLogAt = 0xA000;

// Where what a guest sees on an emulated host's processor is not what a processor does.
struct KnownDefect {
  absl::string_view program;
  absl::string_view lab;   // the environment's LAB: "svm" or "vmx"; "": everywhere
  absl::string_view node;  // under this one only; "": under all
  absl::string_view reason;
};
std::span<const KnownDefect> KnownDefects();

// What can be told afterwards.
struct GuestResult {
  std::string trouble;  // empty where it ended by itself
  Regs regs;
  SystemRegs system;
  std::vector<uint8_t> memory;
  std::vector<std::string> accesses;  // to ports and devices, as "out8 80 21"
};

absl::StatusOr<GuestResult> RunGuest(const GuestProgram& program, const Backend& backend,
                                     const BackendOptions& options);

// Empty where they agree; else what differs, a line each.
std::string Difference(const GuestResult& expected, const GuestResult& got);

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_GUEST_PROGRAMS_H_
