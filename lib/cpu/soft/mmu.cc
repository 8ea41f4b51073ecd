// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/mmu.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "lib/cpu/soft/vcpu.h"
#include "lib/cpu/soft/vm.h"

namespace atl::cpu::soft {
namespace {

constexpr uint64_t kOffset = kPageSize - 1;

// Filled::flags.
constexpr uint8_t kInLocal = 1, kInGlobal = 2, kIsGlobal = 4, kIs2M = 8, kIs1G = 16;

// One host access for what the guest does by one.
void CopyFrom(uint8_t* to, const uint8_t* from, unsigned size) {
  switch (size) {
    case 1:
      *to = __atomic_load_n(from, __ATOMIC_RELAXED);
      return;
    case 2:
      std::memcpy(to, from, 2);
      return;
    case 4:
      std::memcpy(to, from, 4);
      return;
    case 8:
      std::memcpy(to, from, 8);
      return;
    case 16:
      std::memcpy(to, from, 16);
      return;
    default:
      std::memcpy(to, from, size);
  }
}

}  // namespace

Mmu::Mmu(SoftVcpu& vcpu, GuestMemory& memory) : vcpu_(vcpu), memory_(memory), map_(memory) {
  for (auto& table : tlb_) {
    for (TlbEntry& e : table) e = {kNoTag, kNoTag, kNoTag, 0};
  }
}

void Mmu::ModeChanged() {
  const CpuState& s = vcpu_.s;
  if ((s.cr0 & kCr0Pg) == 0) {
    paging_.kind = Paging::Kind::kNone;
  } else if ((s.efer & kEferLma) != 0) {
    paging_.kind = Paging::Kind::kFourLevel;
  } else if ((s.cr4 & kCr4Pae) != 0) {
    paging_.kind = Paging::Kind::kPae;
  } else {
    paging_.kind = Paging::Kind::kTwoLevel;
  }
  paging_.write_protect = (s.cr0 & kCr0Wp) != 0;
  paging_.page_size = (s.cr4 & kCr4Pse) != 0;
  paging_.global = (s.cr4 & kCr4Pge) != 0;
  paging_.no_execute = (s.efer & kEferNxe) != 0;
  paging_.smep = (s.cr4 & kCr4Smep) != 0;
  paging_.smap = (s.cr4 & kCr4Smap) != 0;
  paging_.root = s.cr3;
  paging_.a20 = vcpu_.vm.a20_mask();
  AcChanged();
}

void Mmu::AcChanged() {
  const bool open = (vcpu_.s.cr4 & kCr4Smap) != 0 && (vcpu_.s.rflags_rest & kAc) != 0;
  data_table_ = open ? kOpenKernelTable : kKernelTable;
}

bool Mmu::LoadPdptes(uint64_t cr3) {
  return ReadPdptes(map_, cr3, vcpu_.vm.a20_mask(), paging_.pdpte);
}

void Mmu::BreakpointsChanged() {
  const CpuState& s = vcpu_.s;
  breakpoint_count_ = 0;
  for (unsigned i = 0; i < 4; ++i) {
    if ((s.dr[7] >> (2 * i) & 3) == 0) continue;
    const unsigned control = s.dr[7] >> (16 + 4 * i) & 0xF;
    const unsigned kind = control & 3;  // 1: writes, 3: reads and writes
    if (kind != 1 && kind != 3) continue;
    static constexpr uint8_t kLengths[4] = {1, 2, 8, 4};
    const unsigned length = kLengths[control >> 2];
    const uint64_t first = s.dr[i] & ~uint64_t{length - 1};
    breakpoints_[breakpoint_count_++] = {first, first + length - 1, kind == 3,
                                         static_cast<uint8_t>(i)};
  }
  FlushAll();
}

bool Mmu::PageWatched(uint64_t page) const {
  for (unsigned i = 0; i < breakpoint_count_; ++i) {
    // Aligned and of 8 bytes at the most: in one page.
    if ((breakpoints_[i].first & ~kOffset) == page) return true;
  }
  return false;
}

void Mmu::CheckBreakpoints(uint64_t linear, unsigned size, bool write) {
  for (unsigned i = 0; i < breakpoint_count_; ++i) {
    const Breakpoint& b = breakpoints_[i];
    if ((write || b.reads) && linear <= b.last && linear + size - 1 >= b.first) {
      vcpu_.s.pending_debug |= 1u << b.index;
      vcpu_.requests.fetch_or(kInternalRequest, std::memory_order_relaxed);
    }
  }
}

// ---- The TLB ----

void Mmu::Drop(unsigned table, unsigned slot) { tlb_[table][slot] = {kNoTag, kNoTag, kNoTag, 0}; }

void Mmu::Fill(unsigned table, uint64_t page, const PageWalk& walk, const Target& target) {
  const unsigned slot = (page >> kPageShift) & (kTlbSize - 1);
  Filled& filled = filled_[table];
  uint8_t& flags = filled.flags[slot];
  flags &= kInLocal | kInGlobal;
  if (walk.global) {
    if ((flags & kInGlobal) == 0) {
      filled.global[filled.global_count++] = static_cast<uint16_t>(slot);
    }
    flags |= kInGlobal | kIsGlobal;
  } else {
    if ((flags & kInLocal) == 0) {
      filled.local[filled.local_count++] = static_cast<uint16_t>(slot);
    }
    flags |= kInLocal;
  }
  if (walk.shift > kPageShift) {
    flags |= walk.shift == 30 ? kIs1G : kIs2M;
    filled.large_low = std::min(filled.large_low, page);
    filled.large_high = std::max(filled.large_high, page | kOffset);
  }
  bool read, write, execute;
  if (table == kUserTable) {
    read = walk.user;
    write = walk.user && walk.writable;
    execute = walk.user && walk.executable;
  } else {
    read = table == kOpenKernelTable || !(paging_.smap && walk.user);
    write = read && (walk.writable || !paging_.write_protect);
    execute = walk.executable && !(paging_.smep && walk.user);
  }
  TlbEntry& e = tlb_[table][slot];
  e.read_tag = read ? page : kNoTag;
  e.write_tag = write && walk.dirty && !target.rom && !target.code ? page : kNoTag;
  e.exec_tag = execute ? page : kNoTag;
  e.addend = reinterpret_cast<uint64_t>(target.host) - page;
}

void Mmu::FlushTable(unsigned table, bool globals_too) {
  Filled& filled = filled_[table];
  for (unsigned i = 0; i < filled.local_count; ++i) {
    const unsigned slot = filled.local[i];
    // A global page may have taken the slot since.
    if (globals_too || (filled.flags[slot] & kIsGlobal) == 0) {
      Drop(table, slot);
      filled.flags[slot] &= kInGlobal;
    } else {
      filled.flags[slot] &= static_cast<uint8_t>(~kInLocal);
    }
  }
  filled.local_count = 0;
  if (!globals_too) return;
  for (unsigned i = 0; i < filled.global_count; ++i) {
    Drop(table, filled.global[i]);
    filled.flags[filled.global[i]] = 0;
  }
  filled.global_count = 0;
  filled.large_low = ~uint64_t{0};
  filled.large_high = 0;
}

void Mmu::FlushAll() {
  ++generation_;
  map_.Forget();
  for (unsigned t = 0; t < kTables; ++t) FlushTable(t, true);
}

void Mmu::FlushNonGlobal() {
  ++generation_;
  for (unsigned t = 0; t < kTables; ++t) FlushTable(t, false);
}

void Mmu::DropPage(uint64_t page) {
  const unsigned slot = (page >> kPageShift) & (kTlbSize - 1);
  for (unsigned t = 0; t < kTables; ++t) {
    const TlbEntry& e = tlb_[t][slot];
    if (e.read_tag == page || e.write_tag == page || e.exec_tag == page) Drop(t, slot);
  }
}

void Mmu::FlushPage(uint64_t linear) {
  const uint64_t page = linear & ~kOffset;
  ++generation_;
  DropPage(page);
  for (unsigned t = 0; t < kTables; ++t) {
    // The rest of a large page goes too. It may reach beyond what was filled.
    Filled& filled = filled_[t];
    constexpr uint64_t kMargin = uint64_t{1} << 30;
    const uint64_t low = filled.large_low & ~(kMargin - 1);
    if (page < low || page > (filled.large_high | (kMargin - 1))) continue;
    for (unsigned i = 0; i < kTlbSize; ++i) {
      if ((filled.flags[i] & (kIs2M | kIs1G)) == 0) continue;
      const TlbEntry& x = tlb_[t][i];
      const uint64_t tag = x.read_tag != kNoTag ? x.read_tag : x.exec_tag;
      const unsigned shift = (filled.flags[i] & kIs1G) != 0 ? 30 : 22;
      if (tag >> shift == page >> shift) Drop(t, i);
    }
  }
}

void Mmu::FlushPcid(uint16_t pcid, bool globals_too) {
  // The TLB holds the current PCID's pages and global ones only: a change of
  // PCID flushed the others.
  if (globals_too) {
    FlushAll();
  } else if ((vcpu_.s.cr3 & 0xFFF) == pcid || (vcpu_.s.cr4 & kCr4Pcide) == 0) {
    FlushNonGlobal();
  }
}

void Mmu::DropWriteTags(uint64_t ram_page) {
  const uint64_t host = reinterpret_cast<uint64_t>(memory_.ram_host()) + (ram_page << kPageShift);
  for (auto& table : tlb_) {
    for (TlbEntry& e : table) {
      if (e.write_tag != kNoTag && e.write_tag + e.addend == host) e.write_tag = kNoTag;
    }
  }
}

uint64_t Mmu::RequestWriteDrop(uint64_t ram_page) {
  const uint64_t ticket = drops_requested_.load(std::memory_order_relaxed) + 1;
  drop_ring_[ticket % kDropRing].store(ram_page, std::memory_order_release);
  drops_requested_.store(ticket, std::memory_order_seq_cst);
  return ticket;
}

void Mmu::TakeFlushRequest() {
  const uint64_t ticket = requested_.load(std::memory_order_acquire);
  if (ticket != done_.load(std::memory_order_relaxed)) {
    ModeChanged();  // the A20 mask
    FlushAll();
    done_.store(ticket, std::memory_order_release);
  }
  const uint64_t drops = drops_requested_.load(std::memory_order_acquire);
  const uint64_t dropped = drops_done_.load(std::memory_order_relaxed);
  if (drops == dropped) return;
  uint64_t pages[kDropRing];
  for (uint64_t t = dropped; t != drops && t - dropped < kDropRing; ++t) {
    pages[t - dropped] = drop_ring_[(t + 1) % kDropRing].load(std::memory_order_relaxed);
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  // The place of the first may be written for the ticket after those seen here.
  if (drops_requested_.load(std::memory_order_relaxed) - dropped >= kDropRing - 1) {
    FlushAll();
  } else {
    for (uint64_t i = 0; i < drops - dropped; ++i) DropWriteTags(pages[i]);
  }
  drops_done_.store(drops, std::memory_order_release);
}

// ---- Accesses ----

bool Mmu::Translate(uint64_t linear, Access access, Rights rights, bool stack, Target* out) {
  const CpuState& s = vcpu_.s;
  if ((s.efer & kEferLma) == 0) {
    linear &= 0xFFFFFFFF;
  } else if (!IsCanonical(linear)) [[unlikely]] {
    vcpu_.fault = {static_cast<uint8_t>(stack ? kSsFault : kGp), true, 0, 0};
    return false;
  }
  const bool ac = (s.rflags_rest & kAc) != 0;
  PageWalk walk;
  uint32_t error_code;
  if (!WalkPageTables(paging_, map_, linear, {access, rights, ac}, &walk, &error_code)) {
    // A fault takes the page out of the TLB.
    DropPage(linear & ~kOffset);
    vcpu_.fault = {kPfault, true, error_code, linear};
    return false;
  }
  const uint64_t offset = linear & kOffset;
  *out = {};
  out->physical = walk.physical | offset;
  SlotKind kind;
  uint8_t* page = map_.Page(walk.physical, &kind);
  if (page == nullptr) return true;
  out->host = page;
  out->rom = kind == SlotKind::kRom;
  if (std::optional<uint64_t> ram = memory_.RamPage(page)) {
    out->ram_page = *ram;
    out->code =
        (memory_.PageFlags(*ram).load(std::memory_order_acquire) & GuestMemory::kPageHasCode) != 0;
  }
  const uint64_t base = linear - offset;
  if (breakpoint_count_ == 0 || !PageWatched(base)) {
    unsigned table = kUserTable;
    if (rights == Rights::kImplicitSupervisor) table = kKernelTable;
    if (rights == Rights::kSupervisor) {
      table = access == Access::kExecute ? kKernelTable : data_table_;
    }
    Fill(table, base, walk, *out);
  }
  out->host = page + offset;
  return true;
}

void Mmu::ReadTarget(const Target& target, uint8_t* to, unsigned size) {
  if (target.host != nullptr) [[likely]] {
    CopyFrom(to, target.host, size);
    return;
  }
  // Aligned pieces, as the bus would see.
  for (unsigned done = 0; done < size;) {
    const uint64_t at = target.physical + done;
    unsigned n = 8;
    while (n > size - done || (at & (n - 1)) != 0) n /= 2;
    const uint64_t v = vcpu_.bus.MmioRead(Gpa(at), n);
    std::memcpy(to + done, &v, n);
    done += n;
  }
}

void Mmu::WriteTarget(const Target& target, const uint8_t* from, unsigned size) {
  if (target.host != nullptr) [[likely]] {
    if (target.rom) return;
    CopyFrom(target.host, from, size);
    if (target.code) vcpu_.vm.CodeWritten(target.ram_page, target.physical & kOffset, size);
    return;
  }
  for (unsigned done = 0; done < size;) {
    const uint64_t at = target.physical + done;
    unsigned n = 8;
    while (n > size - done || (at & (n - 1)) != 0) n /= 2;
    uint64_t v = 0;
    std::memcpy(&v, from + done, n);
    vcpu_.bus.MmioWrite(Gpa(at), n, v);
    done += n;
  }
}

// That an operand does not run into non-canonical addresses comes before what
// its first page gives.
bool Mmu::CheckNextPage(uint64_t linear, bool stack) {
  if ((vcpu_.s.efer & kEferLma) == 0 || IsCanonical((linear & ~kOffset) + kPageSize)) return true;
  vcpu_.fault = {static_cast<uint8_t>(stack ? kSsFault : kGp), true, 0, 0};
  return false;
}

bool Mmu::ReadSlow(uint64_t linear, void* to, unsigned size, Rights rights, bool stack) {
  uint8_t* bytes = static_cast<uint8_t*>(to);
  const unsigned first = std::min<uint64_t>(size, kPageSize - (linear & kOffset));
  Target a, b;
  if (first < size && !CheckNextPage(linear, stack)) return false;
  if (!Translate(linear, Access::kRead, rights, stack, &a)) return false;
  if (first < size && !Translate(linear + first, Access::kRead, rights, stack, &b)) return false;
  ReadTarget(a, bytes, first);
  if (first < size) ReadTarget(b, bytes + first, size - first);
  if (breakpoint_count_ != 0) CheckBreakpoints(linear, size, false);
  return true;
}

bool Mmu::WriteSlow(uint64_t linear, const void* from, unsigned size, Rights rights, bool stack) {
  const uint8_t* bytes = static_cast<const uint8_t*>(from);
  const unsigned first = std::min<uint64_t>(size, kPageSize - (linear & kOffset));
  Target a, b;
  if (first < size && !CheckNextPage(linear, stack)) return false;
  if (!Translate(linear, Access::kWrite, rights, stack, &a)) return false;
  if (first < size && !Translate(linear + first, Access::kWrite, rights, stack, &b)) return false;
  WriteTarget(a, bytes, first);
  if (first < size) WriteTarget(b, bytes + first, size - first);
  if (breakpoint_count_ != 0) CheckBreakpoints(linear, size, true);
  return true;
}

bool Mmu::Probe(uint64_t linear, unsigned size, Access access, Rights rights, bool stack) {
  const unsigned first = std::min<uint64_t>(size, kPageSize - (linear & kOffset));
  Target t;
  return (first >= size || CheckNextPage(linear, stack)) &&
         Translate(linear, access, rights, stack, &t) &&
         (first >= size || Translate(linear + first, access, rights, stack, &t));
}

uint8_t* Mmu::RmwPointer(uint64_t linear, unsigned size, Rights rights, bool stack, bool* faulted) {
  *faulted = false;
  const unsigned first = std::min<uint64_t>(size, kPageSize - (linear & kOffset));
  Target t;
  if ((first < size && !CheckNextPage(linear, stack)) ||
      !Translate(linear, Access::kWrite, rights, stack, &t) ||
      (first < size && !Probe(linear + first, size - first, Access::kWrite, rights, stack))) {
    *faulted = true;
    return nullptr;
  }
  if (t.host == nullptr || t.rom || first < size) return nullptr;
  if (breakpoint_count_ != 0) CheckBreakpoints(linear, size, true);
  return t.host;
}

void Mmu::Stored(const uint8_t* host, unsigned size) {
  const std::optional<uint64_t> ram = memory_.RamPage(host);
  if (ram &&
      (memory_.PageFlags(*ram).load(std::memory_order_acquire) & GuestMemory::kPageHasCode) != 0) {
    const unsigned first = reinterpret_cast<uint64_t>(host) & kOffset;
    vcpu_.vm.CodeWritten(*ram, first, std::min<unsigned>(size, kPageSize - first));
  }
}

bool Mmu::TranslateCode(uint64_t linear, CodePage* out) {
  const unsigned table = vcpu_.user() ? kUserTable : kKernelTable;
  const uint64_t page = linear & ~kOffset;
  const TlbEntry& e = tlb_[table][(page >> kPageShift) & (kTlbSize - 1)];
  const uint8_t* host;
  if (e.exec_tag == page) [[likely]] {
    host = reinterpret_cast<const uint8_t*>(page + e.addend);
  } else {
    Target t;
    if (!Translate(linear, Access::kExecute, vcpu_.rights(), false, &t)) return false;
    host = t.host == nullptr ? nullptr : t.host - (linear & kOffset);
  }
  out->host = host;
  out->page = kNotRam;
  if (host != nullptr) {
    if (std::optional<uint64_t> ram = memory_.RamPage(host)) out->page = *ram;
  }
  return true;
}

}  // namespace atl::cpu::soft
