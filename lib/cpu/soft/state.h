// SPDX-License-Identifier: Apache-2.0
// The architectural state of a software vCPU: plain data, shared by the
// interpreter, the translator (which addresses it by offset), the MMU and the
// exception code. Only the vCPU's own thread touches it while it runs.
#ifndef LIB_CPU_SOFT_STATE_H_
#define LIB_CPU_SOFT_STATE_H_

#include <cstddef>
#include <cstdint>

#include "lib/cpu/regs.h"

namespace atl::cpu::soft {

// RFLAGS (Intel SDM vol. 1, 3.4.3).
inline constexpr uint64_t kCf = 1 << 0, kPf = 1 << 2, kAf = 1 << 4, kZf = 1 << 6, kSf = 1 << 7,
                          kTf = 1 << 8, kIf = 1 << 9, kDf = 1 << 10, kOf = 1 << 11, kIopl = 3 << 12,
                          kNt = 1 << 14, kRf = 1 << 16, kVm = 1 << 17, kAc = 1 << 18,
                          kVif = 1 << 19, kVip = 1 << 20, kId = 1 << 21;
// CR0 (vol. 3, 2.5).
inline constexpr uint64_t kCr0Pe = 1 << 0, kCr0Mp = 1 << 1, kCr0Em = 1 << 2, kCr0Ts = 1 << 3,
                          kCr0Et = 1 << 4, kCr0Ne = 1 << 5, kCr0Wp = 1 << 16, kCr0Am = 1 << 18,
                          kCr0Nw = 1 << 29, kCr0Cd = 1 << 30, kCr0Pg = uint64_t{1} << 31;
inline constexpr uint64_t kCr4Vme = 1 << 0, kCr4Pvi = 1 << 1, kCr4Tsd = 1 << 2, kCr4De = 1 << 3,
                          kCr4Pse = 1 << 4, kCr4Pae = 1 << 5, kCr4Mce = 1 << 6, kCr4Pge = 1 << 7,
                          kCr4Pce = 1 << 8, kCr4Osfxsr = 1 << 9, kCr4Osxmmexcpt = 1 << 10,
                          kCr4Umip = 1 << 11, kCr4Fsgsbase = 1 << 16, kCr4Pcide = 1 << 17,
                          kCr4Osxsave = 1 << 18, kCr4Smep = 1 << 20, kCr4Smap = 1 << 21;
inline constexpr uint64_t kEferSce = 1 << 0, kEferLme = 1 << 8, kEferLma = 1 << 10,
                          kEferNxe = 1 << 11;

// Exception vectors (vol. 3, 6.3.1).
enum Vector : uint8_t {
  kDe = 0,
  kDb = 1,
  kNmi = 2,
  kBp = 3,
  kOfl = 4,
  kBr = 5,
  kUd = 6,
  kNm = 7,
  kDfault = 8,
  kTs = 10,
  kNp = 11,
  kSsFault = 12,
  kGp = 13,
  kPfault = 14,
  kMf = 16,
  kAcFault = 17,
  kMc = 18,
  kXm = 19,
};

// What the decoder and the code cache need to know of the mode; part of the
// key of a decoded block. `bits` of CS: 16, 32 or 64.
enum class CodeSize : uint8_t { k16, k32, k64 };

struct SegmentState {
  uint64_t base = 0;
  uint32_t limit = 0xFFFF;  // inclusive, in bytes
  uint16_t selector = 0;
  // Bits 8..23 of a descriptor's second doubleword, shifted down by 8: type
  // (0-3), S (4), DPL (5-6), P (7), AVL (12), L (13), D/B (14), G (15).
  uint16_t attributes = 0x93;
  bool unusable = false;
  // Derived by the loader of the segment: base any, limit 4 GiB, expand-up,
  // present, so that no check is needed for reads / for writes.
  bool flat_read = false;
  bool flat_write = false;
};

// x87, MXCSR, XMM and YMM as XSAVE64 lays them out (vol. 1, 13.4), so that the
// host's own FXSAVE and FXRSTOR move `image` and its XSAVE and XRSTOR the whole.
// x87 tags are the abridged form.
struct alignas(64) FpuState {
  uint8_t image[512];
  uint8_t xsave_header[64];  // the interpreter neither reads nor writes it
  // Bits 128 to 255 of YMM0 to YMM15: 416 bytes behind the register's XMM.
  alignas(16) uint8_t ymm_high[16][16];
  static constexpr unsigned kFcw = 0, kFsw = 2, kFtw = 4, kFop = 6, kFip = 8, kFdp = 16,
                            kMxcsr = 24, kMxcsrMask = 28, kSt = 32, kXmm = 160;
  static constexpr unsigned kYmmHighFromXmm = 416;
};
static_assert(offsetof(FpuState, ymm_high) == FpuState::kXmm + FpuState::kYmmHighFromXmm);

struct alignas(64) CpuState {
  uint64_t gpr[16] = {};
  uint64_t rip = 0xFFF0;
  uint64_t zero = 0;  // so that an absent base or index register is a slot too

  // The six arithmetic flags as the host's LAHF and SETO give them: `flags_lo`
  // holds SF ZF AF PF CF at their places in RFLAGS (other bits are noise),
  // `flags_of` is 0 or 1. Read them through GetRflags() or the helpers below.
  uint8_t flags_of = 0;
  uint8_t flags_lo = 0x02;
  // All other bits of RFLAGS (bit 1 set; the six above clear).
  uint64_t rflags_rest = 2;

  uint64_t shadow_rip = 0;
  uint8_t cpl = 0;
  CodeSize code_size = CodeSize::k16;
  bool stack32 = false;         // SS.B, when not 64-bit mode
  bool long_mode = false;       // EFER.LMA
  bool paging = false;          // CR0.PG
  bool protected_mode = false;  // CR0.PE
  bool v8086 = false;           // RFLAGS.VM
  // Interrupts are held off for one instruction (STI, MOV SS, POP SS): the one at
  // `shadow_rip`, so that it is over wherever else rip stands.
  bool interrupt_shadow = false;
  bool nmi_blocked = false;  // until IRET
  // DR6 bits of a data breakpoint or single step that this instruction met: #DB
  // before the next one.
  uint32_t pending_debug = 0;
  bool halted = false;
  bool wait_for_sipi = false;

  SegmentState seg[6];  // by SegmentIndex
  SegmentState tr;
  SegmentState ldt;
  DescriptorTable gdt;
  DescriptorTable idt;

  uint64_t cr0 = 0x60000010, cr2 = 0, cr3 = 0, cr4 = 0;
  uint64_t efer = 0;
  uint64_t dr[8] = {0, 0, 0, 0, 0, 0, 0xFFFF0FF0, 0x400};
  uint64_t star = 0, lstar = 0, cstar = 0, sfmask = 0, kernel_gs_base = 0;
  uint64_t sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
  uint64_t pat = 0x0007040600070406, tsc_aux = 0, tsc_offset = 0, misc_enable = 1;
  uint64_t xcr0 = 1;
  uint64_t spec_ctrl = 0, kvm_system_time = 0, kvm_wall_clock = 0;
  uint64_t mtrr_def_type = 0, mtrr_fixed[11] = {}, mtrr_variable[16] = {};

  FpuState fpu;
};

inline uint64_t GetRflags(const CpuState& s) {
  return s.rflags_rest | (s.flags_lo & (kSf | kZf | kAf | kPf | kCf)) |
         (static_cast<uint64_t>(s.flags_of) << 11);
}
// Takes the bits as they are; whoever loads guest values masks them before and
// sets s.v8086 where VM changes.
inline void SetRflags(CpuState& s, uint64_t v) {
  s.flags_lo = static_cast<uint8_t>(v & (kSf | kZf | kAf | kPf | kCf)) | 2;
  s.flags_of = (v & kOf) != 0;
  s.rflags_rest = (v & ~(kSf | kZf | kAf | kPf | kCf | kOf)) | 2;
}

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_STATE_H_
