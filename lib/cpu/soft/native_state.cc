// SPDX-License-Identifier: Apache-2.0
// Instructions on the x87 and SSE state as such: control and status words,
// environments, FXSAVE, MXCSR, EMMS (vol. 1, 8.1, 10.5; vol. 2).
#include <Zydis/Zydis.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lib/cpu/soft/native_access.h"
#include "lib/cpu/soft/native_fpu.h"
#include "lib/cpu/soft/native_select.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

Step Read(SoftVcpu& c, const Insn& in, void* to, unsigned size, unsigned align = 1) {
  uint64_t linear;
  if (!LinearOf(c, in, size, false, &linear)) return Step::kFault;
  if (linear & (align - 1)) return RaiseMisaligned(c, in, linear);
  return c.mmu.ReadSlow(linear, to, size, c.rights(), IsStack(in)) ? Step::kNext : Step::kFault;
}

Step Write(SoftVcpu& c, const Insn& in, const void* from, unsigned size, unsigned align = 1) {
  uint64_t linear;
  if (!LinearOf(c, in, size, true, &linear)) return Step::kFault;
  if (linear & (align - 1)) return RaiseMisaligned(c, in, linear);
  return StoreOperand(c, in, linear, size, from);
}

template <typename T>
void Put(uint8_t* to, T v) {
  memcpy(to, &v, sizeof v);
}
template <typename T>
T Get(const uint8_t* from) {
  T v;
  memcpy(&v, from, sizeof v);
  return v;
}

// ---- Words ----

Step Fninit(SoftVcpu& c, const Insn&) {
  if (CheckX87(c, false) != Step::kNext) return Step::kFault;
  InitX87(c.s.fpu);
  return Step::kNext;
}

Step Fnclex(SoftVcpu& c, const Insn&) {
  if (CheckX87(c, false) != Step::kNext) return Step::kFault;
  // Flags, stack fault, summary and busy.
  const uint16_t fsw = FpuGet<uint16_t>(c.s.fpu, FpuState::kFsw);
  FpuSet<uint16_t>(c.s.fpu, FpuState::kFsw, fsw & 0x7F00);
  return Step::kNext;
}

Step Fnop(SoftVcpu& c, const Insn&) { return CheckX87(c, false); }

Step Fwait(SoftVcpu& c, const Insn&) {
  if ((c.s.cr0 & (kCr0Mp | kCr0Ts)) == (kCr0Mp | kCr0Ts)) return c.Raise(kNm);
  return X87Pending(c) ? c.Raise(kMf) : Step::kNext;
}

Step Fnstcw(SoftVcpu& c, const Insn& in) {
  if (CheckX87(c, false) != Step::kNext) return Step::kFault;
  return Write(c, in, c.s.fpu.image + FpuState::kFcw, 2);
}

Step Fnstsw(SoftVcpu& c, const Insn& in) {
  if (CheckX87(c, false) != Step::kNext) return Step::kFault;
  return Write(c, in, c.s.fpu.image + FpuState::kFsw, 2);
}

Step FnstswAx(SoftVcpu& c, const Insn&) {
  if (CheckX87(c, false) != Step::kNext) return Step::kFault;
  memcpy(&c.s.gpr[kRax], c.s.fpu.image + FpuState::kFsw, 2);
  return Step::kNext;
}

Step Fldcw(SoftVcpu& c, const Insn& in) {
  if (CheckX87(c, true) != Step::kNext) return Step::kFault;
  uint16_t fcw;
  if (Read(c, in, &fcw, 2) != Step::kNext) return Step::kFault;
  SetFcw(c.s.fpu, fcw);
  UpdateErrorSummary(c.s.fpu);
  return Step::kNext;
}

Step Emms(SoftVcpu& c, const Insn&) {
  if (CheckMmx(c, false) != Step::kNext) return Step::kFault;
  EnterMmx(c.s.fpu);
  c.s.fpu.image[FpuState::kFtw] = 0;
  return Step::kNext;
}

// ---- Environments ----

// The two-bit tag of each physical register, from the abridged tags.
uint16_t FullTags(FpuState& f) {
  const unsigned top = TopOf(f);
  uint16_t tags = 0;
  for (unsigned physical = 0; physical < 8; physical++) {
    unsigned tag = 3;  // empty
    if (f.image[FpuState::kFtw] >> physical & 1) {
      const uint8_t* st = StAt(f, (physical - top) & 7);
      const uint64_t mantissa = Get<uint64_t>(st);
      const uint16_t exponent = Get<uint16_t>(st + 8) & 0x7FFF;
      if (exponent == 0 && mantissa == 0) {
        tag = 1;  // zero
      } else if (exponent == 0 || exponent == 0x7FFF || !(mantissa >> 63)) {
        tag = 2;  // special
      } else {
        tag = 0;
      }
    }
    tags |= static_cast<uint16_t>(tag << (2 * physical));
  }
  return tags;
}

// Protected mode's formats hold pointers as offset and selector, real mode's as
// linear addresses: with selectors not kept, the offset stands for both.
bool RealFormat(const SoftVcpu& c) { return !c.s.protected_mode || c.s.v8086; }

bool Is32(const Insn& in) { return in.operand_size != 2; }

unsigned EnvironmentSize(const Insn& in) { return Is32(in) ? 28 : 14; }

void StoreEnvironment(SoftVcpu& c, const Insn& in, uint8_t* to) {
  FpuState& f = c.s.fpu;
  const uint16_t fcw = FpuGet<uint16_t>(f, FpuState::kFcw);
  const uint16_t fsw = FpuGet<uint16_t>(f, FpuState::kFsw);
  const uint16_t fop = FpuGet<uint16_t>(f, FpuState::kFop) & 0x7FF;
  const uint32_t fip = FpuGet<uint32_t>(f, FpuState::kFip);
  const uint32_t fdp = FpuGet<uint32_t>(f, FpuState::kFdp);
  if (Is32(in)) {
    Put<uint32_t>(to + 0, 0xFFFF0000 | fcw);
    Put<uint32_t>(to + 4, 0xFFFF0000 | fsw);
    Put<uint32_t>(to + 8, 0xFFFF0000 | FullTags(f));
    if (RealFormat(c)) {
      Put<uint32_t>(to + 12, 0xFFFF0000 | (fip & 0xFFFF));
      Put<uint32_t>(to + 16, (fip >> 16) << 12 | fop);
      Put<uint32_t>(to + 20, 0xFFFF0000 | (fdp & 0xFFFF));
      Put<uint32_t>(to + 24, (fdp >> 16) << 12);
    } else {
      Put<uint32_t>(to + 12, fip);
      Put<uint32_t>(to + 16, static_cast<uint32_t>(fop) << 16);
      Put<uint32_t>(to + 20, fdp);
      Put<uint32_t>(to + 24, 0xFFFF0000);
    }
    return;
  }
  Put<uint16_t>(to + 0, fcw);
  Put<uint16_t>(to + 2, fsw);
  Put<uint16_t>(to + 4, FullTags(f));
  Put<uint16_t>(to + 6, static_cast<uint16_t>(fip));
  Put<uint16_t>(to + 8, RealFormat(c) ? static_cast<uint16_t>((fip >> 16 & 0xF) << 12 | fop) : 0);
  Put<uint16_t>(to + 10, static_cast<uint16_t>(fdp));
  Put<uint16_t>(to + 12, RealFormat(c) ? static_cast<uint16_t>((fdp >> 16 & 0xF) << 12) : 0);
}

// Sets all but the registers; ES and B follow from flags and masks.
void LoadEnvironment(SoftVcpu& c, const Insn& in, const uint8_t* from) {
  FpuState& f = c.s.fpu;
  const unsigned step = Is32(in) ? 4 : 2;
  SetFcw(f, Get<uint16_t>(from));
  const uint16_t fsw = Get<uint16_t>(from + step);
  SetTop(f, fsw >> 11 & 7);
  FpuSet<uint16_t>(f, FpuState::kFsw, fsw);
  UpdateErrorSummary(f);
  const uint16_t tags = Get<uint16_t>(from + 2 * step);
  uint8_t abridged = 0;
  for (unsigned i = 0; i < 8; i++)
    abridged |= static_cast<uint8_t>((tags >> (2 * i) & 3) != 3) << i;
  f.image[FpuState::kFtw] = abridged;
  uint32_t fip, fdp;
  uint16_t fop = FpuGet<uint16_t>(f, FpuState::kFop);
  if (Is32(in)) {
    fip = Get<uint32_t>(from + 12);
    fdp = Get<uint32_t>(from + 20);
    const uint32_t word = Get<uint32_t>(from + 16);
    if (RealFormat(c)) {
      fip = (fip & 0xFFFF) | (word >> 12 & 0xFFFF) << 16;
      fdp = (fdp & 0xFFFF) | (Get<uint32_t>(from + 24) >> 12 & 0xFFFF) << 16;
      fop = word & 0x7FF;
    } else {
      fop = word >> 16 & 0x7FF;
    }
  } else {
    fip = Get<uint16_t>(from + 6);
    fdp = Get<uint16_t>(from + 10);
    if (RealFormat(c)) {
      const uint16_t word = Get<uint16_t>(from + 8);
      fip |= static_cast<uint32_t>(word >> 12) << 16;
      fdp |= static_cast<uint32_t>(Get<uint16_t>(from + 12) >> 12) << 16;
      fop = word & 0x7FF;
    }
  }
  FpuSet<uint16_t>(f, FpuState::kFop, fop);
  FpuSet<uint64_t>(f, FpuState::kFip, fip);
  FpuSet<uint64_t>(f, FpuState::kFdp, fdp);
}

Step Fnstenv(SoftVcpu& c, const Insn& in) {
  if (CheckX87(c, false) != Step::kNext) return Step::kFault;
  uint8_t image[28];
  StoreEnvironment(c, in, image);
  const Step step = Write(c, in, image, EnvironmentSize(in));
  if (step == Step::kFault) return step;
  SetFcw(c.s.fpu, FpuGet<uint16_t>(c.s.fpu, FpuState::kFcw) | 0x3F);
  UpdateErrorSummary(c.s.fpu);
  return step;
}

Step Fldenv(SoftVcpu& c, const Insn& in) {
  if (CheckX87(c, true) != Step::kNext) return Step::kFault;
  uint8_t image[28];
  if (Read(c, in, image, EnvironmentSize(in)) != Step::kNext) return Step::kFault;
  LoadEnvironment(c, in, image);
  return Step::kNext;
}

Step Fnsave(SoftVcpu& c, const Insn& in) {
  if (CheckX87(c, false) != Step::kNext) return Step::kFault;
  uint8_t image[108];
  const unsigned at = EnvironmentSize(in);
  StoreEnvironment(c, in, image);
  for (unsigned i = 0; i < 8; i++) memcpy(image + at + 10 * i, StAt(c.s.fpu, i), 10);
  const Step step = Write(c, in, image, at + 80);
  if (step != Step::kFault) InitX87(c.s.fpu);
  return step;
}

Step Frstor(SoftVcpu& c, const Insn& in) {
  if (CheckX87(c, true) != Step::kNext) return Step::kFault;
  uint8_t image[108];
  const unsigned at = EnvironmentSize(in);
  if (Read(c, in, image, at + 80) != Step::kNext) return Step::kFault;
  LoadEnvironment(c, in, image);
  for (unsigned i = 0; i < 8; i++) {
    memset(StAt(c.s.fpu, i), 0, 16);
    memcpy(StAt(c.s.fpu, i), image + at + 10 * i, 10);
  }
  return Step::kNext;
}

// ---- FXSAVE and MXCSR ----

// How much of the XMM registers FXSAVE moves: none where the system has not
// said that it saves them, the first eight outside 64-bit mode.
unsigned FxsaveSize(const SoftVcpu& c) {
  if (!(c.s.cr4 & kCr4Osfxsr)) return FpuState::kXmm;
  return FpuState::kXmm + 16 * (c.in_64bit() ? 16 : 8);
}

template <bool kWide>
Step Fxsave(SoftVcpu& c, const Insn& in) {
  if (c.s.cr0 & (kCr0Em | kCr0Ts)) return c.Raise(kNm);
  uint64_t linear;
  if (!LinearOf(c, in, 512, true, &linear)) return Step::kFault;
  if (linear & 15) return RaiseMisaligned(c, in, linear);
  uint8_t* direct = c.mmu.FastWrite<ByteArray<512>>(linear, c.user());
  uint8_t bounce[512];
  uint8_t* image = direct != nullptr ? direct : bounce;
  StoreX87Image(c.s.fpu, image, kWide);
  memcpy(image + FpuState::kMxcsr, c.s.fpu.image + FpuState::kMxcsr, 4);
  Put<uint32_t>(image + FpuState::kMxcsrMask, kMxcsrValid);
  memcpy(image + FpuState::kXmm, c.s.fpu.image + FpuState::kXmm, FxsaveSize(c) - FpuState::kXmm);
  if (direct != nullptr) return Step::kNext;
  // The whole area's rights are checked; the reserved end is not written.
  if (!c.mmu.Probe(linear, 512, Access::kWrite, c.rights(), IsStack(in))) return Step::kFault;
  return AfterSlowStore(c, c.mmu.WriteSlow(linear, image, FxsaveSize(c), c.rights(), IsStack(in)));
}

template <bool kWide>
Step Fxrstor(SoftVcpu& c, const Insn& in) {
  if (c.s.cr0 & (kCr0Em | kCr0Ts)) return c.Raise(kNm);
  uint64_t linear;
  if (!LinearOf(c, in, 512, false, &linear)) return Step::kFault;
  if (linear & 15) return RaiseMisaligned(c, in, linear);
  uint8_t bounce[512];
  const uint8_t* image = c.mmu.FastRead<ByteArray<512>>(linear, c.user());
  if (image == nullptr) {
    if (!c.mmu.ReadSlow(linear, bounce, 512, c.rights(), IsStack(in))) return Step::kFault;
    image = bounce;
  }
  const bool sse = c.s.cr4 & kCr4Osfxsr;
  // Read once: another vCPU may be writing there.
  const uint32_t mxcsr = HostLoad<uint32_t>(image + FpuState::kMxcsr);
  if (sse && (mxcsr & ~kMxcsrValid)) return c.Raise(kGp, 0);
  FpuState& f = c.s.fpu;
  LoadX87Image(f, image, kWide);
  if (sse) {
    FpuSet<uint32_t>(f, FpuState::kMxcsr, mxcsr);
    memcpy(f.image + FpuState::kXmm, image + FpuState::kXmm, FxsaveSize(c) - FpuState::kXmm);
  }
  return Step::kNext;
}

template <bool kVex>
Step Ldmxcsr(SoftVcpu& c, const Insn& in) {
  if ((kVex ? CheckAvx(c) : CheckSse(c)) != Step::kNext) return Step::kFault;
  uint32_t v;
  if (Read(c, in, &v, 4) != Step::kNext) return Step::kFault;
  if (v & ~kMxcsrValid) return c.Raise(kGp, 0);
  FpuSet(c.s.fpu, FpuState::kMxcsr, v);
  return Step::kNext;
}

template <bool kVex>
Step Stmxcsr(SoftVcpu& c, const Insn& in) {
  if ((kVex ? CheckAvx(c) : CheckSse(c)) != Step::kNext) return Step::kFault;
  return Write(c, in, c.s.fpu.image + FpuState::kMxcsr, 4);
}

struct Entry {
  ZydisMnemonic mnemonic;
  Handler run;
};

constexpr Entry kEntries[] = {
    {ZYDIS_MNEMONIC_FNINIT, Fninit},
    {ZYDIS_MNEMONIC_FNCLEX, Fnclex},
    {ZYDIS_MNEMONIC_FWAIT, Fwait},
    {ZYDIS_MNEMONIC_FDISI8087_NOP, Fnop},
    {ZYDIS_MNEMONIC_FENI8087_NOP, Fnop},
    {ZYDIS_MNEMONIC_FSETPM287_NOP, Fnop},
    {ZYDIS_MNEMONIC_FNSTCW, Fnstcw},
    {ZYDIS_MNEMONIC_FLDCW, Fldcw},
    {ZYDIS_MNEMONIC_FNSTENV, Fnstenv},
    {ZYDIS_MNEMONIC_FLDENV, Fldenv},
    {ZYDIS_MNEMONIC_FNSAVE, Fnsave},
    {ZYDIS_MNEMONIC_FRSTOR, Frstor},
    {ZYDIS_MNEMONIC_EMMS, Emms},
    {ZYDIS_MNEMONIC_FXSAVE, Fxsave<false>},
    {ZYDIS_MNEMONIC_FXSAVE64, Fxsave<true>},
    {ZYDIS_MNEMONIC_FXRSTOR, Fxrstor<false>},
    {ZYDIS_MNEMONIC_FXRSTOR64, Fxrstor<true>},
    {ZYDIS_MNEMONIC_LDMXCSR, Ldmxcsr<false>},
    {ZYDIS_MNEMONIC_STMXCSR, Stmxcsr<false>},
    {ZYDIS_MNEMONIC_VLDMXCSR, Ldmxcsr<true>},
    {ZYDIS_MNEMONIC_VSTMXCSR, Stmxcsr<true>},
};

}  // namespace

Handler SelectFpuState(Insn&, const DecodedView& view) {
  if (view.insn->mnemonic == ZYDIS_MNEMONIC_FNSTSW) {
    return view.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY ? Fnstsw : FnstswAx;
  }
  for (const Entry& e : kEntries) {
    if (e.mnemonic == view.insn->mnemonic) return e.run;
  }
  return nullptr;
}

}  // namespace atl::cpu::soft
