// SPDX-License-Identifier: Apache-2.0
// What translated code reaches beside the vCPU itself: it runs with RSP at the
// SoftVcpu, and this lies behind it, so that each field is one displacement away.
// SoftVcpu::operator new makes room for it, zeroed, and for the few bytes of
// stack below that translated code and signal frames take.
//
// A site is one access of one translated instruction. It remembers the page that
// it used last (`SiteSlot`); the check is a compare with `tag`, and the host
// address is the linear one plus `addend`. What a site remembers it had from the
// soft TLB (mmu.h), so it must forget whenever the TLB does: sites that remember
// something are listed in `filled`, so that forgetting costs what was used.
//
// Thread rule: the vCPU's thread only, but for `go_on`.
#ifndef LIB_CPU_SOFT_TRANSLATE_AREA_H_
#define LIB_CPU_SOFT_TRANSLATE_AREA_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace atl::cpu::soft {

// The check of an access of n bytes is (linear XOR tag) <= 4096 - n. No tag fails
// it for every address, so a site that remembers nothing has the tag of a page
// that is not canonical, chosen at random, and leads to a page of nothing: a guest
// that hit it by chance would read and write that instead of #GP.
struct SiteSlot {
  uint64_t tag;     // the page's linear address
  uint64_t addend;  // host address of a byte minus its linear address
};

struct alignas(4096) TranslateArea {
  static constexpr unsigned kMaxPoints = 1 << 18;
  static constexpr unsigned kExecSlots = 1 << 11;
  static constexpr unsigned kJumpSlots = 1 << 16;
  static constexpr unsigned kSeenSlots = 1 << 13;
  static constexpr uint64_t kNoKey = ~uint64_t{0};
  // Below the SoftVcpu: what signal handlers and calls to glue may use.
  static constexpr size_t kStackRoom = 64 << 10;

  // ---- glue ----
  uint64_t host_rsp, enter_at, return_to, spare;
  // The kernel's table of the soft TLB that is in use (Mmu::AcChanged()).
  uint64_t kernel_tlb;
  // Zero: something is to be looked at; translated code leaves at the next loop
  // or indirect branch. Written by any thread.
  std::atomic<uint32_t> go_on;
  uint32_t host_mxcsr;  // outside of translated code
  // The host's registers hold the guest's: [0] XMM, [1] YMM too, [2] x87's.
  uint32_t fpu_loaded[4];
  uint32_t open_kernel;   // kernel_tlb is the table that opens user pages (AC)
  uint32_t kernel_local;  // the TLB had a kernel page that is not global
  uint32_t filled_count[2];
  SiteSlot empty;  // of a site that is not in `filled`
  SiteSlot stale;  // of one that is

  // ---- caches; [0]: supervisor, [1]: user ----
  // Whether a code page is mapped as it was when a block of it was translated:
  // linear page and RAM page in one number (ExecKey()).
  uint64_t exec_key[2][kExecSlots];
  // Where to go on for an indirect branch, by the target's low bits.
  const uint8_t* jumps[2][kJumpSlots];
  // Pages that sites may remember, by SeenSlot(); saves looking.
  uint8_t seen[2][kSeenSlots];
  SiteSlot slots[kMaxPoints];
  uint32_t filled[2][kMaxPoints];
  // Of each site: bytes less one, and the bits of the address that must be clear.
  uint8_t last[kMaxPoints], misaligned[kMaxPoints];
  alignas(4096) uint8_t nothing[4096];

  // 36 bits of linear page, 28 of RAM page (1 TiB).
  static uint64_t ExecKey(uint64_t linear, uint64_t ram_page) {
    return (linear >> 12) << 28 | ram_page;
  }
  static unsigned ExecSlot(uint64_t linear) { return (linear >> 12) & (kExecSlots - 1); }
  static unsigned SeenSlot(uint64_t page) { return (page >> 12) & (kSeenSlots - 1); }

  void Init();
  void ForgetAll();    // as Mmu::FlushAll()
  void ForgetLocal();  // as Mmu::FlushNonGlobal()
  // One 4 KiB page; `large`: the larger page it may lie in.
  void ForgetPage(uint64_t page, bool large);
  // Sites that point into a host page, since it must not be written unseen.
  void ForgetHostPage(uint64_t host);

 private:
  void ForgetSites(unsigned table);
  void ForgetKeys(unsigned table);
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_TRANSLATE_AREA_H_
