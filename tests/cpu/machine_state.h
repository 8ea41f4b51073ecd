// SPDX-License-Identifier: Apache-2.0
// What the differential tester starts a processor with and compares afterwards:
// user mode's registers and a few pages of memory at fixed linear addresses.
#ifndef TESTS_CPU_MACHINE_STATE_H_
#define TESTS_CPU_MACHINE_STATE_H_

#include <array>
#include <cstdint>
#include <vector>

namespace atl::cpu::test {

inline constexpr uint64_t kPage = 4096;
// Two pages of code: what a case does not fill is INT3, which ends it.
inline constexpr uint64_t kCodeAt = 0x40000000, kCodeBytes = 2 * kPage;
// Data: two writable pages and a read-only one, never executable, with nothing
// mapped before and behind.
inline constexpr uint64_t kDataAt = 0x40100000, kDataBytes = 3 * kPage,
                          kReadOnlyAt = kDataAt + 2 * kPage;
inline constexpr uint64_t kGsBase = kDataAt - 0x1000;

// RFLAGS bits that user mode sees change.
inline constexpr uint64_t kFlagsCompared = 0x8D5 | 0x400 | 0x100 | 0x4000 | 0x40000 | 0x200000;

struct Registers {
  uint64_t gpr[16] = {};
  uint64_t rip = 0;
  uint64_t rflags = 2;
  alignas(16) uint8_t fx[512] = {};           // as FXSAVE64 lays it out
  alignas(16) uint8_t ymm_high[16][16] = {};  // bits 128 to 255 of the YMM registers
};

using DataPages = std::array<uint8_t, kDataBytes>;

struct Case {
  Registers start;  // rip: where `code` lies
  std::vector<uint8_t> code;
  uint64_t entry = 0;  // byte of `code` to begin at
  const DataPages* data = nullptr;
  uint64_t area_at = 0;  // where XSAVE and its like store, 0: the case has none of them
};

// How it ended: every case ends with an exception, the INT3 behind it if no other.
struct Outcome {
  Registers end;
  DataPages data;
  uint8_t vector = 0;
  uint32_t error_code = 0;
  uint64_t address = 0;  // of a page fault
};

// A processor, real or not.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void Run(const Case& c, Outcome* out) = 0;
};

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_MACHINE_STATE_H_
