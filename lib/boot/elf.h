// SPDX-License-Identifier: Apache-2.0
// ELF kernels: what to load where, and where they are entered.
#ifndef LIB_BOOT_ELF_H_
#define LIB_BOOT_ELF_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {

struct ElfSegment {
  uint64_t offset = 0;     // in the file
  uint64_t file_size = 0;  // bytes there; what is more in memory is zero
  uint64_t address = 0;    // physical
  uint64_t memory_size = 0;
};

struct ElfKernel {
  bool is64 = false;
  uint64_t entry = 0;                // physical
  std::vector<ElfSegment> segments;  // none empty; in the file's order
  // The 32-bit entry of the PVH boot ABI (Xen's note XEN_ELFNOTE_PHYS32_ENTRY).
  std::optional<uint32_t> pvh_entry;

  // The range that the segments take.
  uint64_t begin() const;
  uint64_t end() const;
};

bool LooksLikeElf(std::span<const uint8_t> file);

// x86 executables of either width. Every offset and size has been checked
// against the file; addresses are as the file says, without overflow.
absl::StatusOr<ElfKernel> ParseElf(std::span<const uint8_t> file);

// Loading, a step at a time: memory that becomes zero, or bytes of the file.
struct LoadStep {
  uint64_t address = 0;  // physical
  uint64_t size = 0;
  bool zero = false;
  uint64_t offset = 0;  // in the file, of bytes
};
// In this order: the segments' memory as zeros, then their pages that hold anything
// else. Half of a Linux kernel is zeros, which take neither time nor memory so.
std::vector<LoadStep> LoadSteps(const ElfKernel& kernel, std::span<const uint8_t> file);

// Copies the segments. OutOfRange names the one that is not RAM.
absl::Status LoadElf(const ElfKernel& kernel, std::span<const uint8_t> file, GuestMemory& memory);

}  // namespace atl::boot

#endif  // LIB_BOOT_ELF_H_
