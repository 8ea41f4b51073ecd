// SPDX-License-Identifier: Apache-2.0
// A software vCPU's memory management unit: translation of linear addresses by
// the guest's page tables (32-bit, PAE, 4-level; vol. 3, chapter 4), a soft TLB
// in front, MMIO behind.
//
// The fast path is a direct-mapped table for each privilege (kernel, user, and
// kernel while RFLAGS.AC opens user pages to it under SMAP: STAC and CLAC only
// choose the table): tag compare, add, access. Absent from it, and so on the slow path: MMIO, ROM
// writes, pages not yet accessed or dirty, writes to pages with decoded code,
// accesses that cross a page, pages under a data breakpoint.
//
// PCIDs. The tables hold the current PCID's pages and global ones; a switch takes
// the others out, and the paging-structure cache (walk.h), which knows the
// address space, makes filling them again cheap. What was remembered of a PCID's
// code is good again when it comes back (generation()).
//
// Thread rule: the vCPU's thread only, but for RequestFlush().
#ifndef LIB_CPU_SOFT_MMU_H_
#define LIB_CPU_SOFT_MMU_H_

#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "lib/cpu/soft/rights.h"
#include "lib/cpu/soft/walk.h"
#include "lib/cpu/soft/write_log.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::soft {

class SoftVcpu;

struct TlbEntry {
  // The page's linear address with the low bits zero, or kNoTag.
  uint64_t read_tag, write_tag, exec_tag;
  uint64_t host;  // address of the page's bytes
};

class Mmu {
 public:
  static constexpr unsigned kTlbBits = 13;
  static constexpr unsigned kTlbSize = 1 << kTlbBits;
  // Never page-aligned, and of a page that is not canonical, chosen at random:
  // translated code compares all but the offset (translate_area.h).
  static const uint64_t kNoTag;

  Mmu(SoftVcpu& vcpu, GuestMemory& memory);

  // The host address of [linear, linear + sizeof(T)) where the TLB has it with
  // the right asked for and it lies in one page, else null: then the slow calls
  // decide. `user` is CPL 3.
  template <typename T>
  uint8_t* FastRead(uint64_t linear, bool user) {
    TlbEntry& e = tlb_[user ? kUserTable : data_table_][(linear >> kPageShift) & (kTlbSize - 1)];
    // An access that crosses the page compares the next page's tag, which never
    // stands in this page's slot.
    if (((linear + sizeof(T) - 1) & ~(kPageSize - 1)) != e.read_tag) [[unlikely]]
      return nullptr;
    return reinterpret_cast<uint8_t*>(e.host + (linear & (kPageSize - 1)));
  }
  template <typename T>
  uint8_t* FastWrite(uint64_t linear, bool user) {
    TlbEntry& e = tlb_[user ? kUserTable : data_table_][(linear >> kPageShift) & (kTlbSize - 1)];
    if ((((linear + sizeof(T) - 1) & ~(kPageSize - 1)) | no_fast_writes_) != e.write_tag)
        [[unlikely]]
      return nullptr;
    return reinterpret_cast<uint8_t*>(e.host + (linear & (kPageSize - 1)));
  }

  // As FastRead(), for the processor's own accesses (Rights::kImplicitSupervisor).
  template <typename T>
  uint8_t* FastReadImplicit(uint64_t linear) {
    TlbEntry& e = tlb_[kKernelTable][(linear >> kPageShift) & (kTlbSize - 1)];
    if (((linear + sizeof(T) - 1) & ~(kPageSize - 1)) != e.read_tag) [[unlikely]]
      return nullptr;
    return reinterpret_cast<uint8_t*>(e.host + (linear & (kPageSize - 1)));
  }

  template <typename T>
  uint8_t* FastWriteImplicit(uint64_t linear) {
    TlbEntry& e = tlb_[kKernelTable][(linear >> kPageShift) & (kTlbSize - 1)];
    if ((((linear + sizeof(T) - 1) & ~(kPageSize - 1)) | no_fast_writes_) != e.write_tag)
        [[unlikely]]
      return nullptr;
    return reinterpret_cast<uint8_t*>(e.host + (linear & (kPageSize - 1)));
  }

  // Any address, any size from 1 to 4096, with faults, MMIO and page crossing.
  // False: the exception is in SoftVcpu::fault (#PF; #GP or #SS for a
  // non-canonical address by `stack`), and nothing was written: the rights of
  // every byte are checked before the first is.
  bool ReadSlow(uint64_t linear, void* to, unsigned size, Rights rights, bool stack = false);
  bool WriteSlow(uint64_t linear, const void* from, unsigned size, Rights rights,
                 bool stack = false);
  // The same checks with no access: before an instruction that must not fault
  // half-way (PUSHA, ENTER, far calls, x87 stores).
  bool Probe(uint64_t linear, unsigned size, Access access, Rights rights, bool stack = false);

  // For a locked or plain read-modify-write of 1 to 16 bytes: the host address
  // with write rights checked (dirty bit set), or null with
  // *faulted: true, a fault is in SoftVcpu::fault; false, the bytes are MMIO or
  // ROM or cross a page: do it by ReadSlow and WriteSlow under the VM's lock for
  // such accesses (SoftVm::split_lock()).
  uint8_t* RmwPointer(uint64_t linear, unsigned size, Rights rights, bool stack, bool* faulted);
  // After the store of `size` bytes, of one page, through it: decoded code there
  // is out of date.
  void Stored(const uint8_t* host, unsigned size = 16);

  // Code: translates for execution and gives the page's host bytes. Null: fault
  // in SoftVcpu::fault, or `*mmio` where it is no memory.
  struct CodePage {
    const uint8_t* host = nullptr;  // the page's first byte
    uint64_t page = 0;              // its RAM page index, or kNotRam
  };
  static constexpr uint64_t kNotRam = ~uint64_t{0};
  bool TranslateCode(uint64_t linear, CodePage* out);

  // Invalidation (vol. 3, 4.10.4).
  void FlushAll();                  // CR0, CR4, A20, slots changed
  void FlushNonGlobal();            // of every PCID
  void FlushPage(uint64_t linear);  // INVLPG
  void FlushPcid(uint16_t pcid);    // all of a PCID but global pages
  // CpuState::cr3 has another value. `keep`: nothing of its PCID is flushed.
  void SwitchTo(bool keep);
  // A page got decoded code, or an armed watchpoint: no fast writes to it.
  void DropWriteTags(uint64_t ram_page);
  // Translations of code at `linear` that others remember (from TranslateCode())
  // hold while this is the same. Numbers are never used again, but for those of a
  // PCID that comes back with nothing flushed.
  uint64_t generation(uint64_t linear) const {
    return static_cast<int64_t>(linear) < 0 ? upper_code_.generation : space_->code.generation;
  }
  // From any thread: the vCPU flushes all before its next block. The caller
  // that needs to know when waits for FlushDone() of what this returned.
  uint64_t RequestFlush() { return requested_.fetch_add(1, std::memory_order_acq_rel) + 1; }
  bool FlushDone(uint64_t ticket) const { return done_.load(std::memory_order_acquire) >= ticket; }
  // The same for what DropWriteTags() does. The callers take turns.
  uint64_t RequestWriteDrop(uint64_t ram_page);
  bool WriteDropDone(uint64_t ticket) const {
    return drops_done_.load(std::memory_order_acquire) >= ticket;
  }
  // The same for the rights to write to pages of the PageTracker; tickets are the
  // caller's and grow.
  void RequestRevocation(uint64_t ticket) {
    revocation_requested_.store(ticket, std::memory_order_seq_cst);
  }
  bool RevocationDone(uint64_t ticket) const {
    return revocation_done_.load(std::memory_order_acquire) >= ticket;
  }
  // Of any kind.
  bool flush_requested() const {
    return requested_.load(std::memory_order_acquire) != done_.load(std::memory_order_relaxed) ||
           revocation_requested_.load(std::memory_order_acquire) !=
               revocation_done_.load(std::memory_order_relaxed) ||
           drops_requested_.load(std::memory_order_acquire) !=
               drops_done_.load(std::memory_order_relaxed);
  }
  void TakeFlushRequest();  // does it and acknowledges, on the vCPU's thread

  // CR0, CR3, CR4, EFER or the A20 mask changed: recompute what the walk uses.
  // Flushes nothing.
  void ModeChanged();
  // RFLAGS.AC or CR4.SMAP changed: choose the kernel's table.
  void AcChanged();
  // DR0 to DR3 or DR7 changed: pages under a data breakpoint leave the TLB, and
  // accesses that hit one set CpuState::pending_debug.
  void BreakpointsChanged();

  // The user's table of fast entries, for translated code; the kernel's present
  // one is in the TranslateArea.
  const TlbEntry* user_table() const { return tlb_[kUserTable]; }

  // From now on stores of the interpreter go into `log`; null: no more. Translated
  // code is not to run meanwhile.
  void SetWriteLog(WriteLog* log) {
    log_ = log;
    no_fast_writes_ = log != nullptr ? 2 : 0;
  }

  // For PAE: loads the PDPTEs from `cr3`; false: reserved bits set.
  bool LoadPdptes(uint64_t cr3);
  // The same from a saved state.
  bool SetPdptes(const uint64_t (&pdpte)[4]);
  const Paging& paging() const { return paging_; }

 private:
  friend class MmuTestPeer;

  static constexpr unsigned kKernelTable = 0, kUserTable = 1, kOpenKernelTable = 2, kTables = 3;

  // A set of numbers that may say yes to others too.
  template <unsigned kBits>
  class Filter {
   public:
    void Add(uint64_t n) { words_[Bit(n) / 64] |= uint64_t{1} << (Bit(n) % 64); }
    bool Has(uint64_t n) const { return (words_[Bit(n) / 64] >> (Bit(n) % 64) & 1) != 0; }
    void Clear() { std::memset(words_, 0, sizeof words_); }

   private:
    static unsigned Bit(uint64_t n) {
      return static_cast<unsigned>(n * 0x9E3779B97F4A7C15u >> 40) % kBits;
    }
    uint64_t words_[kBits / 64] = {};
  };

  // Regions are of 4 MiB: no page but those of 1 GiB lies in two.
  static constexpr unsigned kRegionShift = 22;

  // Which slots of a table are filled, so that flushing costs what was used.
  struct Filled {
    uint8_t flags[kTlbSize] = {};
    uint16_t local[kTlbSize];  // slots filled by pages that are not global
    uint16_t global[kTlbSize];
    unsigned local_count = 0, global_count = 0;
    Filter<4096> large;  // regions with pages of 2 or 4 MiB
    Filter<256> huge;    // numbers of 1 GiB pages
  };
  // What others remember of translations of code.
  struct Code {
    uint64_t generation = 0;
    Filter<1024> regions;  // of the translations since it has this number
  };
  // An address space whose PCID is known. Its lower half is all its own.
  struct Space {
    bool used = false;
    uint16_t pcid = 0;
    uint64_t last_use = 0;
    Code code;
  };
  static constexpr unsigned kSpaces = 8;
  // A translated access within one page.
  struct Target {
    uint8_t* host = nullptr;  // of the byte; null: MMIO
    uint64_t physical = 0;    // of the byte
    uint64_t ram_page = ~uint64_t{0};
    bool rom = false;
    bool code = false;     // the page has decoded code
    bool tracked = false;  // the page is the PageTracker's
    bool marked = false;   // and it was marked for this access
  };
  struct Breakpoint {
    uint64_t first = 1, last = 0;
    bool reads = false;
    uint8_t index = 0;
  };

  bool CheckNextPage(uint64_t linear, bool stack);
  bool Translate(uint64_t linear, Access access, Rights rights, bool stack, Target* out);
  void Fill(unsigned table, uint64_t page, const PageWalk& walk, const Target& target);
  void Drop(unsigned table, unsigned slot);
  void DropPage(uint64_t page);
  void DropWriters(uint64_t host);
  void RevokeTracked();
  void FlushTable(unsigned table, bool globals_too);
  uint16_t CurrentPcid() const;
  void DropLocal();
  void Renew(Code& code);
  void RenewPage(Code& code, uint64_t linear);
  void ForgetSpaces();
  void Unlink(unsigned table, unsigned slot);
  static unsigned WriterBucket(uint64_t host) { return host >> kPageShift & (kWriterBuckets - 1); }
  bool PageWatched(uint64_t page) const;
  void CheckBreakpoints(uint64_t linear, unsigned size, bool write);
  void ReadTarget(const Target& target, uint8_t* to, unsigned size);
  void WriteTarget(const Target& target, const uint8_t* from, unsigned size);

  SoftVcpu& vcpu_;
  GuestMemory& memory_;
  TlbEntry tlb_[kTables][kTlbSize];
  uint64_t last_generation_ = 0, switches_ = 0;
  Space spaces_[kSpaces];
  Space* space_ = spaces_;  // the current one
  // Of the upper half, where kernels' global pages are: one for all spaces, new
  // where code there came from a page that is not global.
  Code upper_code_;
  bool upper_local_code_ = false;
  bool huge_code_ = false;  // some code is in 1 GiB pages
  WalkCache walk_cache_;
  // Entries with a write tag by host page, chained: table * kTlbSize + slot.
  static constexpr unsigned kWriterBuckets = 1024;
  static constexpr uint16_t kNobody = 0xFFFF;
  static_assert(kTables * kTlbSize < kNobody);
  uint16_t writers_[kWriterBuckets];
  uint16_t next_writer_[kTables * kTlbSize];
  unsigned data_table_ = kKernelTable;
  WriteLog* log_ = nullptr;
  uint64_t no_fast_writes_ = 0;  // or a bit that no tag has
  Filled filled_[kTables];
  Paging paging_;
  PhysicalMap map_;
  Breakpoint breakpoints_[4];
  unsigned breakpoint_count_ = 0;
  std::atomic<uint64_t> requested_{0}, done_{0};
  // The pages of the last requests to drop write tags, by ticket. A vCPU that was
  // outside Run() finds older ones overwritten: then everything goes.
  static constexpr unsigned kDropRing = 16;
  std::atomic<uint64_t> drops_requested_{0}, drops_done_{0};
  std::atomic<uint64_t> drop_ring_[kDropRing] = {};
  std::atomic<uint64_t> revocation_requested_{0}, revocation_done_{0};
  // Pages of the PageTracker that entries may have a write tag for, a bit each.
  std::vector<uint64_t> tracked_writers_;
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_MMU_H_
