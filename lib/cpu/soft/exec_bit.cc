// SPDX-License-Identifier: Apache-2.0
// Bit tests, scans and counts, CRC32.
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

constexpr HandlerEntry kTable[] = {
    {ZYDIS_MNEMONIC_BT, &SelectBit<BitOp::kTest>},
    {ZYDIS_MNEMONIC_BTS, &SelectBit<BitOp::kSet>},
    {ZYDIS_MNEMONIC_BTR, &SelectBit<BitOp::kReset>},
    {ZYDIS_MNEMONIC_BTC, &SelectBit<BitOp::kComplement>},
    {ZYDIS_MNEMONIC_BSF, &SelectBsf},
    {ZYDIS_MNEMONIC_BSR, &SelectBsr},
    {ZYDIS_MNEMONIC_POPCNT, &SelectPopcnt},
    {ZYDIS_MNEMONIC_LZCNT, &SelectLzcnt},
    {ZYDIS_MNEMONIC_CRC32, &SelectCrc32},
};

}  // namespace

const HandlerTable kBitHandlers(kTable);

}  // namespace atl::cpu::soft
