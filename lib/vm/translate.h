// SPDX-License-Identifier: Apache-2.0
// A guest's virtual addresses, for people who look at its memory.
#ifndef LIB_VM_TRANSLATE_H_
#define LIB_VM_TRANSLATE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "lib/cpu/regs.h"
#include "lib/mem/guest_memory.h"
#include "lib/vm/control.h"

namespace atl::vm {

// Where the linear address `address` leads by the page tables that `system`
// describes (Intel SDM vol. 3, 4: 32-bit, PAE, 4- and 5-level paging); without
// paging to itself. Nothing where no page is present. Reads only.
std::optional<uint64_t> Translate(const GuestMemory& memory, const cpu::SystemRegs& system,
                                  uint64_t address);

// The ranges that are mapped, from the bottom, in bounded time and number
// whatever the guest's tables look like.
std::vector<MappedRange> FindMappings(const GuestMemory& memory, const cpu::SystemRegs& system);

}  // namespace atl::vm

#endif  // LIB_VM_TRANSLATE_H_
