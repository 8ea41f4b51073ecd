// SPDX-License-Identifier: Apache-2.0
// Bit tests, scans and counts, CRC32, BMI1 and BMI2 but MULX.
#include <type_traits>

#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/select.h"

namespace atl::cpu::soft {
namespace {

enum class BitOp { kTest, kSet, kReset, kComplement };

template <BitOp op, typename T>
inline T Change(T v, unsigned bit) {
  const T mask = static_cast<T>(T{1} << bit);
  if constexpr (op == BitOp::kSet) return v | mask;
  if constexpr (op == BitOp::kReset) return static_cast<T>(v & ~mask);
  if constexpr (op == BitOp::kComplement) return v ^ mask;
  return v;
}

template <BitOp op, typename T>
inline bool ChangeLocked(uint8_t* p, unsigned bit) {
  T* at = reinterpret_cast<T*>(p);
  const T mask = static_cast<T>(T{1} << bit);
  T old;
  if constexpr (op == BitOp::kSet) {
    old = __atomic_fetch_or(at, mask, __ATOMIC_SEQ_CST);
  } else if constexpr (op == BitOp::kReset) {
    old = __atomic_fetch_and(at, static_cast<T>(~mask), __ATOMIC_SEQ_CST);
  } else {
    old = __atomic_fetch_xor(at, mask, __ATOMIC_SEQ_CST);
  }
  return (old >> bit) & 1;
}

template <BitOp op, typename T, bool Imm>
Step BitReg(SoftVcpu& c, const Insn& in) {
  const T v = ReadReg<T>(c, in.reg0);
  const unsigned bit = static_cast<unsigned>(Imm ? in.imm : c.s.gpr[in.reg1]) & (8 * sizeof(T) - 1);
  if constexpr (op != BitOp::kTest) WriteReg<T>(c, in.reg0, Change<op, T>(v, bit));
  SetCarry(c, (v >> bit) & 1);
  return Step::kNext;
}

// The bit offset of a register form reaches beyond the operand, both ways.
template <BitOp op, typename T, bool Imm>
Step BitMem(SoftVcpu& c, const Insn& in) {
  constexpr unsigned kBits = 8 * sizeof(T);
  const int64_t wanted =
      Imm ? static_cast<int64_t>(in.imm & (kBits - 1))
          : static_cast<int64_t>(static_cast<std::make_signed_t<T>>(ReadReg<T>(c, in.reg1)));
  const unsigned bit = static_cast<unsigned>(wanted) & (kBits - 1);
  const int64_t step = (wanted >> __builtin_ctz(kBits)) * static_cast<int64_t>(sizeof(T));
  const uint64_t offset =
      MaskAddress(EffectiveOffset(c, in) + static_cast<uint64_t>(step), in.address_size);
  uint64_t linear;
  if (!SegmentLinear(c, in.seg, offset, sizeof(T), op != BitOp::kTest, &linear))
    return Step::kFault;
  const bool stack = in.seg == kSs;
  if constexpr (op == BitOp::kTest) {
    T v;
    if (!LoadLinear<T>(c, linear, &v, stack)) return Step::kFault;
    SetCarry(c, (v >> bit) & 1);
    return Step::kNext;
  } else {
    const bool lock = in.lock;
    return ModifyLinear<T>(c, linear, stack, [&c, bit, lock](uint8_t* p) {
      if (lock) {
        SetCarry(c, ChangeLocked<op, T>(p, bit));
        return;
      }
      const T v = HostLoad<T>(p);
      HostStore<T>(p, Change<op, T>(v, bit));
      SetCarry(c, (v >> bit) & 1);
    });
  }
}
template <BitOp op>
Handler SelectBit(Insn& in, const DecodedView& v) {
  const bool imm = IsImm(v, 1);
  return ByWideSize(in.operand_size, [&]<typename T>() -> Handler {
    if (IsMem(v, 0)) return imm ? &BitMem<op, T, true> : &BitMem<op, T, false>;
    return imm ? &BitReg<op, T, true> : &BitReg<op, T, false>;
  });
}

// The source operand of those below.
template <typename T>
inline bool Source(SoftVcpu& c, const Insn& in, T* v) {
  if (in.has_mem) return Load<T, kAny>(c, in, v);
  *v = ReadReg<T>(c, in.reg1);
  return true;
}

// The host's instruction on the whole register and with the flags before it, so
// that what is undefined (or kept: BSF of 0) comes out as the host has it.
#define ATOLL_SCAN(Name, mnemonic)                                                        \
  template <typename T>                                                                   \
  Step Name(SoftVcpu& c, const Insn& in) {                                                \
    T b;                                                                                  \
    if (!Source<T>(c, in, &b)) return Step::kFault;                                       \
    uint64_t a = c.s.gpr[in.reg0];                                                        \
    uint16_t f = ArithmeticFlags(c);                                                      \
    if constexpr (sizeof(T) == 2)                                                         \
      asm(ATOLL_FLAGS_IN mnemonic " %w[b], %w[a]" ATOLL_FLAGS_OUT                         \
          : [a] "+&r"(a), "+&a"(f)                                                        \
          : [b] "r"(b)                                                                    \
          : "cc");                                                                        \
    else if constexpr (sizeof(T) == 4)                                                    \
      asm(ATOLL_FLAGS_IN mnemonic " %k[b], %k[a]" ATOLL_FLAGS_OUT                         \
          : [a] "+&r"(a), "+&a"(f)                                                        \
          : [b] "r"(b)                                                                    \
          : "cc");                                                                        \
    else                                                                                  \
      asm(ATOLL_FLAGS_IN mnemonic " %q[b], %q[a]" ATOLL_FLAGS_OUT                         \
          : [a] "+&r"(a), "+&a"(f)                                                        \
          : [b] "r"(b)                                                                    \
          : "cc");                                                                        \
    c.s.gpr[in.reg0] = a;                                                                 \
    SetArithmeticFlags(c, f);                                                             \
    return Step::kNext;                                                                   \
  }                                                                                       \
  Handler Select##Name(Insn& in, const DecodedView&) {                                    \
    return ByWideSize(in.operand_size, []<typename T>() -> Handler { return &Name<T>; }); \
  }
ATOLL_SCAN(Bsf, "bsf")
ATOLL_SCAN(Bsr, "bsr")
ATOLL_SCAN(Popcnt, "popcnt")
ATOLL_SCAN(Lzcnt, "lzcnt")
ATOLL_SCAN(Tzcnt, "tzcnt")

template <typename T>
Step Crc32(SoftVcpu& c, const Insn& in) {
  T v;
  if (!Source<T>(c, in, &v)) return Step::kFault;
  uint64_t a = static_cast<uint32_t>(c.s.gpr[in.reg0]);
  if constexpr (sizeof(T) == 1) asm("crc32b %b[v], %k[a]" : [a] "+r"(a) : [v] "q"(v));
  if constexpr (sizeof(T) == 2) asm("crc32w %w[v], %k[a]" : [a] "+r"(a) : [v] "r"(v));
  if constexpr (sizeof(T) == 4) asm("crc32l %k[v], %k[a]" : [a] "+r"(a) : [v] "r"(v));
  if constexpr (sizeof(T) == 8) asm("crc32q %q[v], %q[a]" : [a] "+r"(a) : [v] "r"(v));
  c.s.gpr[in.reg0] = a;
  return Step::kNext;
}
Handler SelectCrc32(Insn&, const DecodedView& v) {
  return BySize(v.operands[1].size / 8, []<typename T>() -> Handler { return &Crc32<T>; });
}

// ---- VEX on general registers (vol. 2, 2.5.1): not in real and virtual-8086 mode ----

// The host's instruction on (v1, v2) in the manual's order of operands, with the
// flags before it.
#define ATOLL_BMI(Name, text)                        \
  struct Name {                                      \
    template <typename T>                            \
    static T Do(T v1, T v2, uint64_t, uint16_t* f) { \
      T d;                                           \
      uint16_t flags = *f;                           \
      asm(ATOLL_FLAGS_IN text ATOLL_FLAGS_OUT        \
          : [d] "=&r"(d), "+&a"(flags)               \
          : [v1] "r"(v1), [v2] "r"(v2)               \
          : "cc");                                   \
      *f = flags;                                    \
      return d;                                      \
    }                                                \
  };
// The same of one that has nothing to do with flags.
#define ATOLL_BMI_NO_FLAGS(Name, text)                      \
  struct Name {                                             \
    template <typename T>                                   \
    static T Do(T v1, T v2, uint64_t, uint16_t*) {          \
      T d;                                                  \
      asm(text : [d] "=r"(d) : [v1] "r"(v1), [v2] "r"(v2)); \
      return d;                                             \
    }                                                       \
  };
ATOLL_BMI(Andn, "andn %[v2], %[v1], %[d]")
ATOLL_BMI(Bextr, "bextr %[v2], %[v1], %[d]")
ATOLL_BMI(Bzhi, "bzhi %[v2], %[v1], %[d]")
ATOLL_BMI(Blsi, "blsi %[v1], %[d]")
ATOLL_BMI(Blsmsk, "blsmsk %[v1], %[d]")
ATOLL_BMI(Blsr, "blsr %[v1], %[d]")
ATOLL_BMI_NO_FLAGS(Pdep, "pdep %[v2], %[v1], %[d]")
ATOLL_BMI_NO_FLAGS(Pext, "pext %[v2], %[v1], %[d]")
ATOLL_BMI_NO_FLAGS(Sarx, "sarx %[v2], %[v1], %[d]")
ATOLL_BMI_NO_FLAGS(Shlx, "shlx %[v2], %[v1], %[d]")
ATOLL_BMI_NO_FLAGS(Shrx, "shrx %[v2], %[v1], %[d]")

struct Rorx {
  template <typename T>
  static T Do(T v1, T, uint64_t imm, uint16_t*) {
    constexpr unsigned kMask = 8 * sizeof(T) - 1;
    const unsigned n = static_cast<unsigned>(imm) & kMask;
    return static_cast<T>(v1 >> n | v1 << (-n & kMask));
  }
};

template <typename Op, typename T, unsigned kMem>
Step VexGeneral(SoftVcpu& c, const Insn& in) {
  if (!c.s.protected_mode || c.s.v8086) return c.Raise(kUd);
  T v[2] = {ReadReg<T>(c, in.reg1), ReadReg<T>(c, in.reg2)};
  if (in.has_mem && !Load<T, kAny>(c, in, &v[kMem - 1])) return Step::kFault;
  uint16_t f = ArithmeticFlags(c);
  WriteReg<T>(c, in.reg0, Op::template Do<T>(v[0], v[1], in.imm, &f));
  SetArithmeticFlags(c, f);
  return Step::kNext;
}
// kMem: which operand may be memory.
template <typename Op, unsigned kMem>
Handler SelectVex(Insn&, const DecodedView& v) {
  return v.operands[0].size == 64 ? &VexGeneral<Op, uint64_t, kMem>
                                  : &VexGeneral<Op, uint32_t, kMem>;
}

constexpr HandlerEntry kTable[] = {
    {ZYDIS_MNEMONIC_BT, &SelectBit<BitOp::kTest>},
    {ZYDIS_MNEMONIC_BTS, &SelectBit<BitOp::kSet>},
    {ZYDIS_MNEMONIC_BTR, &SelectBit<BitOp::kReset>},
    {ZYDIS_MNEMONIC_BTC, &SelectBit<BitOp::kComplement>},
    {ZYDIS_MNEMONIC_BSF, &SelectBsf},
    {ZYDIS_MNEMONIC_BSR, &SelectBsr},
    {ZYDIS_MNEMONIC_POPCNT, &SelectPopcnt},
    {ZYDIS_MNEMONIC_LZCNT, &SelectLzcnt},
    {ZYDIS_MNEMONIC_TZCNT, &SelectTzcnt},
    {ZYDIS_MNEMONIC_CRC32, &SelectCrc32},
    {ZYDIS_MNEMONIC_ANDN, &SelectVex<Andn, 2>},
    {ZYDIS_MNEMONIC_BEXTR, &SelectVex<Bextr, 1>},
    {ZYDIS_MNEMONIC_BLSI, &SelectVex<Blsi, 1>},
    {ZYDIS_MNEMONIC_BLSMSK, &SelectVex<Blsmsk, 1>},
    {ZYDIS_MNEMONIC_BLSR, &SelectVex<Blsr, 1>},
    {ZYDIS_MNEMONIC_BZHI, &SelectVex<Bzhi, 1>},
    {ZYDIS_MNEMONIC_PDEP, &SelectVex<Pdep, 2>},
    {ZYDIS_MNEMONIC_PEXT, &SelectVex<Pext, 2>},
    {ZYDIS_MNEMONIC_RORX, &SelectVex<Rorx, 1>},
    {ZYDIS_MNEMONIC_SARX, &SelectVex<Sarx, 1>},
    {ZYDIS_MNEMONIC_SHLX, &SelectVex<Shlx, 1>},
    {ZYDIS_MNEMONIC_SHRX, &SelectVex<Shrx, 1>},
};

}  // namespace

const HandlerTable kBitHandlers(kTable);

}  // namespace atl::cpu::soft
