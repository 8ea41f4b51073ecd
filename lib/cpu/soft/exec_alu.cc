// SPDX-License-Identifier: Apache-2.0
// Two-operand arithmetic and logic, TEST, and the one-operand INC DEC NEG NOT.
// The host computes results and flags, undefined ones too.
#include <type_traits>

#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/select.h"

namespace atl::cpu::soft {
namespace {

// An operation has
//   T Do(T a, T b, uint16_t& f)                 result; flags in and out
//   void Locked(uint8_t* p, T b, uint16_t& f)   the same on *p, atomically
#define ATOLL_BINARY(Name, mnemonic, before, writes)                         \
  struct Name {                                                              \
    static constexpr bool kWrites = writes;                                  \
    template <typename T>                                                    \
    static T Do(T a, T b, uint16_t& f) {                                     \
      asm(before mnemonic " %[b], %[a]" ATOLL_FLAGS_OUT                      \
          : [a] "+q"(a), "+&a"(f)                                            \
          : [b] "q"(b)                                                       \
          : "cc");                                                           \
      return a;                                                              \
    }                                                                        \
    template <typename T>                                                    \
    static void Locked(uint8_t* p, T b, uint16_t& f) {                       \
      asm volatile(before "lock " mnemonic " %[b], %[p]" ATOLL_FLAGS_OUT     \
                   : [p] "+m"(*reinterpret_cast<Unaligned<T>*>(p)), "+&a"(f) \
                   : [b] "q"(b)                                              \
                   : "cc", "memory");                                        \
    }                                                                        \
  };
// SHR puts flags_lo's bit 0, which is in AH, into CF.
#define ATOLL_CARRY_IN "shrb $1, %%ah\n\t"
ATOLL_BINARY(Add, "add", "", true)
ATOLL_BINARY(Or, "or", "", true)
ATOLL_BINARY(Adc, "adc", ATOLL_CARRY_IN, true)
ATOLL_BINARY(Sbb, "sbb", ATOLL_CARRY_IN, true)
ATOLL_BINARY(And, "and", "", true)
ATOLL_BINARY(Sub, "sub", "", true)
ATOLL_BINARY(Xor, "xor", "", true)
struct Cmp {
  static constexpr bool kWrites = false;
  template <typename T>
  static T Do(T a, T b, uint16_t& f) {
    asm("cmp %[b], %[a]" ATOLL_FLAGS_OUT : "=&a"(f) : [a] "q"(a), [b] "q"(b) : "cc");
    return a;
  }
};
struct Test {
  static constexpr bool kWrites = false;
  template <typename T>
  static T Do(T a, T b, uint16_t& f) {
    asm("test %[b], %[a]" ATOLL_FLAGS_OUT : "=&a"(f) : [a] "q"(a), [b] "q"(b) : "cc");
    return a;
  }
};

// Only these read flags; the others need not load them.
template <typename Op>
constexpr bool kReadsCarry = std::is_same_v<Op, Adc> || std::is_same_v<Op, Sbb>;

template <typename Op, typename T>
inline T Compute(SoftVcpu& c, T a, T b) {
  uint16_t f = kReadsCarry<Op> ? ArithmeticFlags(c) : 0;
  T r = Op::template Do<T>(a, b, f);
  SetArithmeticFlags(c, f);
  return r;
}

template <typename Op, typename T>
Step RegReg(SoftVcpu& c, const Insn& in) {
  T r = Compute<Op, T>(c, ReadReg<T>(c, in.reg0), ReadReg<T>(c, in.reg1));
  if constexpr (Op::kWrites) WriteReg<T>(c, in.reg0, r);
  return Step::kNext;
}
template <typename Op, typename T>
Step RegImm(SoftVcpu& c, const Insn& in) {
  T r = Compute<Op, T>(c, ReadReg<T>(c, in.reg0), static_cast<T>(in.imm));
  if constexpr (Op::kWrites) WriteReg<T>(c, in.reg0, r);
  return Step::kNext;
}
template <typename Op, typename T, Mem M>
Step RegMem(SoftVcpu& c, const Insn& in) {
  T b;
  if (!Load<T, M>(c, in, &b)) return Step::kFault;
  T r = Compute<Op, T>(c, ReadReg<T>(c, in.reg0), b);
  if constexpr (Op::kWrites) WriteReg<T>(c, in.reg0, r);
  return Step::kNext;
}
// Imm: the second operand is the immediate, else reg1.
template <typename Op, typename T, Mem M, bool Imm>
Step MemAny(SoftVcpu& c, const Insn& in) {
  const T b = Imm ? static_cast<T>(in.imm) : ReadReg<T>(c, in.reg1);
  if constexpr (Op::kWrites) {
    return Modify<T, M>(
        c, in, [&c, b](uint8_t* p) { HostStore<T>(p, Compute<Op, T>(c, HostLoad<T>(p), b)); });
  } else {
    T a;
    if (!Load<T, M>(c, in, &a)) return Step::kFault;
    Compute<Op, T>(c, a, b);
    return Step::kNext;
  }
}
template <typename Op, typename T, bool Imm>
Step LockedMem(SoftVcpu& c, const Insn& in) {
  const T b = Imm ? static_cast<T>(in.imm) : ReadReg<T>(c, in.reg1);
  return Modify<T, kAny>(c, in, [&c, b](uint8_t* p) {
    uint16_t f = ArithmeticFlags(c);
    Op::template Locked<T>(p, b, f);
    SetArithmeticFlags(c, f);
  });
}

template <typename Op>
Handler SelectBinary(Insn& in, const DecodedView& v) {
  const bool flat = FlatOperand(in, v);
  return BySize(in.operand_size, [&]<typename T>() -> Handler {
    const bool imm = IsImm(v, 1);
    if (IsMem(v, 0)) {
      if constexpr (Op::kWrites) {
        if (in.lock) return imm ? &LockedMem<Op, T, true> : &LockedMem<Op, T, false>;
      }
      if (imm) return flat ? &MemAny<Op, T, kFlat, true> : &MemAny<Op, T, kAny, true>;
      return flat ? &MemAny<Op, T, kFlat, false> : &MemAny<Op, T, kAny, false>;
    }
    if (IsMem(v, 1)) return flat ? &RegMem<Op, T, kFlat> : &RegMem<Op, T, kAny>;
    return imm ? &RegImm<Op, T> : &RegReg<Op, T>;
  });
}

#define ATOLL_UNARY(Name, mnemonic, before)                                       \
  struct Name {                                                                   \
    template <typename T>                                                         \
    static T Do(T a, uint16_t& f) {                                               \
      asm(before mnemonic " %[a]" ATOLL_FLAGS_OUT : [a] "+q"(a), "+&a"(f)::"cc"); \
      return a;                                                                   \
    }                                                                             \
    template <typename T>                                                         \
    static void Locked(uint8_t* p, uint16_t& f) {                                 \
      Unaligned<T>* m = reinterpret_cast<Unaligned<T>*>(p);                       \
      if constexpr (sizeof(T) == 1)                                               \
        asm volatile(before "lock " mnemonic "b %[p]" ATOLL_FLAGS_OUT             \
                     : [p] "+m"(*m), "+&a"(f)::"cc", "memory");                   \
      else if constexpr (sizeof(T) == 2)                                          \
        asm volatile(before "lock " mnemonic "w %[p]" ATOLL_FLAGS_OUT             \
                     : [p] "+m"(*m), "+&a"(f)::"cc", "memory");                   \
      else if constexpr (sizeof(T) == 4)                                          \
        asm volatile(before "lock " mnemonic "l %[p]" ATOLL_FLAGS_OUT             \
                     : [p] "+m"(*m), "+&a"(f)::"cc", "memory");                   \
      else                                                                        \
        asm volatile(before "lock " mnemonic "q %[p]" ATOLL_FLAGS_OUT             \
                     : [p] "+m"(*m), "+&a"(f)::"cc", "memory");                   \
    }                                                                             \
  };
ATOLL_UNARY(Inc, "inc", ATOLL_CARRY_IN)
ATOLL_UNARY(Dec, "dec", ATOLL_CARRY_IN)
ATOLL_UNARY(Neg, "neg", "")
// NOT changes no flags: they go through the host.
ATOLL_UNARY(Not, "not", ATOLL_FLAGS_IN)

template <typename Op, typename T>
inline T ComputeUnary(SoftVcpu& c, T a) {
  uint16_t f = ArithmeticFlags(c);
  T r = Op::template Do<T>(a, f);
  SetArithmeticFlags(c, f);
  return r;
}
template <typename Op, typename T>
Step UnaryReg(SoftVcpu& c, const Insn& in) {
  WriteReg<T>(c, in.reg0, ComputeUnary<Op, T>(c, ReadReg<T>(c, in.reg0)));
  return Step::kNext;
}
template <typename Op, typename T>
Step UnaryMem(SoftVcpu& c, const Insn& in) {
  return Modify<T, kAny>(
      c, in, [&c](uint8_t* p) { HostStore<T>(p, ComputeUnary<Op, T>(c, HostLoad<T>(p))); });
}
template <typename Op, typename T>
Step UnaryLocked(SoftVcpu& c, const Insn& in) {
  return Modify<T, kAny>(c, in, [&c](uint8_t* p) {
    uint16_t f = ArithmeticFlags(c);
    Op::template Locked<T>(p, f);
    SetArithmeticFlags(c, f);
  });
}
template <typename Op>
Handler SelectUnary(Insn& in, const DecodedView& v) {
  return BySize(in.operand_size, [&]<typename T>() -> Handler {
    if (!IsMem(v, 0)) return &UnaryReg<Op, T>;
    return in.lock ? &UnaryLocked<Op, T> : &UnaryMem<Op, T>;
  });
}

// ADCX and ADOX: only their own flag changes.
template <typename T, bool Overflow>
Step AddFlag(SoftVcpu& c, const Insn& in) {
  T b;
  if (in.has_mem) {
    if (!Load<T, kAny>(c, in, &b)) return Step::kFault;
  } else {
    b = ReadReg<T>(c, in.reg1);
  }
  const unsigned carry = Overflow ? c.s.flags_of : Carry(c);
  const unsigned __int128 sum = static_cast<unsigned __int128>(ReadReg<T>(c, in.reg0)) + b + carry;
  WriteReg<T>(c, in.reg0, static_cast<T>(sum));
  const bool out = (sum >> (8 * sizeof(T))) & 1;
  if constexpr (Overflow) {
    c.s.flags_of = out;
  } else {
    SetCarry(c, out);
  }
  return Step::kNext;
}
template <bool Overflow>
Handler SelectAddFlag(Insn& in, const DecodedView&) {
  return in.operand_size == 8 ? &AddFlag<uint64_t, Overflow> : &AddFlag<uint32_t, Overflow>;
}

constexpr HandlerEntry kTable[] = {
    {ZYDIS_MNEMONIC_ADD, &SelectBinary<Add>},    {ZYDIS_MNEMONIC_OR, &SelectBinary<Or>},
    {ZYDIS_MNEMONIC_ADC, &SelectBinary<Adc>},    {ZYDIS_MNEMONIC_SBB, &SelectBinary<Sbb>},
    {ZYDIS_MNEMONIC_AND, &SelectBinary<And>},    {ZYDIS_MNEMONIC_SUB, &SelectBinary<Sub>},
    {ZYDIS_MNEMONIC_XOR, &SelectBinary<Xor>},    {ZYDIS_MNEMONIC_CMP, &SelectBinary<Cmp>},
    {ZYDIS_MNEMONIC_TEST, &SelectBinary<Test>},  {ZYDIS_MNEMONIC_INC, &SelectUnary<Inc>},
    {ZYDIS_MNEMONIC_DEC, &SelectUnary<Dec>},     {ZYDIS_MNEMONIC_NEG, &SelectUnary<Neg>},
    {ZYDIS_MNEMONIC_NOT, &SelectUnary<Not>},     {ZYDIS_MNEMONIC_ADCX, &SelectAddFlag<false>},
    {ZYDIS_MNEMONIC_ADOX, &SelectAddFlag<true>},
};

}  // namespace

const HandlerTable kAluHandlers(kTable);

}  // namespace atl::cpu::soft
