// SPDX-License-Identifier: Apache-2.0
// Control and debug registers, MSRs, CPUID, the TSC, flags of the processor's
// own (IF, AC), cache and TLB instructions, HLT.
#include <cstdint>

#include "Zydis/Zydis.h"
#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/cpuid.h"
#include "lib/cpu/soft/msr.h"
#include "lib/cpu/soft/sys_descriptor.h"
#include "lib/cpu/soft/sys_select.h"
#include "lib/cpu/soft/sys_state.h"
#include "lib/cpu/soft/vm.h"

namespace atl::cpu::soft {
namespace {

// What CPUID offers, and no more.
constexpr uint64_t kCr4Offered = kCr4Tsd | kCr4De | kCr4Pse | kCr4Pae | kCr4Mce | kCr4Pge |
                                 kCr4Pce | kCr4Osfxsr | kCr4Osxmmexcpt | kCr4Umip | kCr4Fsgsbase |
                                 kCr4Pcide | kCr4Smep | kCr4Smap;
constexpr uint64_t kCr3NoFlush = uint64_t{1} << 63;
constexpr uint64_t kCr3Reserved = ~((uint64_t{1} << kPhysicalBits) - 1);

// ---- CR0, CR3, CR4 ----

bool PaePaging(uint64_t cr0, uint64_t cr4, uint64_t efer) {
  return (cr0 & kCr0Pg) != 0 && (cr4 & kCr4Pae) != 0 && (efer & kEferLma) == 0;
}

Step WriteCr0(SoftVcpu& c, uint64_t v) {
  CpuState& s = c.s;
  if (v >> 32 != 0) return c.Raise(kGp, 0);
  v = (v & kCr0Defined) | kCr0Et;
  if ((v & kCr0Pg) != 0 && (v & kCr0Pe) == 0) return c.Raise(kGp, 0);
  if ((v & kCr0Nw) != 0 && (v & kCr0Cd) == 0) return c.Raise(kGp, 0);
  const uint64_t changed = s.cr0 ^ v;
  uint64_t efer = s.efer;
  if ((changed & kCr0Pg) != 0) {
    if ((v & kCr0Pg) != 0) {
      if ((efer & kEferLme) != 0) {
        const bool code64 = (s.seg[kCs].attributes & kAttrL) != 0 && s.protected_mode;
        if ((s.cr4 & kCr4Pae) == 0 || code64) return c.Raise(kGp, 0);
        efer |= kEferLma;
      }
    } else {
      if (s.code_size == CodeSize::k64 || (s.cr4 & kCr4Pcide) != 0) return c.Raise(kGp, 0);
      efer &= ~kEferLma;
    }
  }
  if (PaePaging(v, s.cr4, efer) && (changed & (kCr0Pg | kCr0Cd | kCr0Nw)) != 0 &&
      !c.mmu.LoadPdptes(s.cr3)) {
    return c.Raise(kGp, 0);
  }
  s.cr0 = v;
  s.efer = efer;
  if ((changed & (kCr0Pe | kCr0Pg | kCr0Wp)) != 0) {
    ModeChanged(c);
    c.mmu.FlushAll();
  }
  return Step::kLeave;
}

Step WriteCr3(SoftVcpu& c, uint64_t v) {
  CpuState& s = c.s;
  bool keep = false;
  if (s.long_mode) {
    if ((s.cr4 & kCr4Pcide) != 0) {
      keep = (v & kCr3NoFlush) != 0;
      v &= ~kCr3NoFlush;
    }
    if ((v & kCr3Reserved) != 0) return c.Raise(kGp, 0);
  } else {
    v &= 0xFFFFFFFF;
    if (PaePaging(s.cr0, s.cr4, s.efer) && !c.mmu.LoadPdptes(v)) return c.Raise(kGp, 0);
  }
  s.cr3 = v;
  c.mmu.SwitchTo(keep);
  return Step::kLeave;
}

Step WriteCr4(SoftVcpu& c, uint64_t v) {
  CpuState& s = c.s;
  if ((v & ~OfferedCr4(c.vm.model())) != 0) return c.Raise(kGp, 0);
  const uint64_t changed = s.cr4 ^ v;
  if (s.long_mode && (v & kCr4Pae) == 0) return c.Raise(kGp, 0);
  if ((changed & v & kCr4Pcide) != 0 && (!s.long_mode || (s.cr3 & 0xFFF) != 0)) {
    return c.Raise(kGp, 0);
  }
  if (PaePaging(s.cr0, v, s.efer) && (changed & (kCr4Pae | kCr4Pse | kCr4Pge | kCr4Smep)) != 0 &&
      !c.mmu.LoadPdptes(s.cr3)) {
    return c.Raise(kGp, 0);
  }
  s.cr4 = v;
  ModeChanged(c);
  if ((changed & (kCr4Pse | kCr4Pae | kCr4Pge | kCr4Pcide | kCr4Smep | kCr4Smap)) != 0) {
    c.mmu.FlushAll();
  }
  return Step::kLeave;
}

// In 64-bit mode registers are whole, else 32 bits, whatever the operand size.
void PutRegister(SoftVcpu& c, uint8_t reg, uint64_t v) {
  c.s.gpr[reg & 15] = c.in_64bit() ? v : static_cast<uint32_t>(v);
}
uint64_t TakeRegister(const SoftVcpu& c, uint8_t reg) {
  return c.in_64bit() ? c.s.gpr[reg & 15] : static_cast<uint32_t>(c.s.gpr[reg & 15]);
}

template <unsigned kNumber>
Step MovFromCr(SoftVcpu& c, const Insn& in) {
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  uint64_t v = 0;
  switch (kNumber) {
    case 0:
      v = c.s.cr0;
      break;
    case 2:
      v = c.s.cr2;
      break;
    case 3:
      v = c.s.cr3;
      break;
    case 4:
      v = c.s.cr4;
      break;
    default:
      v = c.bus.ReadCr8(c.index);
      break;
  }
  PutRegister(c, in.reg0, v);
  return Step::kNext;
}

template <unsigned kNumber>
Step MovToCr(SoftVcpu& c, const Insn& in) {
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  const uint64_t v = TakeRegister(c, in.reg1);
  switch (kNumber) {
    case 0:
      return WriteCr0(c, v);
    case 2:
      c.s.cr2 = v;
      return Step::kNext;
    case 3:
      return WriteCr3(c, v);
    case 4:
      return WriteCr4(c, v);
    default:
      if (v > 15) return c.Raise(kGp, 0);
      c.bus.WriteCr8(c.index, v);
      return Step::kLeave;
  }
}

Step Lmsw(SoftVcpu& c, const Insn& in) {
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  uint16_t v;
  if (in.has_mem) {
    if (!Load<uint16_t, kAny>(c, in, &v)) return Step::kFault;
  } else {
    v = ReadReg<uint16_t>(c, in.reg0);
  }
  // PE can be set but not cleared.
  const uint64_t low = (v & 15u) | (c.s.cr0 & kCr0Pe);
  return WriteCr0(c, (c.s.cr0 & ~uint64_t{15}) | low);
}

Step Smsw(SoftVcpu& c, const Insn& in) {
  if (c.s.cpl > 0 && (c.s.cr4 & kCr4Umip) != 0) return c.Raise(kGp, 0);
  if (in.has_mem) return Store<uint16_t, kAny>(c, in, static_cast<uint16_t>(c.s.cr0));
  if (in.operand_size == 2) {
    WriteReg<uint16_t>(c, in.reg0, static_cast<uint16_t>(c.s.cr0));
  } else {
    WriteReg<uint64_t>(c, in.reg0, c.s.cr0);
  }
  return Step::kNext;
}

Step Clts(SoftVcpu& c, const Insn&) {
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  c.s.cr0 &= ~kCr0Ts;
  return Step::kNext;
}

// ---- Debug registers ----

constexpr uint64_t kDr7Gd = 1 << 13;
constexpr uint64_t kDr6Bd = 1 << 13;
// False: an exception.
bool CheckDr(SoftVcpu& c, unsigned* number) {
  if (*number == 4 || *number == 5) {
    if ((c.s.cr4 & kCr4De) != 0) return c.Raise(kUd), false;
    *number += 2;
  }
  if (c.s.cpl != 0) return Fail(c, kGp, 0);
  if ((c.s.dr[7] & kDr7Gd) != 0) {
    c.s.dr[6] |= kDr6Bd;
    c.s.dr[7] &= ~kDr7Gd;
    return c.Raise(kDb), false;
  }
  return true;
}

template <unsigned kNumber>
Step MovFromDr(SoftVcpu& c, const Insn& in) {
  unsigned n = kNumber;
  if (!CheckDr(c, &n)) return Step::kFault;
  PutRegister(c, in.reg0, c.s.dr[n]);
  return Step::kNext;
}

template <unsigned kNumber>
Step MovToDr(SoftVcpu& c, const Insn& in) {
  unsigned n = kNumber;
  if (!CheckDr(c, &n)) return Step::kFault;
  const uint64_t v = TakeRegister(c, in.reg1);
  if (n >= 6 && v >> 32 != 0) return c.Raise(kGp, 0);
  if (n == 6) {
    c.s.dr[6] = (v & kDr6Writable) | kDr6Fixed;
    return Step::kNext;
  }
  c.s.dr[n] = n == 7 ? (v & kDr7Writable) | kDr7Fixed : v;
  c.mmu.BreakpointsChanged();
  return Step::kLeave;
}

// ---- MSRs, CPUID, TSC ----

void PutPair(SoftVcpu& c, uint64_t v) {
  c.s.gpr[kRax] = static_cast<uint32_t>(v);
  c.s.gpr[kRdx] = v >> 32;
}
uint64_t TakePair(const SoftVcpu& c) {
  return c.s.gpr[kRdx] << 32 | static_cast<uint32_t>(c.s.gpr[kRax]);
}

Step Rdmsr(SoftVcpu& c, const Insn&) {
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  uint64_t v;
  if (!ReadMsr(c, static_cast<uint32_t>(c.s.gpr[kRcx]), &v)) return c.Raise(kGp, 0);
  PutPair(c, v);
  return Step::kNext;
}

Step Wrmsr(SoftVcpu& c, const Insn&) {
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  const uint64_t efer = c.s.efer;
  if (!WriteMsr(c, static_cast<uint32_t>(c.s.gpr[kRcx]), TakePair(c))) return c.Raise(kGp, 0);
  return c.s.efer != efer ? Step::kLeave : Step::kNext;
}

Step CpuidInstruction(SoftVcpu& c, const Insn&) {
  const CpuidResult r =
      Cpuid({c.index, c.count, c.vm.model(), (c.s.cr4 & kCr4Osxsave) != 0, c.s.xcr0},
            static_cast<uint32_t>(c.s.gpr[kRax]), static_cast<uint32_t>(c.s.gpr[kRcx]));
  c.s.gpr[kRax] = r.eax;
  c.s.gpr[kRbx] = r.ebx;
  c.s.gpr[kRcx] = r.ecx;
  c.s.gpr[kRdx] = r.edx;
  return Step::kNext;
}

template <bool kAux>
Step Rdtsc(SoftVcpu& c, const Insn&) {
  if (c.s.cpl > 0 && (c.s.cr4 & kCr4Tsd) != 0) return c.Raise(kGp, 0);
  PutPair(c, ReadTsc(c));
  if (kAux) c.s.gpr[kRcx] = static_cast<uint32_t>(c.s.tsc_aux);
  return Step::kNext;
}

// There are no performance counters.
Step Rdpmc(SoftVcpu& c, const Insn&) { return c.Raise(kGp, 0); }

// ---- Interrupt flag, alignment flag, halt ----

// CLI and STI: IOPL decides.
bool MayChangeIf(const SoftVcpu& c) {
  if (!c.s.protected_mode) return true;
  const unsigned iopl = c.s.rflags_rest >> 12 & 3;
  return c.s.v8086 ? iopl == 3 : c.s.cpl <= iopl;
}

Step Cli(SoftVcpu& c, const Insn&) {
  if (!MayChangeIf(c)) return c.Raise(kGp, 0);
  c.s.rflags_rest &= ~kIf;
  return Step::kNext;
}

Step Sti(SoftVcpu& c, const Insn& in) {
  if (!MayChangeIf(c)) return c.Raise(kGp, 0);
  if ((c.s.rflags_rest & kIf) != 0) return Step::kNext;
  c.s.rflags_rest |= kIf;
  HoldInterrupts(c, in);
  return c.InterruptsEnabled() ? Step::kLeave : Step::kNext;
}

template <bool kSet>
Step ChangeAc(SoftVcpu& c, const Insn&) {
  if (c.s.cpl != 0 || !c.s.protected_mode) return c.Raise(kUd);
  c.s.rflags_rest = kSet ? c.s.rflags_rest | kAc : c.s.rflags_rest & ~kAc;
  c.mmu.AcChanged();
  return Step::kNext;
}

Step Hlt(SoftVcpu& c, const Insn&) {
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  c.s.halted = true;
  c.counters.halt_exits.Add();
  return Step::kLeave;
}

// ---- Caches and the TLB ----

// Guest memory has no caches to write back.
Step Invalidate(SoftVcpu& c, const Insn&) { return c.s.cpl != 0 ? c.Raise(kGp, 0) : Step::kNext; }

Step Invlpg(SoftVcpu& c, const Insn& in) {
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  uint64_t linear = EffectiveOffset(c, in);
  if (c.in_64bit()) {
    if (in.seg >= kFs) linear += c.s.seg[in.seg].base;
    if (!IsCanonical(linear)) return Step::kNext;
  } else {
    linear = static_cast<uint32_t>(c.s.seg[in.seg].base + linear);
  }
  c.counters.invlpg.Add();
  // The block may go on where its own page is surely not the one.
  const uint64_t generation = c.mmu.generation(c.s.rip);
  c.mmu.FlushPage(linear);
  return c.in_64bit() && c.mmu.generation(c.s.rip) == generation ? Step::kNext : Step::kLeave;
}

Step Invpcid(SoftVcpu& c, const Insn& in) {
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  if (!c.s.protected_mode) return c.Raise(kUd);
  struct {
    uint64_t pcid, linear;
  } d;
  if (!LoadBytes(c, in, &d, sizeof d)) return Step::kFault;
  const uint64_t type = TakeRegister(c, in.reg0);
  if (type > 3 || d.pcid >> 12 != 0) return c.Raise(kGp, 0);
  if (type < 2 && (c.s.cr4 & kCr4Pcide) == 0 && d.pcid != 0) return c.Raise(kGp, 0);
  const uint16_t pcid = static_cast<uint16_t>(d.pcid);
  switch (type) {
    case 0:
      if (!IsCanonical(d.linear)) return c.Raise(kGp, 0);
      c.counters.invlpg.Add();
      if (pcid == (c.s.cr3 & 0xFFF) || (c.s.cr4 & kCr4Pcide) == 0) {
        c.mmu.FlushPage(d.linear);
      } else {
        c.mmu.FlushPcid(pcid);
      }
      break;
    case 1:
      c.mmu.FlushPcid(pcid);
      break;
    case 2:
      c.mmu.FlushAll();
      break;
    default:
      c.mmu.FlushNonGlobal();
      break;
  }
  return Step::kLeave;
}

// ---- FS and GS base ----

template <SegmentIndex kIndex, bool kWrite>
Step SegmentBase(SoftVcpu& c, const Insn& in) {
  if (!c.in_64bit() || (c.s.cr4 & kCr4Fsgsbase) == 0) return c.Raise(kUd);
  uint64_t& base = c.s.seg[kIndex].base;
  if (kWrite) {
    uint64_t v = c.s.gpr[in.reg0 & 15];
    if (in.operand_size != 8) v = static_cast<uint32_t>(v);
    if (!IsCanonical(v)) return c.Raise(kGp, 0);
    base = v;
  } else {
    c.s.gpr[in.reg0 & 15] = in.operand_size == 8 ? base : static_cast<uint32_t>(base);
  }
  return Step::kNext;
}

Step Swapgs(SoftVcpu& c, const Insn&) {
  if (!c.in_64bit()) return c.Raise(kUd);
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  const uint64_t base = c.s.seg[kGs].base;
  c.s.seg[kGs].base = c.s.kernel_gs_base;
  c.s.kernel_gs_base = base;
  return Step::kNext;
}

// ---- Choice ----

int RegisterOf(const ZydisDecodedOperand& o) {
  return o.type == ZYDIS_OPERAND_TYPE_REGISTER ? o.reg.value : ZYDIS_REGISTER_NONE;
}

struct Pair {
  Handler from, to;
};

const Pair* PairFor(int reg) {
  static constexpr Pair kCr[9] = {{MovFromCr<0>, MovToCr<0>},
                                  {},
                                  {MovFromCr<2>, MovToCr<2>},
                                  {MovFromCr<3>, MovToCr<3>},
                                  {MovFromCr<4>, MovToCr<4>},
                                  {},
                                  {},
                                  {},
                                  {MovFromCr<8>, MovToCr<8>}};
  static constexpr Pair kDr[8] = {{MovFromDr<0>, MovToDr<0>}, {MovFromDr<1>, MovToDr<1>},
                                  {MovFromDr<2>, MovToDr<2>}, {MovFromDr<3>, MovToDr<3>},
                                  {MovFromDr<4>, MovToDr<4>}, {MovFromDr<5>, MovToDr<5>},
                                  {MovFromDr<6>, MovToDr<6>}, {MovFromDr<7>, MovToDr<7>}};
  if (reg >= ZYDIS_REGISTER_CR0 && reg <= ZYDIS_REGISTER_CR8) return &kCr[reg - ZYDIS_REGISTER_CR0];
  if (reg >= ZYDIS_REGISTER_DR0 && reg <= ZYDIS_REGISTER_DR7) return &kDr[reg - ZYDIS_REGISTER_DR0];
  return nullptr;
}

}  // namespace

uint64_t OfferedCr4(CpuModel model) {
  return SupportedXcr0(model) != 0 ? kCr4Offered | kCr4Osxsave : kCr4Offered;
}

Handler SelectControlMove(Insn&, const DecodedView& view) {
  if (const Pair* p = PairFor(RegisterOf(view.operands[0]))) return p->to;
  if (const Pair* p = PairFor(RegisterOf(view.operands[1]))) return p->from;
  return nullptr;
}

Handler SelectControl(Insn& in, const DecodedView& view) {
  switch (view.insn->mnemonic) {
    case ZYDIS_MNEMONIC_LMSW:
      return Lmsw;
    case ZYDIS_MNEMONIC_SMSW:
      UseOperandWidth(in, view);
      return Smsw;
    case ZYDIS_MNEMONIC_CLTS:
      return Clts;
    case ZYDIS_MNEMONIC_RDMSR:
      return Rdmsr;
    case ZYDIS_MNEMONIC_WRMSR:
      return Wrmsr;
    case ZYDIS_MNEMONIC_CPUID:
      return CpuidInstruction;
    case ZYDIS_MNEMONIC_RDTSC:
      return Rdtsc<false>;
    case ZYDIS_MNEMONIC_RDTSCP:
      return Rdtsc<true>;
    case ZYDIS_MNEMONIC_RDPMC:
      return Rdpmc;
    case ZYDIS_MNEMONIC_CLI:
      return Cli;
    case ZYDIS_MNEMONIC_STI:
      return Sti;
    case ZYDIS_MNEMONIC_STAC:
      return ChangeAc<true>;
    case ZYDIS_MNEMONIC_CLAC:
      return ChangeAc<false>;
    case ZYDIS_MNEMONIC_HLT:
      return Hlt;
    case ZYDIS_MNEMONIC_INVD:
    case ZYDIS_MNEMONIC_WBINVD:
      return Invalidate;
    case ZYDIS_MNEMONIC_INVLPG:
      return Invlpg;
    case ZYDIS_MNEMONIC_INVPCID:
      return Invpcid;
    case ZYDIS_MNEMONIC_SWAPGS:
      return Swapgs;
    case ZYDIS_MNEMONIC_RDFSBASE:
      UseOperandWidth(in, view);
      return SegmentBase<kFs, false>;
    case ZYDIS_MNEMONIC_WRFSBASE:
      UseOperandWidth(in, view);
      return SegmentBase<kFs, true>;
    case ZYDIS_MNEMONIC_RDGSBASE:
      UseOperandWidth(in, view);
      return SegmentBase<kGs, false>;
    case ZYDIS_MNEMONIC_WRGSBASE:
      UseOperandWidth(in, view);
      return SegmentBase<kGs, true>;
    default:
      return nullptr;
  }
}

}  // namespace atl::cpu::soft
