// SPDX-License-Identifier: Apache-2.0
// Multiplication, division and decimal adjustment.
#include <limits>
#include <type_traits>

#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/select.h"

namespace atl::cpu::soft {
namespace {

// The one explicit operand of MUL, IMUL, DIV, IDIV.
template <typename T>
inline bool Operand(SoftVcpu& c, const Insn& in, T* v) {
  if (in.has_mem) return Load<T, kAny>(c, in, v);
  *v = ReadReg<T>(c, in.reg0);
  return true;
}

// Writes a result of twice T's size to AX, or DX:AX, EDX:EAX, RDX:RAX.
template <typename T>
inline void WriteDouble(SoftVcpu& c, T low, T high) {
  if constexpr (sizeof(T) == 1) {
    WriteReg<uint16_t>(c, kRax, static_cast<uint16_t>(high << 8 | low));
  } else {
    WriteReg<T>(c, kRax, low);
    WriteReg<T>(c, kRdx, high);
  }
}

template <typename T, bool Signed>
Step MulOne(SoftVcpu& c, const Insn& in) {
  T b;
  if (!Operand<T>(c, in, &b)) return Step::kFault;
  T low = static_cast<T>(c.s.gpr[kRax]), high = 0;
  // What it leaves undefined may depend on what was there.
  uint16_t f = ArithmeticFlags(c);
  if constexpr (sizeof(T) == 1) {
    uint16_t wide = low;
    if constexpr (Signed) {
      asm(ATOLL_FLAGS_IN "movw %[w], %%ax\n\timulb %[b]\n\tmovw %%ax, %[w]" ATOLL_FLAGS_OUT
          : "+&a"(f), [w] "+&r"(wide)
          : [b] "q"(b)
          : "cc");
    } else {
      asm(ATOLL_FLAGS_IN "movw %[w], %%ax\n\tmulb %[b]\n\tmovw %%ax, %[w]" ATOLL_FLAGS_OUT
          : "+&a"(f), [w] "+&r"(wide)
          : [b] "q"(b)
          : "cc");
    }
    low = static_cast<T>(wide);
    high = static_cast<T>(wide >> 8);
  } else {
    uint64_t a = f, r = low;
    if constexpr (Signed) {
      asm(ATOLL_FLAGS_IN "movq %[r], %%rax\n\timul %[b]\n\tmovq %%rax, %[r]" ATOLL_FLAGS_OUT
          : "+&a"(a), "=&d"(high), [r] "+&r"(r)
          : [b] "r"(b)
          : "cc");
    } else {
      asm(ATOLL_FLAGS_IN "movq %[r], %%rax\n\tmul %[b]\n\tmovq %%rax, %[r]" ATOLL_FLAGS_OUT
          : "+&a"(a), "=&d"(high), [r] "+&r"(r)
          : [b] "r"(b)
          : "cc");
    }
    f = static_cast<uint16_t>(a);
    low = static_cast<T>(r);
  }
  WriteDouble<T>(c, low, high);
  SetArithmeticFlags(c, f);
  return Step::kNext;
}
Handler SelectMul(Insn& in, const DecodedView&) {
  return BySize(in.operand_size, []<typename T>() -> Handler { return &MulOne<T, false>; });
}

// IMUL r, r/m and IMUL r, r/m, imm.
template <typename T, bool Imm>
Step MulMany(SoftVcpu& c, const Insn& in) {
  T b;
  if (in.has_mem) {
    if (!Load<T, kAny>(c, in, &b)) return Step::kFault;
  } else {
    b = ReadReg<T>(c, in.reg1);
  }
  T a = Imm ? static_cast<T>(in.imm) : ReadReg<T>(c, in.reg0);
  uint16_t f = ArithmeticFlags(c);
  asm(ATOLL_FLAGS_IN "imul %[b], %[a]" ATOLL_FLAGS_OUT
      : [a] "+&r"(a), "+&a"(f)
      : [b] "r"(b)
      : "cc");
  WriteReg<T>(c, in.reg0, a);
  SetArithmeticFlags(c, f);
  return Step::kNext;
}
Handler SelectImul(Insn& in, const DecodedView& v) {
  if (v.insn->operand_count_visible == 1)
    return BySize(in.operand_size, []<typename T>() -> Handler { return &MulOne<T, true>; });
  const bool imm = v.insn->operand_count_visible == 3;
  return ByWideSize(in.operand_size, [&]<typename T>() -> Handler {
    return imm ? &MulMany<T, true> : &MulMany<T, false>;
  });
}

// MULX: RDX times operand 2 to operand 0 (the upper half, written last) and 1.
template <typename T>
Step Mulx(SoftVcpu& c, const Insn& in) {
  if (!c.s.protected_mode || c.s.v8086) return c.Raise(kUd);
  T b;
  if (in.has_mem) {
    if (!Load<T, kAny>(c, in, &b)) return Step::kFault;
  } else {
    b = ReadReg<T>(c, in.reg2);
  }
  const unsigned __int128 product = static_cast<unsigned __int128>(ReadReg<T>(c, kRdx)) * b;
  WriteReg<T>(c, in.reg1, static_cast<T>(product));
  WriteReg<T>(c, in.reg0, static_cast<T>(product >> (8 * sizeof(T))));
  return Step::kNext;
}
Handler SelectMulx(Insn&, const DecodedView& v) {
  return v.operands[0].size == 64 ? &Mulx<uint64_t> : &Mulx<uint32_t>;
}

// The dividend, of twice T's size. Flags stay: they are undefined.
template <typename T, typename Wide>
inline Wide Dividend(const SoftVcpu& c) {
  if constexpr (sizeof(T) == 1) {
    return static_cast<Wide>(static_cast<uint16_t>(c.s.gpr[kRax]));
  } else {
    using U = std::make_unsigned_t<T>;
    return static_cast<Wide>(static_cast<unsigned __int128>(static_cast<U>(c.s.gpr[kRdx]))
                                 << (8 * sizeof(T)) |
                             static_cast<U>(c.s.gpr[kRax]));
  }
}
template <typename T>
struct WideOf;
template <>
struct WideOf<uint8_t> {
  using U = uint16_t;
  using S = int16_t;
};
template <>
struct WideOf<uint16_t> {
  using U = uint32_t;
  using S = int32_t;
};
template <>
struct WideOf<uint32_t> {
  using U = uint64_t;
  using S = int64_t;
};
template <>
struct WideOf<uint64_t> {
  using U = unsigned __int128;
  using S = __int128;
};

template <typename T>
Step Div(SoftVcpu& c, const Insn& in) {
  T d;
  if (!Operand<T>(c, in, &d)) return Step::kFault;
  if (d == 0) return c.Raise(kDe);
  using W = typename WideOf<T>::U;
  const W n = Dividend<T, W>(c);
  if (static_cast<T>(n >> (8 * sizeof(T))) >= d) return c.Raise(kDe);
  T q, r;
  if constexpr (sizeof(T) == 8) {
    // The quotient fits: the host's own division, not the library's.
    asm("divq %[d]"
        : "=a"(q), "=d"(r)
        : "0"(static_cast<uint64_t>(n)), "1"(static_cast<uint64_t>(n >> 64)), [d] "r"(d)
        : "cc");
  } else {
    q = static_cast<T>(n / d);
    r = static_cast<T>(n % d);
  }
  WriteDouble<T>(c, q, r);
  return Step::kNext;
}
template <typename T>
Step Idiv(SoftVcpu& c, const Insn& in) {
  T raw;
  if (!Operand<T>(c, in, &raw)) return Step::kFault;
  using S = std::make_signed_t<T>;
  using W = typename WideOf<T>::S;
  const S d = static_cast<S>(raw);
  if (d == 0) return c.Raise(kDe);
  const W n = Dividend<T, W>(c);
  W q, r;
  if (d == -1) {
    // The least W has no negative.
    if (n == static_cast<W>(W{1} << (16 * sizeof(T) - 1))) return c.Raise(kDe);
    q = -n;
    r = 0;
  } else if (sizeof(T) == 8 && n == static_cast<W>(static_cast<int64_t>(n))) {
    q = static_cast<int64_t>(n) / d;
    r = static_cast<int64_t>(n) % d;
  } else {
    q = static_cast<W>(n / d);
    r = static_cast<W>(n % d);
  }
  if (q < std::numeric_limits<S>::min() || q > std::numeric_limits<S>::max()) return c.Raise(kDe);
  WriteDouble<T>(c, static_cast<T>(q), static_cast<T>(r));
  return Step::kNext;
}
Handler SelectDiv(Insn& in, const DecodedView&) {
  return BySize(in.operand_size, []<typename T>() -> Handler { return &Div<T>; });
}
Handler SelectIdiv(Insn& in, const DecodedView&) {
  return BySize(in.operand_size, []<typename T>() -> Handler { return &Idiv<T>; });
}

// ---- Decimal adjustment (vol. 2; not in 64-bit mode) ----

// SF, ZF and PF of a byte; the others as given, OF cleared.
void SetByteFlags(SoftVcpu& c, uint8_t v, bool carry, bool adjust) {
  uint8_t f = 2;
  if (v & 0x80) f |= kSf;
  if (v == 0) f |= kZf;
  if (!__builtin_parity(v)) f |= kPf;
  if (carry) f |= kCf;
  if (adjust) f |= kAf;
  c.s.flags_lo = f;
  c.s.flags_of = 0;
}

template <bool Subtract>
Step Daa(SoftVcpu& c, const Insn&) {
  const uint8_t old = static_cast<uint8_t>(c.s.gpr[kRax]);
  const bool old_carry = Carry(c);
  const bool adjust = (old & 15) > 9 || (c.s.flags_lo & kAf);
  uint8_t al = old;
  bool carry = false;
  if (adjust) {
    carry = old_carry || (Subtract ? al < 6 : al > 0xF9);
    al = static_cast<uint8_t>(Subtract ? al - 6 : al + 6);
  }
  if (old > 0x99 || old_carry) {
    al = static_cast<uint8_t>(Subtract ? al - 0x60 : al + 0x60);
    carry = true;
  } else if (!Subtract) {
    carry = false;
  }
  WriteReg<uint8_t>(c, kRax, al);
  SetByteFlags(c, al, carry, adjust);
  return Step::kNext;
}
template <bool Subtract>
Step Aaa(SoftVcpu& c, const Insn&) {
  uint16_t ax = static_cast<uint16_t>(c.s.gpr[kRax]);
  const bool adjust = (ax & 15) > 9 || (c.s.flags_lo & kAf);
  if (adjust) ax = static_cast<uint16_t>(Subtract ? ax - 0x106 : ax + 0x106);
  ax &= 0xFF0F;
  WriteReg<uint16_t>(c, kRax, ax);
  SetByteFlags(c, static_cast<uint8_t>(ax), adjust, adjust);
  return Step::kNext;
}
Step Aam(SoftVcpu& c, const Insn& in) {
  const uint8_t base = static_cast<uint8_t>(in.imm), al = static_cast<uint8_t>(c.s.gpr[kRax]);
  if (base == 0) return c.Raise(kDe);
  WriteReg<uint16_t>(c, kRax, static_cast<uint16_t>((al / base) << 8 | al % base));
  SetByteFlags(c, static_cast<uint8_t>(al % base), false, false);
  return Step::kNext;
}
Step Aad(SoftVcpu& c, const Insn& in) {
  const uint16_t ax = static_cast<uint16_t>(c.s.gpr[kRax]);
  const uint8_t al = static_cast<uint8_t>(ax + (ax >> 8) * in.imm);
  WriteReg<uint16_t>(c, kRax, al);
  SetByteFlags(c, al, false, false);
  return Step::kNext;
}
template <Handler H>
Handler Always(Insn&, const DecodedView&) {
  return H;
}

constexpr HandlerEntry kTable[] = {
    {ZYDIS_MNEMONIC_MUL, &SelectMul},          {ZYDIS_MNEMONIC_IMUL, &SelectImul},
    {ZYDIS_MNEMONIC_DIV, &SelectDiv},          {ZYDIS_MNEMONIC_IDIV, &SelectIdiv},
    {ZYDIS_MNEMONIC_MULX, &SelectMulx},        {ZYDIS_MNEMONIC_DAA, &Always<&Daa<false>>},
    {ZYDIS_MNEMONIC_DAS, &Always<&Daa<true>>}, {ZYDIS_MNEMONIC_AAA, &Always<&Aaa<false>>},
    {ZYDIS_MNEMONIC_AAS, &Always<&Aaa<true>>}, {ZYDIS_MNEMONIC_AAM, &Always<&Aam>},
    {ZYDIS_MNEMONIC_AAD, &Always<&Aad>},
};

}  // namespace

const HandlerTable kMultiplyHandlers(kTable);

}  // namespace atl::cpu::soft
