// SPDX-License-Identifier: Apache-2.0
// What translated code reaches beside the vCPU itself: it runs with RSP at the
// SoftVcpu, and this lies behind it, so that each field is one displacement away.
// SoftVcpu::operator new makes room for it, zeroed, and for the few bytes of
// stack below that translated code and signal frames take.
//
// A site is one access of one translated instruction. A slot remembers the page
// that was used last (`SiteSlot`); a site's check is a compare with its slot's
// `tag`, and the host address is the linear one plus `addend`: the address does not
// wait for the check. Sites on the stack share a few slots, those of hot blocks
// have their own until they miss too often; all others do without and look into
// the soft TLB (mmu.h).
//
// What a slot remembers it had from the soft TLB (mmu.h), so it must forget
// whenever the TLB does. Own slots that remember something are listed in `filled`,
// so that forgetting costs what was used. Before the first translation (firmware,
// systems without 64-bit code) nothing here is filled, forgotten or touched.
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

struct Site {
  uint16_t slot;
  uint8_t last;        // bytes less one
  uint8_t misaligned;  // bits of the address that must be clear
  uint8_t misses;      // that are left; 1 where there is no slot
};

struct alignas(4096) TranslateArea {
  static constexpr unsigned kMaxPoints = 1 << 20;
  // Slots: shared ones of the kernel's code, of the user's, own ones.
  static constexpr unsigned kShared = 64;
  static constexpr unsigned kSlots = 1 << 15;
  // How often a site's slot misses before it is given up.
  static constexpr uint8_t kMisses = 200;
  static constexpr unsigned kExecSlots = 1 << 14;
  static constexpr unsigned kJumpSlots = 1 << 17;
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
  uint32_t used;   // Prepare() was called: the caches below are what they should be
  SiteSlot empty;  // of an own slot that is not in `filled`
  SiteSlot stale;  // of one that is, and of shared ones

  // ---- caches; [0]: supervisor, [1]: user ----
  // Whether a code page is mapped as it was when a block of it was translated:
  // linear page and RAM page in one number (ExecKey()).
  uint64_t exec_key[2][kExecSlots];
  // Where to go on for an indirect branch, by the target's low bits.
  const uint8_t* jumps[2][kJumpSlots];
  // Pages that sites may remember, by SeenSlot(); saves looking.
  uint8_t seen[2][kSeenSlots];
  SiteSlot slots[kSlots];
  uint32_t filled[2][kSlots];
  Site sites[kMaxPoints];
  alignas(4096) uint8_t nothing[4096];

  // 36 bits of linear page, 28 of RAM page (1 TiB).
  static uint64_t ExecKey(uint64_t linear, uint64_t ram_page) {
    return (linear >> 12) << 28 | ram_page;
  }
  static unsigned ExecSlot(uint64_t linear) { return (linear >> 12) & (kExecSlots - 1); }
  // The shared slot of accesses by a base register, and of those to the stack at
  // `disp` from its pointer.
  static unsigned RegisterSlot(bool user, unsigned base, bool write) {
    return user * kShared + base * 2 + write;
  }
  static unsigned StackSlot(bool user, int64_t disp, bool write) {
    return user * kShared + 32 + (static_cast<unsigned>(disp >> 6) & 15) * 2 + write;
  }
  static unsigned SeenSlot(uint64_t page) { return (page >> 12) & (kSeenSlots - 1); }

  // A page's linear address that is not canonical, chosen at random.
  static uint64_t SecretPage();
  void Init();
  // Before the first translation is run.
  void Prepare();
  // Own slots are somebody else's from now on.
  void DropOwn();
  void ForgetAll();    // as Mmu::FlushAll()
  void ForgetLocal();  // as Mmu::FlushNonGlobal()
  // One 4 KiB page; `large`: the larger page it may lie in.
  void ForgetPage(uint64_t page, bool large);
  // Sites that point into host pages, since those must not be written unseen.
  void ForgetHostRange(uint64_t first, uint64_t size);

 private:
  // Slots of a table that may remember something.
  template <typename F>
  void ForEach(unsigned table, F f) {
    for (unsigned i = 0; i < kShared; ++i) f(slots[table * kShared + i]);
    for (unsigned i = 0; i < filled_count[table]; ++i) f(slots[filled[table][i]]);
  }
  void ForgetSites(unsigned table);
  void ForgetKeys(unsigned table);
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_TRANSLATE_AREA_H_
