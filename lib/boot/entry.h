// SPDX-License-Identifier: Apache-2.0
// The state in which the first vCPU enters a kernel that no firmware starts.
#ifndef LIB_BOOT_ENTRY_H_
#define LIB_BOOT_ENTRY_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/cpu/regs.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {

struct EntryState {
  cpu::Regs regs;
  cpu::SystemRegs system;
  // For people: "Linux bzImage 6.1.0-56-cloud-amd64, lz4, entered in 64-bit mode".
  std::string description;
};

// An initrd or a module that is not in memory yet.
struct Initrd {
  std::string name;
  uint64_t size = 0;
  std::function<absl::Status(std::span<uint8_t>)> read;  // all `size` bytes
};

// Where this loader puts what a kernel reads before it has its own memory
// management. All of it is RAM to the kernel, which copies what it keeps.
inline constexpr Gpa kGdtAt{0x500};
inline constexpr Gpa kPvhInfoAt{0x6000};
inline constexpr Gpa kBootParamsAt{0x7000};
inline constexpr Gpa kPageTablesAt{0x9000};
inline constexpr Gpa kCommandLineAt{0x20000};
inline constexpr uint64_t kMaxCommandLine = 0x10000;  // with its final zero

// Flat 32-bit protected mode without paging, interrupts off; selectors 0x10 and
// 0x18 as Linux wants them. Writes the GDT.
absl::StatusOr<EntryState> EnterProtectedMode(GuestMemory& memory, uint32_t eip);

// 64-bit mode; the first 4 GiB mapped to themselves. Writes GDT and page tables.
absl::StatusOr<EntryState> EnterLongMode(GuestMemory& memory, uint64_t rip);

}  // namespace atl::boot

#endif  // LIB_BOOT_ENTRY_H_
