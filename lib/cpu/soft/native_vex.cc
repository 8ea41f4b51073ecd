// SPDX-License-Identifier: Apache-2.0
// AVX, AVX2, FMA and F16C as thunks of host code. What a 128-bit form or a scalar
// one leaves of its destination's upper half is zero: the thunk stores it so.
// VEX on general registers (BMI) is exec_bit.cc's.
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

// A vector register's two halves as far apart as CpuState has them.
struct RegisterCopy {
  alignas(16) uint8_t low[16];
  uint8_t between[FpuState::kYmmHighFromXmm - 16];
  uint8_t high[16];

  void Take(const uint8_t* xmm) {
    memcpy(low, xmm, 16);
    memcpy(high, xmm + FpuState::kYmmHighFromXmm, 16);
  }
  void Give(uint8_t* xmm) const {
    memcpy(xmm, low, 16);
    memcpy(xmm + FpuState::kYmmHighFromXmm, high, 16);
  }
};
static_assert(offsetof(RegisterCopy, high) == FpuState::kYmmHighFromXmm);

bool IsVector(ThunkOperand o) { return o == ThunkOperand::kXmm || o == ThunkOperand::kYmm; }

bool VexAddress(SoftVcpu& c, const Insn& in, const Thunk& t, bool write, uint64_t* linear) {
  if (!LinearOf(c, in, t.mem_size, write, linear)) return false;
  if ((t.flags & kAligned) && (*linear & (t.mem_size - 1u)) != 0) [[unlikely]] {
    c.Raise(kGp, 0);
    return false;
  }
  return true;
}

// Any of them: general registers, implicit operands, unmasked exceptions.
Step RunVexAny(SoftVcpu& c, const Insn& in) {
  if (CheckAvx(c) != Step::kNext) return Step::kFault;
  const Thunk& t = ThunkAt(in.thunk);
  const ThunkOperand kinds[4] = {t.a, t.b, t.c, t.d};
  const uint8_t regs[4] = {in.reg0, in.reg1, in.reg2, in.imm2};
  alignas(32) uint8_t bounce[32] = {};
  uint64_t linear = 0;
  void* p[4] = {};
  for (unsigned i = 0; i < 4; i++) {
    if (IsVector(kinds[i])) p[i] = XmmAt(c, regs[i]);
    if (kinds[i] == ThunkOperand::kGpr) p[i] = &c.s.gpr[regs[i]];
    if (kinds[i] != ThunkOperand::kMemory) continue;
    if (!VexAddress(c, in, t, i == 0, &linear)) return Step::kFault;
    p[i] = bounce;
    if (i == 0) {
      // MXCSR's flags are set only where the store will not fault.
      if ((t.flags & kFp) &&
          !c.mmu.Probe(linear, t.mem_size, Access::kWrite, c.rights(), IsStack(in))) {
        return Step::kFault;
      }
      continue;
    }
    const void* bytes = LoadOperand(c, in, linear, t.mem_size, bounce);
    if (bytes == nullptr) return Step::kFault;
    p[i] = const_cast<void*>(bytes);
  }

  ThunkFrame frame;
  if (t.flags & kLengths) {
    frame.rax = c.s.gpr[kRax];
    frame.rdx = c.s.gpr[kRdx];
  }
  if (t.flags & kFp) {
    // The result may have to be dropped.
    RegisterCopy result, spare;
    if (IsVector(t.a)) {
      result.Take(static_cast<uint8_t*>(p[0]));
      spare = result;
    }
    if (!RunUnmasked(c, t, {&result, p[1], p[2], p[3]}, &spare, frame)) return Step::kFault;
    if (t.flags & kVexWritesA) {
      if (IsVector(t.a)) result.Give(static_cast<uint8_t*>(p[0]));
      if (t.a == ThunkOperand::kGpr) memcpy(p[0], result.low, 8);
      if (t.a == ThunkOperand::kMemory) memcpy(p[0], result.low, t.mem_size);
    }
  } else {
    t.code(p[0], p[1], p[2], p[3], &frame);
  }

  if (t.flags & kXmm0Out) {
    memcpy(XmmAt(c, 0), frame.xmm0, 16);
    memset(YmmHighAt(c, 0), 0, 16);
  }
  if (t.flags & kEcxOut) c.s.gpr[kRcx] = static_cast<uint32_t>(frame.rcx);
  if (t.flags & kEflagsOut) {
    c.s.flags_of = frame.flags_of;
    c.s.flags_lo = frame.flags_lo;
  }
  return t.a == ThunkOperand::kMemory ? StoreOperand(c, in, linear, t.mem_size, bounce)
                                      : Step::kNext;
}

// Vector registers and memory as operand kMem (-1: none; 0: the destination).
template <int kMem, bool kFloat>
Step RunVex(SoftVcpu& c, const Insn& in) {
  uint32_t mxcsr = 0;
  if (kFloat) {
    mxcsr = FpuGet<uint32_t>(c.s.fpu, FpuState::kMxcsr);
    if ((mxcsr & kMxcsrMasks) != kMxcsrMasks) [[unlikely]]
      return RunVexAny(c, in);
  }
  if (CheckAvx(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  const Thunk& t = ThunkAt(in.thunk);
  alignas(32) uint8_t bounce[32];
  void* p[4] = {XmmAt(c, in.reg0), XmmAt(c, in.reg1), XmmAt(c, in.reg2), XmmAt(c, in.imm2)};
  uint64_t linear = 0;
  bool slow = false;
  if (kMem >= 0) {
    if (!VexAddress(c, in, t, kMem == 0, &linear)) return Step::kFault;
    uint8_t* direct = FastPointer(c, linear, t.mem_size, kMem == 0);
    slow = direct == nullptr;
    if (kMem > 0 && slow && !c.mmu.ReadSlow(linear, bounce, t.mem_size, c.rights(), IsStack(in))) {
      return Step::kFault;
    }
    p[kMem < 0 ? 0 : kMem] = slow ? bounce : direct;
  }
  if (kFloat) {
    ThunkFrame frame;
    frame.mxcsr_in = mxcsr & ~kMxcsrFlags;
    t.code(p[0], p[1], p[2], p[3], &frame);
    FpuSet(c.s.fpu, FpuState::kMxcsr, mxcsr | (frame.mxcsr_out & kMxcsrFlags));
  } else {
    t.code(p[0], p[1], p[2], p[3], nullptr);
  }
  if (kMem == 0 && slow) {
    return AfterSlowStore(c, c.mmu.WriteSlow(linear, bounce, t.mem_size, c.rights(), IsStack(in)));
  }
  return Step::kNext;
}

template <bool kAll>
Step ZeroUpper(SoftVcpu& c, const Insn&) {
  if (CheckAvx(c) != Step::kNext) return Step::kFault;
  const unsigned count = c.in_64bit() ? 16 : 8;
  memset(YmmHighAt(c, 0), 0, 16 * count);
  if (kAll) memset(XmmAt(c, 0), 0, 16 * count);
  return Step::kNext;
}

// ---- Selection ----

ThunkOperand KindOf(const ZydisDecodedOperand& o) {
  if (o.type == ZYDIS_OPERAND_TYPE_MEMORY) return ThunkOperand::kMemory;
  if (o.type != ZYDIS_OPERAND_TYPE_REGISTER) return ThunkOperand::kNone;
  switch (ZydisRegisterGetClass(o.reg.value)) {
    case ZYDIS_REGCLASS_XMM:
      return ThunkOperand::kXmm;
    case ZYDIS_REGCLASS_YMM:
      return ThunkOperand::kYmm;
    default:
      return ThunkOperand::kGpr;
  }
}

uint16_t FlagsOf(const ZydisDecodedInstruction& insn) {
  uint16_t flags = 0;
  switch (insn.meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_AVX1:
      flags = kAligned;
      break;
    case ZYDIS_EXCEPTION_CLASS_AVX2:
    case ZYDIS_EXCEPTION_CLASS_AVX3:
    case ZYDIS_EXCEPTION_CLASS_AVX11:
      flags = kFp;
      break;
    default:
      break;
  }
  switch (insn.mnemonic) {
    case ZYDIS_MNEMONIC_VCVTPS2PH:
      return flags | kHalves;
    case ZYDIS_MNEMONIC_VCOMISS:
    case ZYDIS_MNEMONIC_VCOMISD:
    case ZYDIS_MNEMONIC_VUCOMISS:
    case ZYDIS_MNEMONIC_VUCOMISD:
    case ZYDIS_MNEMONIC_VPTEST:
    case ZYDIS_MNEMONIC_VTESTPS:
    case ZYDIS_MNEMONIC_VTESTPD:
      return flags | kEflagsOut;
    case ZYDIS_MNEMONIC_VPCMPESTRI:
      return flags | kLengths | kEcxOut | kEflagsOut;
    case ZYDIS_MNEMONIC_VPCMPISTRI:
      return flags | kEcxOut | kEflagsOut;
    case ZYDIS_MNEMONIC_VPCMPESTRM:
      return flags | kLengths | kXmm0Out | kEflagsOut;
    case ZYDIS_MNEMONIC_VPCMPISTRM:
      return flags | kXmm0Out | kEflagsOut;
    default:
      return flags;
  }
}

// Where VEX.W is the size of a general register, which 32-bit mode does not have.
bool WidthIsGeneral(const ZydisDecodedInstruction& insn) {
  switch (insn.mnemonic) {
    case ZYDIS_MNEMONIC_VMOVD:
    case ZYDIS_MNEMONIC_VMOVQ:
    case ZYDIS_MNEMONIC_VPINSRD:
    case ZYDIS_MNEMONIC_VPINSRQ:
    case ZYDIS_MNEMONIC_VPEXTRD:
    case ZYDIS_MNEMONIC_VPEXTRQ:
    case ZYDIS_MNEMONIC_VCVTSI2SS:
    case ZYDIS_MNEMONIC_VCVTSI2SD:
    case ZYDIS_MNEMONIC_VCVTSS2SI:
    case ZYDIS_MNEMONIC_VCVTSD2SI:
    case ZYDIS_MNEMONIC_VCVTTSS2SI:
    case ZYDIS_MNEMONIC_VCVTTSD2SI:
      return true;
    default:
      return false;
  }
}

uint8_t MandatoryPrefix(uint8_t pp) {
  constexpr uint8_t kPrefixes[] = {0, 0x66, 0xF3, 0xF2};
  return kPrefixes[pp & 3];
}

// Fills in what encodes the instruction with fixed operands; false: not by thunk.
bool MakeSpec(const DecodedView& view, Insn& in, ThunkSpec* spec) {
  const ZydisDecodedInstruction& insn = *view.insn;
  if (!(insn.attributes & ZYDIS_ATTRIB_HAS_MODRM)) return false;
  Thunk& t = spec->thunk;
  t.flags = FlagsOf(insn);
  spec->vex = true;
  spec->vex_l = insn.raw.vex.L;
  spec->rex_w =
      insn.raw.vex.W && (insn.machine_mode == ZYDIS_MACHINE_MODE_LONG_64 || !WidthIsGeneral(insn));
  spec->prefix = MandatoryPrefix(insn.raw.vex.pp);
  spec->map = insn.raw.vex.m_mmmm;
  spec->opcode = insn.opcode;
  if (insn.raw.imm[0].size != 0) {
    spec->has_imm = true;
    spec->imm = static_cast<uint8_t>(insn.raw.imm[0].value.u);
  }
  constexpr uint8_t kPointer[] = {7, 6, 2, 1};  // RDI, RSI, RDX, RCX
  ThunkOperand* const kinds[] = {&t.a, &t.b, &t.c, &t.d};
  uint8_t* const regs[] = {&in.reg0, &in.reg1, &in.reg2, &in.imm2};
  for (uint8_t* r : regs) *r = 0;
  // A field that is no operand stays.
  uint8_t mod = 3, reg = insn.raw.modrm.reg, rm = insn.raw.modrm.rm;
  for (unsigned i = 0; i < insn.operand_count_visible && i < 4; i++) {
    const ZydisDecodedOperand& o = view.operands[i];
    const ThunkOperand kind = *kinds[i] = KindOf(o);
    if (kind == ThunkOperand::kNone) continue;
    uint8_t number = kind == ThunkOperand::kGpr ? 0 : static_cast<uint8_t>(i + 1);
    if (kind == ThunkOperand::kMemory) {
      if (o.size > 256) return false;
      t.mem_size = static_cast<uint8_t>(o.size / 8);
      number = kPointer[i];
      mod = 0;
    } else {
      *regs[i] = static_cast<uint8_t>(ZydisRegisterGetId(o.reg.value));
    }
    switch (o.encoding) {
      case ZYDIS_OPERAND_ENCODING_MODRM_REG:
        reg = number;
        break;
      case ZYDIS_OPERAND_ENCODING_MODRM_RM:
        rm = number;
        break;
      case ZYDIS_OPERAND_ENCODING_NDSNDD:
        spec->vex_vvvv = number;
        break;
      case ZYDIS_OPERAND_ENCODING_IS4:
        spec->imm = static_cast<uint8_t>(number << 4 | (spec->imm & 15));
        break;
      default:
        return false;
    }
    if (i == 0 && (o.actions & ZYDIS_OPERAND_ACTION_MASK_READ)) t.flags |= kVexReadsA;
    if (i == 0 && (o.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)) t.flags |= kVexWritesA;
  }
  spec->modrm = static_cast<uint8_t>(mod << 6 | reg << 3 | rm);
  return true;
}

Handler HandlerFor(const Thunk& t) {
  const uint16_t flags = t.flags & ~(kAligned | kVexReadsA | kVexWritesA | kHalves);
  int mem = -1;
  int i = 0;
  for (ThunkOperand o : {t.a, t.b, t.c, t.d}) {
    if (o == ThunkOperand::kGpr) return RunVexAny;
    if (o == ThunkOperand::kMemory) mem = i;
    i++;
  }
  if (flags == kFp) {
    return mem < 0    ? RunVex<-1, true>
           : mem == 1 ? RunVex<1, true>
           : mem == 2 ? RunVex<2, true>
                      : RunVexAny;
  }
  if (flags != 0) return RunVexAny;
  return mem < 0    ? RunVex<-1, false>
         : mem == 0 ? RunVex<0, false>
         : mem == 1 ? RunVex<1, false>
         : mem == 2 ? RunVex<2, false>
                    : RunVexAny;
}

}  // namespace

Handler SelectVex(Insn& in, const DecodedView& view) {
  if (view.insn->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX) return nullptr;
  switch (view.insn->mnemonic) {
    case ZYDIS_MNEMONIC_VZEROUPPER:
      return ZeroUpper<false>;
    case ZYDIS_MNEMONIC_VZEROALL:
      return ZeroUpper<true>;
    default:
      break;
  }
  ThunkSpec spec;
  if (!MakeSpec(view, in, &spec)) return nullptr;
  in.thunk = FindThunk(spec);
  return in.thunk != 0 ? HandlerFor(ThunkAt(in.thunk)) : nullptr;
}

}  // namespace atl::cpu::soft
