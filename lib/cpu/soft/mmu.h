// SPDX-License-Identifier: Apache-2.0
// A software vCPU's memory management unit: translation of linear addresses by
// the guest's page tables (32-bit, PAE, 4-level; vol. 3, chapter 4), a soft TLB
// in front, MMIO behind.
//
// The fast path is a direct-mapped table for each privilege (kernel, user):
// tag compare, add, access. Absent from it, and so on the slow path: MMIO, ROM
// writes, pages not yet accessed or dirty, writes to pages with decoded code,
// accesses that cross a page, pages under a data breakpoint.
//
// Thread rule: the vCPU's thread only, but for RequestFlush().
#ifndef LIB_CPU_SOFT_MMU_H_
#define LIB_CPU_SOFT_MMU_H_

#include <atomic>
#include <cstdint>
#include <cstring>

#include "lib/mem/guest_memory.h"

namespace atl::cpu::soft {

class SoftVcpu;

enum class Access : uint8_t { kRead, kWrite, kExecute };
// Whose rights an access has: the current CPL's, or the processor's own
// accesses to descriptor tables, TSS and kernel stacks of an inter-privilege
// transfer, which are always supervisor (and never SMAP-checked as explicit).
enum class Rights : uint8_t { kSupervisor, kUser, kImplicitSupervisor };

struct TlbEntry {
  // The page's linear address with the low bits zero, or kNoTag.
  uint64_t read_tag, write_tag, exec_tag;
  // Host address of a byte minus its linear address.
  uint64_t addend;
};

class Mmu {
 public:
  static constexpr unsigned kTlbBits = 10;
  static constexpr unsigned kTlbSize = 1 << kTlbBits;
  static constexpr uint64_t kNoTag = 1;  // never page-aligned

  Mmu(SoftVcpu& vcpu, GuestMemory& memory);

  // The host address of [linear, linear + sizeof(T)) where the TLB has it with
  // the right asked for and it lies in one page, else null: then the slow calls
  // decide. `user` is CPL 3.
  template <typename T>
  uint8_t* FastRead(uint64_t linear, bool user) {
    TlbEntry& e = tlb_[user][(linear >> kPageShift) & (kTlbSize - 1)];
    // An access that crosses the page gives another page's tag: no match.
    if (((linear + sizeof(T) - 1) & ~(kPageSize - 1)) != e.read_tag ||
        (linear & ~(kPageSize - 1)) != e.read_tag) [[unlikely]]
      return nullptr;
    return reinterpret_cast<uint8_t*>(linear + e.addend);
  }
  template <typename T>
  uint8_t* FastWrite(uint64_t linear, bool user) {
    TlbEntry& e = tlb_[user][(linear >> kPageShift) & (kTlbSize - 1)];
    if (((linear + sizeof(T) - 1) & ~(kPageSize - 1)) != e.write_tag ||
        (linear & ~(kPageSize - 1)) != e.write_tag) [[unlikely]]
      return nullptr;
    return reinterpret_cast<uint8_t*>(linear + e.addend);
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
  // with write rights checked (dirty bit set, code invalidated), or null with
  // *fault_or_slow: true, a fault is in SoftVcpu::fault; false, the bytes are
  // MMIO or cross a page: do it by ReadSlow and WriteSlow under the VM's global
  // atomics lock (SoftVm::LockSplit()).
  uint8_t* RmwPointer(uint64_t linear, unsigned size, Rights rights, bool stack, bool* faulted);

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
  void FlushNonGlobal();            // CR3 without PCID
  void FlushPage(uint64_t linear);  // INVLPG
  void FlushPcid(uint16_t pcid, bool globals_too);
  // A page got decoded code, or an armed watchpoint: no fast writes to it.
  void DropWriteTags(uint64_t ram_page);
  // Changes with every flush of any kind, FlushPage() too: translations of code
  // that others remember hold while it is the same.
  uint64_t generation() const { return generation_; }
  // From any thread: the vCPU flushes all before its next block; the caller
  // waits for flush_done() where it needs to know.
  void RequestFlush() { flush_requested_.store(true, std::memory_order_release); }
  bool flush_requested() const { return flush_requested_.load(std::memory_order_acquire); }
  void TakeFlushRequest();  // flushes and acknowledges, on the vCPU's thread

  // CR0, CR3, CR4, EFER, CPL or AC changed: recompute what the walk uses.
  void ModeChanged();

 private:
  friend class MmuTestPeer;
  SoftVcpu& vcpu_;
  GuestMemory& memory_;
  uint64_t generation_ = 1;
  TlbEntry tlb_[2][kTlbSize];
  std::atomic<bool> flush_requested_{false};
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_MMU_H_
