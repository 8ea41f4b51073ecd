// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/translate.h"

namespace atl::vm {
namespace {

constexpr uint64_t kPaging = 1u << 31;                     // CR0
constexpr uint64_t kPageSizeExtension = 1 << 4;            // CR4
constexpr uint64_t kPae = 1 << 5;                          // CR4
constexpr uint64_t kFiveLevels = 1 << 12;                  // CR4
constexpr uint64_t kLongMode = 1 << 10;                    // EFER.LMA
constexpr uint64_t kPresent = 1;                           // entries
constexpr uint64_t kLarge = 1 << 7;                        // entries
constexpr uint64_t kAddressBits = 0x000F'FFFF'FFFF'F000u;  // entries

std::optional<uint64_t> TranslateTwoLevel(const GuestMemory& memory, const cpu::SystemRegs& system,
                                          uint32_t address) {
  const uint64_t directory = (system.cr3 & 0xFFFFF000) + (address >> 22) * 4;
  const std::optional<uint32_t> entry = memory.Load<uint32_t>(Gpa(directory));
  if (!entry || !(*entry & kPresent)) return std::nullopt;
  if ((*entry & kLarge) && (system.cr4 & kPageSizeExtension)) {
    // Bits 13 to 20 are bits 32 to 39 of the address (PSE-36).
    return uint64_t{*entry & 0xFFC00000} | uint64_t{*entry >> 13 & 0xFF} << 32 |
           (address & 0x3FFFFF);
  }
  const uint64_t table = (*entry & 0xFFFFF000) + (address >> 12 & 0x3FF) * 4;
  const std::optional<uint32_t> page = memory.Load<uint32_t>(Gpa(table));
  if (!page || !(*page & kPresent)) return std::nullopt;
  return (*page & 0xFFFFF000) | (address & 0xFFF);
}

}  // namespace

std::optional<uint64_t> Translate(const GuestMemory& memory, const cpu::SystemRegs& system,
                                  uint64_t address) {
  const bool long_mode = system.efer & kLongMode;
  if (!long_mode) address &= 0xFFFFFFFF;
  if (!(system.cr0 & kPaging)) return address;
  if (!(system.cr4 & kPae)) {
    return TranslateTwoLevel(memory, system, static_cast<uint32_t>(address));
  }
  // The number of address bits below the topmost table's index.
  unsigned shift = 30;
  uint64_t table = system.cr3 & 0xFFFFFFE0;
  if (long_mode) {
    shift = system.cr4 & kFiveLevels ? 48 : 39;
    table = system.cr3 & kAddressBits;
  }
  for (;; shift -= 9) {
    const std::optional<uint64_t> entry =
        memory.Load<uint64_t>(Gpa(table + (address >> shift & 0x1FF) * 8));
    if (!entry || !(*entry & kPresent)) return std::nullopt;
    // The last level's entry is a page; one of 2 MiB or 1 GiB says so.
    const bool page =
        shift == 12 || ((*entry & kLarge) && (shift == 21 || (shift == 30 && long_mode)));
    if (page) {
      const uint64_t within = (uint64_t{1} << shift) - 1;
      return (*entry & kAddressBits & ~within) | (address & within);
    }
    table = *entry & kAddressBits;
  }
}

}  // namespace atl::vm
