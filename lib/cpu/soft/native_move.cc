// SPDX-License-Identifier: Apache-2.0
// The SSE moves and the logic between whole registers, in C++: what kernels and
// C libraries use most, and cheaper than a thunk. Fences and prefetches too.
#include <Zydis/Zydis.h>

#include <cstdint>
#include <cstring>

#include "lib/cpu/soft/native_access.h"
#include "lib/cpu/soft/native_fpu.h"
#include "lib/cpu/soft/native_select.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

using Vector = uint64_t __attribute__((vector_size(16), aligned(1), may_alias));

Vector& Xmm(SoftVcpu& c, unsigned n) { return *reinterpret_cast<Vector*>(XmmAt(c, n)); }

// The operand's address with the alignment that legacy SSE asks for.
template <bool kAlign>
bool Address(SoftVcpu& c, const Insn& in, unsigned size, bool write, uint64_t* linear) {
  if (!LinearOf(c, in, size, write, linear)) return false;
  if (kAlign && (*linear & 15) != 0) {
    c.Raise(kGp, 0);
    return false;
  }
  return true;
}

// What to do with source bytes in register `n`.
template <unsigned kSize, unsigned kAt, bool kZero>
void Insert(SoftVcpu& c, unsigned n, const uint8_t* bytes) {
  uint8_t* to = XmmAt(c, n);
  uint8_t v[kSize];
  memcpy(v, bytes, kSize);
  if (kZero) memset(to, 0, 16);
  memcpy(to + kAt, v, kSize);
}

// Register from memory: kSize bytes to byte kAt, the others zeroed or kept.
template <unsigned kSize, unsigned kAt, bool kZero, bool kAlign>
Step Load(SoftVcpu& c, const Insn& in) {
  if (CheckSse(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  uint64_t linear;
  if (!Address<kAlign>(c, in, kSize, false, &linear)) return Step::kFault;
  if (const uint8_t* p = c.mmu.FastRead<ByteArray<kSize>>(linear, c.user())) [[likely]] {
    Insert<kSize, kAt, kZero>(c, in.reg0, p);
    return Step::kNext;
  }
  uint8_t bounce[kSize];
  if (!c.mmu.ReadSlow(linear, bounce, kSize, c.rights(), IsStack(in))) return Step::kFault;
  Insert<kSize, kAt, kZero>(c, in.reg0, bounce);
  return Step::kNext;
}

// Memory from kSize bytes at `from`.
template <unsigned kSize, bool kAlign>
Step StoreFrom(SoftVcpu& c, const Insn& in, const void* from) {
  uint64_t linear;
  if (!Address<kAlign>(c, in, kSize, true, &linear)) return Step::kFault;
  if (uint8_t* p = c.mmu.FastWrite<ByteArray<kSize>>(linear, c.user())) [[likely]] {
    memcpy(p, from, kSize);
    return Step::kNext;
  }
  return AfterSlowStore(c, c.mmu.WriteSlow(linear, from, kSize, c.rights(), IsStack(in)));
}

template <unsigned kSize, unsigned kAt, bool kAlign>
Step Store(SoftVcpu& c, const Insn& in) {
  if (CheckSse(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  return StoreFrom<kSize, kAlign>(c, in, XmmAt(c, in.reg1) + kAt);
}

// Register from register: kSize bytes from kFrom to kAt.
template <unsigned kSize, unsigned kAt, unsigned kFrom, bool kZero>
Step Move(SoftVcpu& c, const Insn& in) {
  if (CheckSse(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  Insert<kSize, kAt, kZero>(c, in.reg0, XmmAt(c, in.reg1) + kFrom);
  return Step::kNext;
}

template <unsigned kSize>
Step FromGpr(SoftVcpu& c, const Insn& in) {
  if (CheckSse(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  Insert<kSize, 0, true>(c, in.reg0, reinterpret_cast<const uint8_t*>(&c.s.gpr[in.reg1]));
  return Step::kNext;
}

template <unsigned kSize>
Step ToGpr(SoftVcpu& c, const Insn& in) {
  if (CheckSse(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  uint64_t v = 0;
  memcpy(&v, XmmAt(c, in.reg1), kSize);
  c.s.gpr[in.reg0] = v;
  return Step::kNext;
}

// MOVNTI touches no SSE state: only CPUID's SSE2 bit gates it.
template <unsigned kSize>
Step StoreGpr(SoftVcpu& c, const Insn& in) {
  return StoreFrom<kSize, false>(c, in, &c.s.gpr[in.reg1]);
}

enum class Logic { kAnd, kAndNot, kOr, kXor };

template <Logic kLogic>
void Apply(SoftVcpu& c, unsigned n, Vector v) {
  Vector& to = Xmm(c, n);
  switch (kLogic) {
    case Logic::kAnd:
      to &= v;
      break;
    case Logic::kAndNot:
      to = ~to & v;
      break;
    case Logic::kOr:
      to |= v;
      break;
    case Logic::kXor:
      to ^= v;
      break;
  }
}

template <Logic kLogic>
Step LogicRegister(SoftVcpu& c, const Insn& in) {
  if (CheckSse(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  Apply<kLogic>(c, in.reg0, Xmm(c, in.reg1));
  return Step::kNext;
}

template <Logic kLogic>
Step LogicMemory(SoftVcpu& c, const Insn& in) {
  if (CheckSse(c) != Step::kNext) [[unlikely]]
    return Step::kFault;
  uint64_t linear;
  if (!Address<true>(c, in, 16, false, &linear)) return Step::kFault;
  uint8_t bounce[16];
  const uint8_t* p = LoadOperand(c, in, linear, 16, bounce);
  if (p == nullptr) return Step::kFault;
  Vector v;
  memcpy(&v, p, 16);
  Apply<kLogic>(c, in.reg0, v);
  return Step::kNext;
}

Step Nothing(SoftVcpu&, const Insn&) { return Step::kNext; }

// Orders this thread's accesses to guest memory as the guest asks.
Step Fence(SoftVcpu&, const Insn&) {
  asm volatile("mfence" ::: "memory");
  return Step::kNext;
}

bool IsXmm(const ZydisDecodedOperand_& o) {
  return o.type == ZYDIS_OPERAND_TYPE_REGISTER &&
         ZydisRegisterGetClass(o.reg.value) == ZYDIS_REGCLASS_XMM;
}
bool IsMmx(const ZydisDecodedOperand_& o) {
  return o.type == ZYDIS_OPERAND_TYPE_REGISTER &&
         ZydisRegisterGetClass(o.reg.value) == ZYDIS_REGCLASS_MMX;
}
bool IsMemory(const ZydisDecodedOperand_& o) { return o.type == ZYDIS_OPERAND_TYPE_MEMORY; }

template <bool kAlign>
Handler Move128(const ZydisDecodedOperand_* o) {
  if (IsMemory(o[0])) return Store<16, 0, kAlign>;
  return IsMemory(o[1]) ? Load<16, 0, false, kAlign> : Move<16, 0, 0, false>;
}

template <Logic kLogic>
Handler SelectLogic(const ZydisDecodedOperand_* o) {
  return IsMemory(o[1]) ? LogicMemory<kLogic> : LogicRegister<kLogic>;
}

template <unsigned kSize>
Handler MoveScalar(const ZydisDecodedOperand_* o) {
  if (IsMemory(o[0])) return Store<kSize, 0, false>;
  return IsMemory(o[1]) ? Load<kSize, 0, true, false> : Move<kSize, 0, 0, false>;
}

template <unsigned kAt>
Handler MoveHalf(const ZydisDecodedOperand_* o) {
  return IsMemory(o[0]) ? Store<8, kAt, false> : Load<8, kAt, false, false>;
}

template <unsigned kSize>
Handler MoveQuadOrDouble(const ZydisDecodedOperand_* o) {
  if (IsMemory(o[0])) return Store<kSize, 0, false>;
  if (IsMemory(o[1])) return Load<kSize, 0, true, false>;
  if (!IsXmm(o[0])) return ToGpr<kSize>;
  return IsXmm(o[1]) ? Move<kSize, 0, 0, true> : FromGpr<kSize>;
}

Handler Choose(const ZydisDecodedInstruction_& insn, const ZydisDecodedOperand_* o) {
  switch (insn.mnemonic) {
    case ZYDIS_MNEMONIC_MOVAPS:
    case ZYDIS_MNEMONIC_MOVAPD:
    case ZYDIS_MNEMONIC_MOVDQA:
    case ZYDIS_MNEMONIC_MOVNTPS:
    case ZYDIS_MNEMONIC_MOVNTPD:
    case ZYDIS_MNEMONIC_MOVNTDQ:
    case ZYDIS_MNEMONIC_MOVNTDQA:
      return Move128<true>(o);
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
      return Move128<false>(o);
    case ZYDIS_MNEMONIC_MOVSS:
      return MoveScalar<4>(o);
    case ZYDIS_MNEMONIC_MOVSD:
      return MoveScalar<8>(o);
    case ZYDIS_MNEMONIC_MOVD:
      return MoveQuadOrDouble<4>(o);
    case ZYDIS_MNEMONIC_MOVQ:
      return MoveQuadOrDouble<8>(o);
    case ZYDIS_MNEMONIC_MOVLPS:
    case ZYDIS_MNEMONIC_MOVLPD:
      return MoveHalf<0>(o);
    case ZYDIS_MNEMONIC_MOVHPS:
    case ZYDIS_MNEMONIC_MOVHPD:
      return MoveHalf<8>(o);
    case ZYDIS_MNEMONIC_MOVHLPS:
      return Move<8, 0, 8, false>;
    case ZYDIS_MNEMONIC_MOVLHPS:
      return Move<8, 8, 0, false>;
    case ZYDIS_MNEMONIC_MOVNTI:
      return o[1].size == 64 ? StoreGpr<8> : StoreGpr<4>;
    case ZYDIS_MNEMONIC_ANDPS:
    case ZYDIS_MNEMONIC_ANDPD:
    case ZYDIS_MNEMONIC_PAND:
      return SelectLogic<Logic::kAnd>(o);
    case ZYDIS_MNEMONIC_ANDNPS:
    case ZYDIS_MNEMONIC_ANDNPD:
    case ZYDIS_MNEMONIC_PANDN:
      return SelectLogic<Logic::kAndNot>(o);
    case ZYDIS_MNEMONIC_ORPS:
    case ZYDIS_MNEMONIC_ORPD:
    case ZYDIS_MNEMONIC_POR:
      return SelectLogic<Logic::kOr>(o);
    case ZYDIS_MNEMONIC_XORPS:
    case ZYDIS_MNEMONIC_XORPD:
    case ZYDIS_MNEMONIC_PXOR:
      return SelectLogic<Logic::kXor>(o);
    case ZYDIS_MNEMONIC_LFENCE:
      return Nothing;
    case ZYDIS_MNEMONIC_SFENCE:
    case ZYDIS_MNEMONIC_MFENCE:
      return Fence;
    default:
      return insn.meta.isa_set == ZYDIS_ISA_SET_SSE_PREFETCH ? Nothing : nullptr;
  }
}

}  // namespace

Handler SelectMove(Insn& in, const DecodedView& view) {
  const ZydisDecodedOperand_* o = view.operands;
  for (unsigned i = 0; i < view.insn->operand_count_visible; i++) {
    if (IsMmx(o[i])) return nullptr;
  }
  Handler h = Choose(*view.insn, o);
  if (h == nullptr || view.insn->operand_count_visible < 2) return h;
  for (unsigned i = 0; i < 2; i++) {
    if (o[i].type == ZYDIS_OPERAND_TYPE_REGISTER) {
      (i == 0 ? in.reg0 : in.reg1) = static_cast<uint8_t>(ZydisRegisterGetId(o[i].reg.value));
    }
  }
  return h;
}

}  // namespace atl::cpu::soft
