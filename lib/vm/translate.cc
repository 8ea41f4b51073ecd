// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/translate.h"

#include <utility>

namespace atl::vm {
namespace {

constexpr uint64_t kPaging = 1u << 31;                     // CR0
constexpr uint64_t kPageSizeExtension = 1 << 4;            // CR4
constexpr uint64_t kPae = 1 << 5;                          // CR4
constexpr uint64_t kFiveLevels = 1 << 12;                  // CR4
constexpr uint64_t kLongMode = 1 << 10;                    // EFER.LMA
constexpr uint64_t kPresent = 1;                           // entries
constexpr uint64_t kWritable = 2;                          // entries
constexpr uint64_t kUser = 4;                              // entries
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

// A tree of tables that lead back to themselves has 2^36 leaves.
constexpr unsigned kMaxEntries = 1 << 22;
constexpr size_t kMaxRanges = 4096;

class MappingWalk {
 public:
  MappingWalk(const GuestMemory& memory, bool wide) : memory_(memory), wide_(wide) {}

  // The table at `at` and all below it, whose entries map 2^shift bytes each and
  // whose first entry maps `address`. `entries` of them.
  void Table(uint64_t at, unsigned shift, unsigned entries, uint64_t address, uint64_t access) {
    const unsigned step = wide_ ? 9 : 10;
    for (unsigned i = 0; i < entries; ++i) {
      if (++seen_ > kMaxEntries || ranges.size() >= kMaxRanges) return;
      const uint64_t entry = Entry(at, i);
      if (!(entry & kPresent)) continue;
      uint64_t here = address + (uint64_t{i} << shift);
      if (top_ && i >= 256) here |= 0xFFFF'0000'0000'0000u;
      // PAE's four pointers have no access bits.
      const uint64_t rights = pointers_ && shift == 30 ? access : access & entry;
      if (shift == 12 || ((entry & kLarge) && shift <= 30)) {
        Add(here, uint64_t{1} << shift, rights);
      } else {
        const bool was_top = std::exchange(top_, false);
        Table(entry & (wide_ ? kAddressBits : 0xFFFFF000), shift - step, 1u << step, here, rights);
        top_ = was_top;
      }
    }
  }
  void SetTop() { top_ = true; }
  void SetPointers() { pointers_ = true; }

  std::vector<MappedRange> ranges;

 private:
  uint64_t Entry(uint64_t table, unsigned i) const {
    if (wide_) return memory_.Load<uint64_t>(Gpa(table + i * 8)).value_or(0);
    return memory_.Load<uint32_t>(Gpa(table + i * 4)).value_or(0);
  }
  void Add(uint64_t begin, uint64_t size, uint64_t access) {
    const bool user = access & kUser;
    const bool writable = access & kWritable;
    if (!ranges.empty()) {
      MappedRange& last = ranges.back();
      if (last.begin + last.size == begin && last.user == user && last.writable == writable) {
        last.size += size;
        return;
      }
    }
    ranges.push_back({begin, size, user, writable});
  }

  const GuestMemory& memory_;
  const bool wide_;        // entries of 8 bytes
  bool top_ = false;       // in the table whose upper half is the negative addresses
  bool pointers_ = false;  // PAE without long mode
  unsigned seen_ = 0;
};

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

std::vector<MappedRange> FindMappings(const GuestMemory& memory, const cpu::SystemRegs& system) {
  if (!(system.cr0 & kPaging)) return {};
  constexpr uint64_t kAll = kUser | kWritable;
  MappingWalk walk(memory, system.cr4 & kPae);
  if (!(system.cr4 & kPae)) {
    walk.Table(system.cr3 & 0xFFFFF000, 22, 1024, 0, kAll);
  } else if (!(system.efer & kLongMode)) {
    walk.SetPointers();
    walk.Table(system.cr3 & 0xFFFFFFE0, 30, 4, 0, kAll);
  } else if (!(system.cr4 & kFiveLevels)) {
    walk.SetTop();
    walk.Table(system.cr3 & kAddressBits, 39, 512, 0, kAll);
  } else {
    walk.Table(system.cr3 & kAddressBits, 48, 512, 0, kAll);
  }
  return std::move(walk.ranges);
}

}  // namespace atl::vm
