// SPDX-License-Identifier: Apache-2.0
// The PVH boot ABI (Xen's docs/misc/pvh.pandoc and start_info.h): how ELF
// kernels with the note XEN_ELFNOTE_PHYS32_ENTRY are entered.
#ifndef LIB_BOOT_PVH_H_
#define LIB_BOOT_PVH_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "lib/boot/entry.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {

struct PvhInfo {
  Gpa command_line;  // zero-terminated
  Gpa rsdp;          // or 0
  Gpa initrd;
  uint64_t initrd_size = 0;  // 0: none
};

// Writes start_info, its memory map and module list; enters at `entry`.
absl::StatusOr<EntryState> EnterPvh(GuestMemory& memory, uint32_t entry, const PvhInfo& info);

}  // namespace atl::boot

#endif  // LIB_BOOT_PVH_H_
