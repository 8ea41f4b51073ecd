// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/mmu.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "lib/cpu/soft/vcpu.h"
#include "lib/cpu/soft/vm.h"
#include "lib/mem/page_tracker.h"

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

const uint64_t Mmu::kNoTag = TranslateArea::SecretPage() | 1;

Mmu::Mmu(SoftVcpu& vcpu, GuestMemory& memory)
    : vcpu_(vcpu), memory_(memory), walk_cache_(vcpu.counters), map_(memory) {
  for (auto& table : tlb_) {
    for (TlbEntry& e : table) e = {kNoTag, kNoTag, kNoTag, 0};
  }
  std::fill(std::begin(writers_), std::end(writers_), kNobody);
  space_->used = true;
  Renew(space_->code);
  Renew(upper_code_);
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
  TranslateArea& area = vcpu_.area();
  area.kernel_tlb = reinterpret_cast<uint64_t>(tlb_[data_table_]);
  area.open_kernel = open;
}

bool Mmu::LoadPdptes(uint64_t cr3) {
  return ReadPdptes(map_, cr3, vcpu_.vm.a20_mask(), paging_.pdpte);
}

bool Mmu::SetPdptes(const uint64_t (&pdpte)[4]) {
  for (uint64_t p : pdpte) {
    if (!ValidPdpte(p)) return false;
  }
  std::copy(std::begin(pdpte), std::end(pdpte), paging_.pdpte);
  return true;
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

// Takes an entry with a write tag from its host page's chain.
void Mmu::Unlink(unsigned table, unsigned slot) {
  const TlbEntry& e = tlb_[table][slot];
  const unsigned index = table * kTlbSize + slot;
  uint16_t* at = &writers_[WriterBucket(e.host)];
  while (*at != index) at = &next_writer_[*at];
  *at = next_writer_[index];
}

void Mmu::Drop(unsigned table, unsigned slot) {
  TlbEntry& e = tlb_[table][slot];
  if (e.write_tag != kNoTag) Unlink(table, slot);
  e = {kNoTag, kNoTag, kNoTag, 0};
}

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
  if (walk.shift == 30) {
    flags |= kIs1G;
    filled.huge.Add(page >> 30);
  } else if (walk.shift > kPageShift) {
    flags |= kIs2M;
    filled.large.Add(page >> kRegionShift);
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
  // Translated code remembers no user pages that are open to the kernel for a while.
  if (!walk.global && (read || execute) &&
      (table == kKernelTable || (table == kOpenKernelTable && page >> 63 != 0)))
    vcpu_.area().kernel_local = 1;
  TlbEntry& e = tlb_[table][slot];
  if (e.write_tag != kNoTag) Unlink(table, slot);
  e.read_tag = read ? page : kNoTag;
  const bool seen = target.code || (target.tracked && !target.marked);
  e.write_tag = write && walk.dirty && !target.rom && !seen ? page : kNoTag;
  e.exec_tag = execute ? page : kNoTag;
  e.host = reinterpret_cast<uint64_t>(target.host);
  if (e.write_tag != kNoTag) {
    uint16_t& writers = writers_[WriterBucket(reinterpret_cast<uint64_t>(target.host))];
    next_writer_[table * kTlbSize + slot] = writers;
    writers = static_cast<uint16_t>(table * kTlbSize + slot);
    if (target.tracked) {
      const PageTracker& tracker = *memory_.tracker();
      if (tracked_writers_.empty()) tracked_writers_.resize((tracker.pages() + 63) / 64);
      const size_t n = tracker.PageOf(target.host);
      tracked_writers_[n / 64] |= uint64_t{1} << n % 64;
    }
  }
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
  filled.large.Clear();
  filled.huge.Clear();
}

uint16_t Mmu::CurrentPcid() const {
  return (vcpu_.s.cr4 & kCr4Pcide) != 0 ? vcpu_.s.cr3 & 0xFFF : 0;
}

// Takes what is not global out of the tables.
void Mmu::DropLocal() {
  vcpu_.area().ForgetLocal();
  for (unsigned t = 0; t < kTables; ++t) FlushTable(t, false);
  if (upper_local_code_) Renew(upper_code_);
  upper_local_code_ = false;
}

void Mmu::Renew(Code& code) {
  code.generation = ++last_generation_;
  code.regions.Clear();
}

void Mmu::RenewPage(Code& code, uint64_t linear) {
  if (huge_code_ || code.regions.Has(linear >> kRegionShift)) Renew(code);
}

// Of all spaces but the current one nothing is known any more.
void Mmu::ForgetSpaces() {
  space_->pcid = CurrentPcid();
  for (Space& s : spaces_) s.used = &s == space_;
}

void Mmu::FlushAll() {
  vcpu_.counters.tlb_flush.Add();
  vcpu_.area().ForgetAll();
  map_.Forget();
  walk_cache_.Forget();
  for (unsigned t = 0; t < kTables; ++t) FlushTable(t, true);
  ForgetSpaces();
  Renew(space_->code);
  Renew(upper_code_);
  upper_local_code_ = huge_code_ = false;
}

void Mmu::FlushNonGlobal() {
  vcpu_.counters.tlb_flush.Add();
  walk_cache_.Forget();
  DropLocal();
  ForgetSpaces();
  Renew(space_->code);
}

void Mmu::SwitchTo(bool keep) {
  const uint16_t pcid = CurrentPcid();
  paging_.root = vcpu_.s.cr3;
  if (!keep) vcpu_.counters.tlb_flush.Add();
  if (keep && pcid == space_->pcid) return;
  DropLocal();
  Space* to = nullptr;
  Space* oldest = nullptr;
  for (Space& space : spaces_) {
    if (space.used && space.pcid == pcid) {
      to = &space;
      break;
    }
    const bool older =
        oldest == nullptr || (oldest->used && (!space.used || space.last_use < oldest->last_use));
    if (older && &space != space_) oldest = &space;
  }
  const bool known = to != nullptr;
  space_ = known ? to : oldest;
  space_->used = true;
  space_->pcid = pcid;
  space_->last_use = ++switches_;
  if (!known || !keep) Renew(space_->code);
  if (!keep) walk_cache_.Forget();
}

void Mmu::DropPage(uint64_t page) {
  vcpu_.area().ForgetPage(page, false);
  const unsigned slot = (page >> kPageShift) & (kTlbSize - 1);
  for (unsigned t = 0; t < kTables; ++t) {
    const TlbEntry& e = tlb_[t][slot];
    if (e.read_tag == page || e.write_tag == page || e.exec_tag == page) Drop(t, slot);
  }
}

void Mmu::FlushPage(uint64_t linear) {
  const uint64_t page = linear & ~kOffset;
  walk_cache_.Forget();
  RenewPage(static_cast<int64_t>(linear) < 0 ? upper_code_ : space_->code, linear);
  DropPage(page);
  for (unsigned t = 0; t < kTables; ++t) {
    // The rest of a large page goes too.
    Filled& filled = filled_[t];
    const bool huge = filled.huge.Has(page >> 30);
    if (!huge && !filled.large.Has(page >> kRegionShift)) continue;
    vcpu_.area().ForgetPage(page, true);
    constexpr unsigned kRegionPages = 1 << (kRegionShift - kPageShift);
    const unsigned first =
        huge ? 0 : (page >> kPageShift) & ~uint64_t{kRegionPages - 1} & (kTlbSize - 1);
    const unsigned end = huge ? kTlbSize : first + kRegionPages;
    for (unsigned i = first; i < end; ++i) {
      if ((filled.flags[i] & (kIs2M | kIs1G)) == 0) continue;
      const TlbEntry& x = tlb_[t][i];
      const uint64_t tag = x.read_tag != kNoTag ? x.read_tag : x.exec_tag;
      const unsigned shift = (filled.flags[i] & kIs1G) != 0 ? 30 : kRegionShift;
      if (tag >> shift == page >> shift) Drop(t, i);
    }
  }
}

void Mmu::FlushPcid(uint16_t pcid) {
  walk_cache_.Forget();
  if ((vcpu_.s.cr4 & kCr4Pcide) == 0 || space_->pcid == pcid) {
    DropLocal();
    Renew(space_->code);
    return;
  }
  for (Space& s : spaces_) {
    if (s.used && s.pcid == pcid) s.used = false;
  }
}

void Mmu::DropWriters(uint64_t host) {
  uint16_t* at = &writers_[WriterBucket(host)];
  while (*at != kNobody) {
    TlbEntry& e = tlb_[*at / kTlbSize][*at % kTlbSize];
    if (e.write_tag != kNoTag && e.host == host) {
      e.write_tag = kNoTag;
      *at = next_writer_[*at];
    } else {
      at = &next_writer_[*at];
    }
  }
}

void Mmu::DropWriteTags(uint64_t ram_page) {
  const uint64_t host = reinterpret_cast<uint64_t>(memory_.ram_host()) + (ram_page << kPageShift);
  DropWriters(host);
  vcpu_.area().ForgetHostRange(host, kPageSize);
}

void Mmu::RevokeTracked() {
  if (tracked_writers_.empty() || memory_.tracker() == nullptr) return;
  const std::span<uint8_t> bytes = memory_.tracker()->bytes();
  const auto first = reinterpret_cast<uint64_t>(bytes.data());
  for (size_t i = 0; i < tracked_writers_.size(); ++i) {
    for (uint64_t word = std::exchange(tracked_writers_[i], 0); word != 0; word &= word - 1) {
      const auto n = 64 * i + static_cast<unsigned>(std::countr_zero(word));
      DropWriters(first + (n << kPageShift));
    }
  }
  vcpu_.area().ForgetHostRange(first, bytes.size());
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
  const uint64_t revocation = revocation_requested_.load(std::memory_order_acquire);
  if (revocation != revocation_done_.load(std::memory_order_relaxed)) {
    RevokeTracked();
    revocation_done_.store(revocation, std::memory_order_release);
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
  if (!WalkPageTables(paging_, map_, linear, {access, rights, ac}, &walk, &error_code,
                      &walk_cache_)) {
    // A fault takes the page out of the TLB.
    DropPage(linear & ~kOffset);
    vcpu_.fault = {kPfault, true, error_code, linear};
    return false;
  }
  vcpu_.counters.pf_fixed.Add();
  if (access == Access::kExecute) {
    huge_code_ |= walk.shift == 30;
    if (static_cast<int64_t>(linear) < 0) upper_local_code_ |= !walk.global;
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
  } else if (PageTracker* const tracker = memory_.tracker();
             tracker != nullptr && tracker->Covers(page)) {
    out->tracked = true;
    out->marked = access == Access::kWrite;
    if (out->marked) tracker->Mark(page);
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
  if (log_ != nullptr) log_->Unrepeatable();
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
    if (log_ != nullptr) [[unlikely]] {
      log_->Add(target.host, size);
      if (target.code) log_->Unrepeatable();
    }
    CopyFrom(target.host, from, size);
    if (target.code) vcpu_.vm.CodeWritten(target.ram_page, target.physical & kOffset, size);
    return;
  }
  if (log_ != nullptr) log_->Unrepeatable();
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
  if (log_ != nullptr) [[unlikely]] {
    log_->Add(t.host, size);
    if (t.code) log_->Unrepeatable();
  }
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
  Code& code = static_cast<int64_t>(linear) < 0 ? upper_code_ : space_->code;
  code.regions.Add(linear >> kRegionShift);
  const TlbEntry& e = tlb_[table][(page >> kPageShift) & (kTlbSize - 1)];
  const uint8_t* host;
  if (e.exec_tag == page) [[likely]] {
    host = reinterpret_cast<const uint8_t*>(e.host);
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
