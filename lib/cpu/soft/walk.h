// SPDX-License-Identifier: Apache-2.0
// Page walks: what a guest's paging structures make of a linear address (vol.
// 3, chapter 4), apart from the TLB that keeps the results. A walk checks
// reserved bits and rights, gives the exact #PF error code, and sets accessed
// and dirty bits by compare-and-exchange, as other vCPUs walk the same tables.
//
// The tables are the guest's: hostile and changing under the walk. Every entry
// is read once. Tables outside memory read as all ones.
#ifndef LIB_CPU_SOFT_WALK_H_
#define LIB_CPU_SOFT_WALK_H_

#include <cstdint>

#include "lib/cpu/counters.h"
#include "lib/cpu/soft/rights.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::soft {

// MAXPHYADDR as CPUID 0x80000008 says it.
inline constexpr unsigned kPhysicalBits = 46;
inline constexpr unsigned kLinearBits = 48;

inline bool IsCanonical(uint64_t linear) {
  return static_cast<uint64_t>(static_cast<int64_t>(linear << (64 - kLinearBits)) >>
                               (64 - kLinearBits)) == linear;
}

// Bits of a #PF error code (vol. 3, 4.7).
inline constexpr uint32_t kPfPresent = 1, kPfWrite = 2, kPfUser = 4, kPfReserved = 8, kPfFetch = 16;

// Physical addresses to host memory, with the last slot remembered.
class PhysicalMap {
 public:
  explicit PhysicalMap(GuestMemory& memory) : memory_(memory) {}

  // The page that holds `physical` (A20 mask applied already): its first byte,
  // or null where it is no memory. `kind` is set where it is.
  uint8_t* Page(uint64_t physical, SlotKind* kind);
  // Slots changed.
  void Forget() { last_ = {}; }

 private:
  GuestMemory& memory_;
  MemorySlot last_;
};

// All that a walk depends on but the address and the access.
struct Paging {
  enum class Kind : uint8_t { kNone, kTwoLevel, kPae, kFourLevel };
  Kind kind = Kind::kNone;
  bool write_protect = false;   // CR0.WP
  bool page_size = false;       // CR4.PSE, for kTwoLevel
  bool global = false;          // CR4.PGE
  bool no_execute = false;      // EFER.NXE
  bool smep = false;            // CR4.SMEP
  bool smap = false;            // CR4.SMAP
  uint64_t root = 0;            // CR3
  uint64_t pdpte[4] = {};       // kPae: as loaded with CR3
  uint64_t a20 = ~uint64_t{0};  // mask on every physical address
};

// Who accesses: SMAP's exception by RFLAGS.AC is `ac`, for explicit accesses.
struct WalkAccess {
  Access access = Access::kRead;
  Rights rights = Rights::kSupervisor;
  bool ac = false;
};

struct PageWalk {
  uint64_t physical = 0;  // of the 4 KiB page, A20 mask applied
  uint8_t shift = 12;     // of the page in the guest's tables: 12, 21, 22 or 30
  // Of all levels together.
  bool user = false;
  bool writable = false;
  bool executable = false;
  bool dirty = false;
  bool global = false;
};

// A paging-structure cache (vol. 3, 4.10.3), of 4-level paging only: where the
// table of a region of 2 MiB lies and what the levels above it allow. Whatever
// takes a page from the TLB must make it forget. Faults never come from it.
//
// These tables are what the mmu_* of VcpuCounters call shadow pages. The guest
// writes to them unseen, so all that are remembered are out of sync (mmu_unsync).
class WalkCache {
 public:
  explicit WalkCache(VcpuCounters& counters) : counters_(counters) {}
  void Forget() {
    ++epoch_;
    counters_.mmu_shadow_zapped.Add(counters_.mmu_unsync.value());
    counters_.mmu_unsync.Set(0);
  }

 private:
  friend bool WalkPageTables(const Paging& paging, PhysicalMap& map, uint64_t linear,
                             WalkAccess access, PageWalk* out, uint32_t* error_code,
                             WalkCache* cache);
  struct Slot {
    uint64_t epoch = 0;
    uint64_t root = 0, region = 0;
    uint8_t* table = nullptr;  // host address of the page table, in RAM
    bool user = false, writable = false, executable = false;
  };
  static constexpr unsigned kSlots = 64;

  bool Walk(const Paging& paging, uint64_t linear, WalkAccess access, PageWalk* out) const;
  void Put(const Slot& slot);

  VcpuCounters& counters_;
  uint64_t epoch_ = 1;
  Slot slots_[kSlots];
};

// False: a page fault with *error_code.
bool WalkPageTables(const Paging& paging, PhysicalMap& map, uint64_t linear, WalkAccess access,
                    PageWalk* out, uint32_t* error_code, WalkCache* cache = nullptr);

// The four PDPTEs that a write to CR3 (or CR0, CR4) loads in PAE paging. False:
// reserved bits, #GP(0).
bool ReadPdptes(PhysicalMap& map, uint64_t cr3, uint64_t a20, uint64_t out[4]);
bool ValidPdpte(uint64_t pdpte);

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_WALK_H_
