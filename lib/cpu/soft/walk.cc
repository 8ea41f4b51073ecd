// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/walk.h"

#include <cstring>

namespace atl::cpu::soft {
namespace {

// Bits of a paging-structure entry.
constexpr uint64_t kPresent = 1 << 0, kWritable = 1 << 1, kUserBit = 1 << 2, kAccessed = 1 << 5,
                   kDirty = 1 << 6, kLarge = 1 << 7, kGlobalBit = 1 << 8,
                   kNoExecute = uint64_t{1} << 63;
constexpr uint64_t kFrame = ((uint64_t{1} << 52) - 1) & ~(kPageSize - 1);
// Address bits that this processor does not have.
constexpr uint64_t kBeyond = ((uint64_t{1} << 52) - 1) & ~((uint64_t{1} << kPhysicalBits) - 1);
// What the guest can do by changing an entry all the time is make us look again;
// after this often, the walk goes on with what it read.
constexpr unsigned kMaxRetries = 100;

// An entry as read, and where it lies for setting its bits; `at` is null for
// ROM and for what is no memory.
struct Entry {
  uint64_t value = 0;
  uint8_t* at = nullptr;
};

template <typename T>
Entry ReadEntry(PhysicalMap& map, uint64_t physical) {
  SlotKind kind;
  uint8_t* page = map.Page(physical, &kind);
  if (page == nullptr) return {static_cast<T>(~T{0}), nullptr};
  uint8_t* at = page + (physical & (kPageSize - 1));
  return {__atomic_load_n(reinterpret_cast<T*>(at), __ATOMIC_ACQUIRE),
          kind == SlotKind::kRam ? at : nullptr};
}

// Sets bits in an entry where it still is what was read. False: it changed.
template <typename T>
bool SetBits(const Entry& e, uint64_t bits) {
  if ((e.value & bits) == bits || e.at == nullptr) return true;
  T expected = static_cast<T>(e.value);
  return __atomic_compare_exchange_n(reinterpret_cast<T*>(e.at), &expected,
                                     static_cast<T>(e.value | bits), false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE);
}

uint32_t AccessBits(const Paging& paging, WalkAccess access) {
  uint32_t bits = access.rights == Rights::kUser ? kPfUser : 0;
  if (access.access == Access::kWrite) bits |= kPfWrite;
  const bool nx = paging.no_execute && paging.kind != Paging::Kind::kTwoLevel;
  if (access.access == Access::kExecute && (nx || paging.smep)) bits |= kPfFetch;
  return bits;
}

bool Allowed(const Paging& paging, WalkAccess access, const PageWalk& page) {
  if (access.rights == Rights::kUser) {
    if (!page.user) return false;
    if (access.access == Access::kWrite) return page.writable;
    return access.access != Access::kExecute || page.executable;
  }
  if (access.access == Access::kExecute) return page.executable && !(paging.smep && page.user);
  if (paging.smap && page.user && (access.rights == Rights::kImplicitSupervisor || !access.ac)) {
    return false;
  }
  return access.access != Access::kWrite || page.writable || !paging.write_protect;
}

// The last level's entry, and what those above it allow.
struct Tables {
  uint8_t* entry = nullptr;  // null: not in RAM, or of a large page
  bool user = false, writable = false, executable = false;
};

// One try. 1: done; 0: fault; -1: an entry changed while its bits were set.
template <typename T>
int Try(const Paging& paging, PhysicalMap& map, uint64_t linear, WalkAccess access, bool last,
        PageWalk* out, uint32_t* error_code, Tables* tables) {
  constexpr bool kWide = sizeof(T) == 8;
  constexpr unsigned kIndexBits = kWide ? 9 : 10;
  constexpr uint64_t kIndexMask = (uint64_t{1} << kIndexBits) - 1;
  uint64_t reserved = 0;
  uint64_t table;
  int level;
  switch (paging.kind) {
    case Paging::Kind::kFourLevel:
      level = 3;
      table = paging.root & kFrame;
      reserved = kBeyond;
      break;
    case Paging::Kind::kPae: {
      const uint64_t pdpte = paging.pdpte[(linear >> 30) & 3];
      if ((pdpte & kPresent) == 0) {
        *error_code = AccessBits(paging, access);
        return 0;
      }
      level = 1;
      table = pdpte & kFrame;
      reserved = kBeyond | (uint64_t{0x7FF} << 52);
      break;
    }
    default:
      level = 1;
      table = paging.root & 0xFFFFF000;
      break;
  }
  if (kWide && !paging.no_execute) reserved |= kNoExecute;

  PageWalk page;
  page.user = page.writable = page.executable = true;
  Entry entries[4];
  unsigned n = 0;
  for (;; --level) {
    const unsigned shift = kPageShift + static_cast<unsigned>(level) * kIndexBits;
    const uint64_t at = (table + ((linear >> shift) & kIndexMask) * sizeof(T)) & paging.a20;
    const Entry e = ReadEntry<T>(map, at);
    entries[n++] = e;
    if ((e.value & kPresent) == 0) {
      *error_code = AccessBits(paging, access);
      return 0;
    }
    uint64_t bad = reserved;
    const bool can_be_large = level > 0 && (kWide || paging.page_size);
    const bool large = can_be_large && level < 3 && (e.value & kLarge) != 0;
    if (kWide) {
      if (level == 3) bad |= kLarge;
      if (large) bad |= ((uint64_t{1} << shift) - 1) & ~uint64_t{0x1FFF};
    } else if (large) {
      bad |= 1 << 21;
    }
    if ((e.value & bad) != 0) {
      *error_code = AccessBits(paging, access) | kPfPresent | kPfReserved;
      return 0;
    }
    if (level == 0) *tables = {e.at, page.user, page.writable, page.executable};
    page.user = page.user && (e.value & kUserBit) != 0;
    page.writable = page.writable && (e.value & kWritable) != 0;
    if (kWide) page.executable = page.executable && (e.value & kNoExecute) == 0;
    if (level == 0 || large) {
      uint64_t frame;
      if (kWide) {
        frame = e.value & kFrame & ~((uint64_t{1} << shift) - 1);
      } else if (large) {
        // PSE-36: bits 13 to 20 are bits 32 to 39 of the address.
        frame = (e.value & 0xFFC00000) | ((e.value >> 13 & 0xFF) << 32);
      } else {
        frame = e.value & 0xFFFFF000;
      }
      const uint64_t within = linear & ((uint64_t{1} << shift) - 1) & ~(kPageSize - 1);
      page.physical = (frame | within) & paging.a20;
      page.shift = static_cast<uint8_t>(shift);
      page.global = paging.global && (e.value & kGlobalBit) != 0;
      break;
    }
    table = kWide ? e.value & kFrame : e.value & 0xFFFFF000;
  }

  if (!Allowed(paging, access, page)) {
    *error_code = AccessBits(paging, access) | kPfPresent;
    return 0;
  }
  for (unsigned i = 0; i < n; ++i) {
    uint64_t bits = kAccessed;
    if (i + 1 == n && access.access == Access::kWrite) bits |= kDirty;
    if (!SetBits<T>(entries[i], bits) && !last) return -1;
  }
  page.dirty = access.access == Access::kWrite || (entries[n - 1].value & kDirty) != 0;
  *out = page;
  return 1;
}

}  // namespace

uint8_t* PhysicalMap::Page(uint64_t physical, SlotKind* kind) {
  const uint64_t page = physical & ~(kPageSize - 1);
  if (page - last_.base.value >= last_.size) {
    const MemorySlot* slot = memory_.Find(Gpa(page), kPageSize);
    if (slot == nullptr) return nullptr;
    last_ = *slot;
  }
  *kind = last_.kind;
  return last_.host + (page - last_.base.value);
}

// Only what is there and allowed; the whole walk finds out about the rest.
bool WalkCache::Walk(const Paging& paging, uint64_t linear, WalkAccess access,
                     PageWalk* out) const {
  const uint64_t region = linear >> 21;
  const Slot& slot = slots_[region % kSlots];
  if (slot.epoch != epoch_ || slot.region != region || slot.root != paging.root) return false;
  uint8_t* at = slot.table + (linear >> 12 & 511) * 8;
  const Entry e = {__atomic_load_n(reinterpret_cast<uint64_t*>(at), __ATOMIC_ACQUIRE), at};
  const uint64_t reserved = kBeyond | (paging.no_execute ? 0 : kNoExecute);
  if ((e.value & kPresent) == 0 || (e.value & reserved) != 0) return false;
  PageWalk page;
  page.physical = e.value & kFrame & paging.a20;
  page.user = slot.user && (e.value & kUserBit) != 0;
  page.writable = slot.writable && (e.value & kWritable) != 0;
  page.executable = slot.executable && (e.value & kNoExecute) == 0;
  page.global = paging.global && (e.value & kGlobalBit) != 0;
  if (!Allowed(paging, access, page)) return false;
  const bool write = access.access == Access::kWrite;
  if (!SetBits<uint64_t>(e, write ? kAccessed | kDirty : kAccessed)) return false;
  page.dirty = write || (e.value & kDirty) != 0;
  *out = page;
  return true;
}

void WalkCache::Put(const Slot& slot) {
  Slot& at = slots_[slot.region % kSlots];
  const bool taken = at.epoch == epoch_;
  const bool same = taken && at.region == slot.region && at.root == slot.root;
  if (!same || at.table != slot.table) {
    counters_.mmu_cache_miss.Add();
    if (!taken) counters_.mmu_unsync.Add();
    if (taken) counters_.mmu_shadow_zapped.Add();
    if (taken && !same) counters_.mmu_recycled.Add();
  }
  at = slot;
}

bool WalkPageTables(const Paging& paging, PhysicalMap& map, uint64_t linear, WalkAccess access,
                    PageWalk* out, uint32_t* error_code, WalkCache* cache) {
  if (paging.kind == Paging::Kind::kNone) {
    *out = {linear & ~(kPageSize - 1) & paging.a20, 12, true, true, true, true, false};
    return true;
  }
  if (paging.kind != Paging::Kind::kFourLevel) cache = nullptr;
  if (cache != nullptr && cache->Walk(paging, linear, access, out)) return true;
  for (unsigned i = 0;; ++i) {
    const bool last = i == kMaxRetries;
    Tables tables;
    const int r = paging.kind == Paging::Kind::kTwoLevel
                      ? Try<uint32_t>(paging, map, linear, access, last, out, error_code, &tables)
                      : Try<uint64_t>(paging, map, linear, access, last, out, error_code, &tables);
    if (r < 0) continue;
    if (r == 1 && cache != nullptr && tables.entry != nullptr) {
      uint8_t* table = tables.entry - (linear >> 12 & 511) * 8;
      cache->Put({cache->epoch_, paging.root, linear >> 21, table, tables.user, tables.writable,
                  tables.executable});
    }
    return r == 1;
  }
}

bool ValidPdpte(uint64_t pdpte) {
  // Bits 1, 2 and 5 to 8, and all from MAXPHYADDR up (vol. 3, 4.4.1).
  constexpr uint64_t kReserved = 0x1E6 | ~((uint64_t{1} << kPhysicalBits) - 1);
  return (pdpte & kPresent) == 0 || (pdpte & kReserved) == 0;
}

bool ReadPdptes(PhysicalMap& map, uint64_t cr3, uint64_t a20, uint64_t out[4]) {
  uint64_t read[4];
  for (unsigned i = 0; i < 4; ++i) {
    read[i] = ReadEntry<uint64_t>(map, ((cr3 & 0xFFFFFFE0) + i * 8) & a20).value;
    if (!ValidPdpte(read[i])) return false;
  }
  std::memcpy(out, read, sizeof read);
  return true;
}

}  // namespace atl::cpu::soft
