// SPDX-License-Identifier: Apache-2.0
// MMX and SSE instructions as thunks of host code.
//
// SSE floating point runs with every exception masked and the flags clear; what
// it raised goes to the guest's MXCSR. Where the guest unmasks exceptions, the
// result goes to a copy first and is dropped if one of them was raised, as #XM
// (vol. 1, 11.5.2 and 11.5.3, vol. 3, 6.15).
#include <Zydis/Zydis.h>

#include <cstdint>
#include <cstring>

#include "lib/cpu/soft/native_access.h"
#include "lib/cpu/soft/native_fpu.h"
#include "lib/cpu/soft/native_select.h"
#include "lib/cpu/soft/native_thunk.h"
#include "lib/cpu/soft/native_unmasked.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

constexpr uint32_t kPreFlags = 0x07;  // invalid, denormal, zero divide
constexpr uint32_t kUnderflow = 0x10;

// For memory operands of a thunk: address and alignment.
bool SimdAddress(SoftVcpu& c, const Insn& in, const Thunk& t, bool write, uint64_t* linear) {
  if (!LinearOf(c, in, t.mem_size, write, linear)) return false;
  if ((t.flags & kAligned) && (*linear & 15) != 0) [[unlikely]] {
    c.Raise(kGp, 0);
    return false;
  }
  return true;
}

const void* SimdSource(SoftVcpu& c, const Insn& in, const Thunk& t, uint8_t* bounce) {
  uint64_t linear;
  if (!SimdAddress(c, in, t, false, &linear)) return nullptr;
  return LoadOperand(c, in, linear, t.mem_size, bounce);
}

// XMM from XMM, or from memory; no flags, no floating point.
Step RunXmmXmm(SoftVcpu& c, const Insn& in) {
  if (CheckSse(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  ThunkAt(in.thunk).code(XmmAt(c, in.reg0), XmmAt(c, in.reg1), nullptr, nullptr, nullptr);
  return Step::kNext;
}

Step RunXmmMemory(SoftVcpu& c, const Insn& in) {
  if (CheckSse(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  const Thunk& t = ThunkAt(in.thunk);
  alignas(16) uint8_t bounce[16];
  const void* b = SimdSource(c, in, t, bounce);
  if (b == nullptr) return Step::kFault;
  t.code(XmmAt(c, in.reg0), b, nullptr, nullptr, nullptr);
  return Step::kNext;
}

// A general register from XMM: PMOVMSKB and the like.
Step RunGprXmm(SoftVcpu& c, const Insn& in) {
  if (CheckSse(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  ThunkAt(in.thunk).code(&c.s.gpr[in.reg0], XmmAt(c, in.reg1), nullptr, nullptr, nullptr);
  return Step::kNext;
}

// Floating point, XMM from XMM or memory, with all exceptions masked.
Step RunAny(SoftVcpu& c, const Insn& in);

template <bool kMemory>
Step RunFp(SoftVcpu& c, const Insn& in) {
  const uint32_t mxcsr = FpuGet<uint32_t>(c.s.fpu, FpuState::kMxcsr);
  if ((mxcsr & kMxcsrMasks) != kMxcsrMasks) [[unlikely]]
    return RunAny(c, in);
  if (CheckSse(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  const Thunk& t = ThunkAt(in.thunk);
  alignas(16) uint8_t bounce[16];
  const void* b = XmmAt(c, in.reg1);
  if (kMemory && (b = SimdSource(c, in, t, bounce)) == nullptr) return Step::kFault;
  ThunkFrame frame;
  frame.mxcsr_in = mxcsr & ~kMxcsrFlags;
  t.code(XmmAt(c, in.reg0), b, nullptr, nullptr, &frame);
  FpuSet(c.s.fpu, FpuState::kMxcsr, mxcsr | (frame.mxcsr_out & kMxcsrFlags));
  return Step::kNext;
}

}  // namespace

bool RunUnmasked(SoftVcpu& c, const Thunk& t, const ThunkOperands& p, void* spare,
                 ThunkFrame& frame) {
  const uint32_t mxcsr = FpuGet<uint32_t>(c.s.fpu, FpuState::kMxcsr);
  const uint32_t unmasked = ~(mxcsr >> 7) & kMxcsrFlags;
  const uint32_t base = (mxcsr & ~kMxcsrFlags) | kMxcsrMasks;
  // Flush-to-zero counts only while underflow is masked.
  frame.mxcsr_in = unmasked & kUnderflow ? base & ~kMxcsrFtz : base;
  t.code(p.a, p.b, p.c, p.d, &frame);
  uint32_t raised = frame.mxcsr_out & kMxcsrFlags;
  if ((unmasked & kUnderflow) && !(raised & kUnderflow) && (t.flags & kHalves)) {
    // As below, but nothing flushes these to zero.
    const unsigned size = t.a == ThunkOperand::kMemory ? t.mem_size : 16;
    for (unsigned i = 0; i < size; i += 2) {
      uint16_t half;
      memcpy(&half, static_cast<const uint8_t*>(p.a) + i, 2);
      if ((half & 0x7C00) == 0 && (half & 0x3FF) != 0) raised |= kUnderflow;
    }
  } else if ((unmasked & kUnderflow) && !(raised & kUnderflow)) {
    // Masked underflow is raised for tiny inexact results, unmasked underflow
    // for every tiny one; flush-to-zero tells.
    ThunkFrame tiny = frame;
    tiny.mxcsr_in = base | kMxcsrFtz;
    t.code(spare, p.b, p.c, p.d, &tiny);
    raised |= tiny.mxcsr_out & kUnderflow;
  }
  // An unmasked exception found before computing leaves no others.
  if (raised & unmasked & kPreFlags) raised &= kPreFlags;
  FpuSet(c.s.fpu, FpuState::kMxcsr, mxcsr | raised);
  if ((raised & unmasked) == 0) return true;
  c.Raise(c.s.cr4 & kCr4Osxmmexcpt ? kXm : kUd);
  return false;
}

namespace {

// Any thunk but x87's: operands are copied in and out.
Step RunAny(SoftVcpu& c, const Insn& in) {
  const Thunk& t = ThunkAt(in.thunk);
  const bool mmx = t.a == ThunkOperand::kMmx || t.b == ThunkOperand::kMmx;
  if ((mmx ? CheckMmx(c, t.flags & kNeedsXmm) : CheckSse(c)) != Step::kNext) return Step::kFault;

  uint64_t linear = 0;
  if (t.mem_size != 0 && !SimdAddress(c, in, t, t.a == ThunkOperand::kMemory, &linear))
    return Step::kFault;

  alignas(16) uint8_t a[16] = {};
  alignas(16) uint8_t bounce[16];
  const void* b = nullptr;
  switch (t.b) {
    case ThunkOperand::kXmm:
      b = XmmAt(c, in.reg1);
      break;
    case ThunkOperand::kMmx:
      b = MmxAt(c, in.reg1);
      break;
    case ThunkOperand::kGpr:
      b = &c.s.gpr[in.reg1];
      break;
    case ThunkOperand::kMemory:
      b = LoadOperand(c, in, linear, t.mem_size, bounce);
      if (b == nullptr) return Step::kFault;
      break;
    case ThunkOperand::kNone:
    case ThunkOperand::kYmm:  // VEX only
      break;
  }
  if (t.a == ThunkOperand::kXmm) memcpy(a, XmmAt(c, in.reg0), 16);
  if (t.a == ThunkOperand::kMmx) memcpy(a, MmxAt(c, in.reg0), 8);

  ThunkFrame frame;
  if (t.flags & kXmm0In) memcpy(frame.xmm0, XmmAt(c, 0), 16);
  if (t.flags & kLengths) {
    frame.rax = c.s.gpr[kRax];
    frame.rdx = c.s.gpr[kRdx];
  }
  if (t.flags & kFp) {
    alignas(16) uint8_t spare[16];
    memcpy(spare, a, 16);
    if (!RunUnmasked(c, t, {a, b, nullptr, nullptr}, spare, frame)) {
      if (mmx) EnterMmx(c.s.fpu);  // as AMD's processors do
      return Step::kFault;
    }
  } else {
    t.code(a, b, nullptr, nullptr, &frame);
  }

  Step step = Step::kNext;
  if (t.a == ThunkOperand::kMemory) {
    step = StoreOperand(c, in, linear, t.mem_size, a);
    if (step == Step::kFault) return step;
  }
  if (mmx) EnterMmx(c.s.fpu);
  switch (t.a) {
    case ThunkOperand::kXmm:
      memcpy(XmmAt(c, in.reg0), a, 16);
      break;
    case ThunkOperand::kMmx:
      memcpy(MmxAt(c, in.reg0), a, 8);
      MmxWritten(c, in.reg0);
      break;
    case ThunkOperand::kGpr:
      memcpy(&c.s.gpr[in.reg0], a, 8);
      break;
    default:
      break;
  }
  if (t.flags & kXmm0Out) memcpy(XmmAt(c, 0), frame.xmm0, 16);
  if (t.flags & kEcxOut) c.s.gpr[kRcx] = static_cast<uint32_t>(frame.rcx);
  if (t.flags & kEflagsOut) {
    c.s.flags_of = frame.flags_of;
    c.s.flags_lo = frame.flags_lo;
  }
  return step;
}

ThunkOperand KindOf(const ZydisDecodedOperand& o) {
  if (o.type == ZYDIS_OPERAND_TYPE_MEMORY) return ThunkOperand::kMemory;
  if (o.type != ZYDIS_OPERAND_TYPE_REGISTER) return ThunkOperand::kNone;
  switch (ZydisRegisterGetClass(o.reg.value)) {
    case ZYDIS_REGCLASS_XMM:
      return ThunkOperand::kXmm;
    case ZYDIS_REGCLASS_MMX:
      return ThunkOperand::kMmx;
    default:
      return ThunkOperand::kGpr;
  }
}

uint16_t FlagsOf(const ZydisDecodedInstruction& insn) {
  uint16_t flags = 0;
  switch (insn.meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_SSE2:
      flags |= kFp;
      break;
    case ZYDIS_EXCEPTION_CLASS_SSE3:
      flags |= kFp;
      break;
    default:
      break;
  }
  switch (insn.mnemonic) {
    case ZYDIS_MNEMONIC_CVTPI2PS:
    case ZYDIS_MNEMONIC_CVTPS2PI:
    case ZYDIS_MNEMONIC_CVTTPS2PI:
    case ZYDIS_MNEMONIC_CVTPD2PI:
    case ZYDIS_MNEMONIC_CVTTPD2PI:
      return flags | kFp;
    case ZYDIS_MNEMONIC_COMISS:
    case ZYDIS_MNEMONIC_COMISD:
    case ZYDIS_MNEMONIC_UCOMISS:
    case ZYDIS_MNEMONIC_UCOMISD:
    case ZYDIS_MNEMONIC_PTEST:
      return flags | kEflagsOut;
    case ZYDIS_MNEMONIC_BLENDVPS:
    case ZYDIS_MNEMONIC_BLENDVPD:
    case ZYDIS_MNEMONIC_PBLENDVB:
    case ZYDIS_MNEMONIC_SHA256RNDS2:
      return flags | kXmm0In;
    case ZYDIS_MNEMONIC_PCMPESTRI:
      return flags | kLengths | kEcxOut | kEflagsOut;
    case ZYDIS_MNEMONIC_PCMPISTRI:
      return flags | kEcxOut | kEflagsOut;
    case ZYDIS_MNEMONIC_PCMPESTRM:
      return flags | kLengths | kXmm0Out | kEflagsOut;
    case ZYDIS_MNEMONIC_PCMPISTRM:
      return flags | kXmm0Out | kEflagsOut;
    default:
      return flags;
  }
}

// Whether a 16-byte memory operand must be aligned: all of legacy SSE but these.
bool IsAligned(const ZydisDecodedInstruction& insn) {
  switch (insn.mnemonic) {
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
      return false;
    default:
      return true;
  }
}

uint8_t MapOf(const ZydisDecodedInstruction& insn) {
  switch (insn.opcode_map) {
    case ZYDIS_OPCODE_MAP_0F:
      return 1;
    case ZYDIS_OPCODE_MAP_0F38:
      return 2;
    case ZYDIS_OPCODE_MAP_0F3A:
      return 3;
    default:
      return 0;
  }
}

// The fixed register of an operand, as the instruction encodes it.
uint8_t FixedRegister(ThunkOperand kind, bool is_a) {
  switch (kind) {
    case ThunkOperand::kGpr:
      return is_a ? 0 : 1;  // RAX, RCX
    case ThunkOperand::kMemory:
      return is_a ? 7 : 6;  // [RDI], [RSI]
    default:
      return is_a ? 1 : 2;
  }
}

Handler HandlerFor(const Thunk& t) {
  const bool xmm_a = t.a == ThunkOperand::kXmm;
  const uint16_t flags = t.flags & ~(kAligned | kNeedsXmm);
  if (flags == kFp && xmm_a && t.b == ThunkOperand::kXmm) return RunFp<false>;
  if (flags == kFp && xmm_a && t.b == ThunkOperand::kMemory) return RunFp<true>;
  if (flags == 0 && xmm_a && (t.b == ThunkOperand::kXmm || t.b == ThunkOperand::kNone))
    return RunXmmXmm;
  if (flags == 0 && xmm_a && t.b == ThunkOperand::kMemory) return RunXmmMemory;
  if (flags == 0 && t.a == ThunkOperand::kGpr && t.b == ThunkOperand::kXmm) return RunGprXmm;
  return RunAny;
}

}  // namespace

Handler SelectSimd(Insn& in, const DecodedView& view) {
  const ZydisDecodedInstruction& insn = *view.insn;
  const ZydisDecodedOperand* o = view.operands;
  if (insn.operand_count_visible < 2 || !(insn.attributes & ZYDIS_ATTRIB_HAS_MODRM)) return nullptr;

  in.reg0 = in.reg1 = 0;
  for (unsigned i = 0; i < 2; i++) {
    if (o[i].type == ZYDIS_OPERAND_TYPE_REGISTER) {
      (i == 0 ? in.reg0 : in.reg1) = static_cast<uint8_t>(ZydisRegisterGetId(o[i].reg.value));
    }
  }

  ThunkSpec spec;
  Thunk& t = spec.thunk;
  t.a = KindOf(o[0]);
  t.b = KindOf(o[1]);
  t.flags = FlagsOf(insn);
  if (t.a == ThunkOperand::kXmm || t.b == ThunkOperand::kXmm) t.flags |= kNeedsXmm;
  for (unsigned i = 0; i < 2; i++) {
    if (o[i].type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
    if (o[i].size > 128) return nullptr;
    t.mem_size = static_cast<uint8_t>(o[i].size / 8);
    if (t.mem_size == 16 && IsAligned(insn)) t.flags |= kAligned;
  }

  for (unsigned i = 0; i < insn.raw.prefix_count; i++) {
    if (insn.raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
      spec.prefix = insn.raw.prefixes[i].value;
  }
  // Ignored but for general registers, and for the lengths of PCMPESTRx.
  spec.rex_w = insn.raw.rex.W && (t.a == ThunkOperand::kGpr || t.b == ThunkOperand::kGpr ||
                                  t.mem_size != 0 || (t.flags & kLengths));
  spec.map = MapOf(insn);
  spec.opcode = insn.opcode;
  // The ModRM byte with fixed operands; a field that is no operand stays.
  uint8_t mod = 3, reg = insn.raw.modrm.reg, rm = insn.raw.modrm.rm;
  for (unsigned i = 0; i < 2; i++) {
    const ThunkOperand kind = i == 0 ? t.a : t.b;
    if (kind == ThunkOperand::kNone) continue;
    if (o[i].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG) reg = FixedRegister(kind, i == 0);
    if (o[i].encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
      rm = FixedRegister(kind, i == 0);
      if (kind == ThunkOperand::kMemory) mod = 0;
    }
  }
  spec.modrm = static_cast<uint8_t>(mod << 6 | reg << 3 | rm);
  if (insn.raw.imm[0].size != 0) {
    spec.has_imm = true;
    spec.imm = static_cast<uint8_t>(insn.raw.imm[0].value.u);
  }
  in.thunk = FindThunk(spec);
  return in.thunk != 0 ? HandlerFor(ThunkAt(in.thunk)) : nullptr;
}

}  // namespace atl::cpu::soft
