// SPDX-License-Identifier: Apache-2.0
// Shifts and rotates, all by the host's own instruction with the same count and
// flags before it, so that results, flags and their undefined cases agree.
#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/select.h"

namespace atl::cpu::soft {
namespace {

#define ATOLL_SHIFT(Name, mnemonic)                             \
  struct Name {                                                 \
    template <typename T>                                       \
    static T Do(T a, uint8_t count, uint16_t& f) {              \
      asm(ATOLL_FLAGS_IN mnemonic " %%cl, %[a]" ATOLL_FLAGS_OUT \
          : [a] "+q"(a), "+&a"(f)                               \
          : "c"(count)                                          \
          : "cc");                                              \
      return a;                                                 \
    }                                                           \
  };
ATOLL_SHIFT(Rol, "rol")
ATOLL_SHIFT(Ror, "ror")
ATOLL_SHIFT(Rcl, "rcl")
ATOLL_SHIFT(Rcr, "rcr")
ATOLL_SHIFT(Shl, "shl")
ATOLL_SHIFT(Shr, "shr")
ATOLL_SHIFT(Sar, "sar")

template <typename Op, typename T>
inline T Compute(SoftVcpu& c, T a, uint8_t count) {
  uint16_t f = ArithmeticFlags(c);
  T r = Op::template Do<T>(a, count, f);
  SetArithmeticFlags(c, f);
  return r;
}

// By CL or by an immediate (1 too).
template <bool ByCl>
inline uint8_t Count(const SoftVcpu& c, const Insn& in) {
  return static_cast<uint8_t>(ByCl ? c.s.gpr[kRcx] : in.imm);
}

template <typename Op, typename T, bool ByCl>
Step ShiftReg(SoftVcpu& c, const Insn& in) {
  WriteReg<T>(c, in.reg0, Compute<Op, T>(c, ReadReg<T>(c, in.reg0), Count<ByCl>(c, in)));
  return Step::kNext;
}
template <typename Op, typename T, bool ByCl>
Step ShiftMem(SoftVcpu& c, const Insn& in) {
  const uint8_t count = Count<ByCl>(c, in);
  return Modify<T, kAny>(c, in, [&c, count](uint8_t* p) {
    HostStore<T>(p, Compute<Op, T>(c, HostLoad<T>(p), count));
  });
}
template <typename Op>
Handler SelectShift(Insn& in, const DecodedView& v) {
  // D0 and D1 have the 1 in the opcode.
  const bool by_cl = IsReg(v, 1);
  if (!by_cl && !IsImm(v, 1)) return nullptr;
  return BySize(in.operand_size, [&]<typename T>() -> Handler {
    if (IsMem(v, 0)) return by_cl ? &ShiftMem<Op, T, true> : &ShiftMem<Op, T, false>;
    return by_cl ? &ShiftReg<Op, T, true> : &ShiftReg<Op, T, false>;
  });
}

#define ATOLL_DOUBLE_SHIFT(Name, mnemonic)                            \
  struct Name {                                                       \
    template <typename T>                                             \
    static T Do(T a, T b, uint8_t count, uint16_t& f) {               \
      asm(ATOLL_FLAGS_IN mnemonic " %%cl, %[b], %[a]" ATOLL_FLAGS_OUT \
          : [a] "+&r"(a), "+&a"(f)                                    \
          : [b] "r"(b), "c"(count)                                    \
          : "cc");                                                    \
      return a;                                                       \
    }                                                                 \
  };
ATOLL_DOUBLE_SHIFT(Shld, "shld")
ATOLL_DOUBLE_SHIFT(Shrd, "shrd")

template <typename Op, typename T>
Step DoubleShift(SoftVcpu& c, const Insn& in) {
  // The third operand is an immediate, or CL.
  const uint8_t count = static_cast<uint8_t>(in.reg2 == kNoReg ? in.imm : c.s.gpr[kRcx]);
  const T b = ReadReg<T>(c, in.reg1);
  auto compute = [&c, b, count](T a) {
    uint16_t f = ArithmeticFlags(c);
    T r = Op::template Do<T>(a, b, count, f);
    SetArithmeticFlags(c, f);
    return r;
  };
  if (!in.has_mem) {
    WriteReg<T>(c, in.reg0, compute(ReadReg<T>(c, in.reg0)));
    return Step::kNext;
  }
  return Modify<T, kAny>(c, in,
                         [&compute](uint8_t* p) { HostStore<T>(p, compute(HostLoad<T>(p))); });
}
template <typename Op>
Handler SelectDoubleShift(Insn& in, const DecodedView&) {
  return ByWideSize(in.operand_size, []<typename T>() -> Handler { return &DoubleShift<Op, T>; });
}

constexpr HandlerEntry kTable[] = {
    {ZYDIS_MNEMONIC_ROL, &SelectShift<Rol>},
    {ZYDIS_MNEMONIC_ROR, &SelectShift<Ror>},
    {ZYDIS_MNEMONIC_RCL, &SelectShift<Rcl>},
    {ZYDIS_MNEMONIC_RCR, &SelectShift<Rcr>},
    {ZYDIS_MNEMONIC_SHL, &SelectShift<Shl>},
    {ZYDIS_MNEMONIC_SHR, &SelectShift<Shr>},
    {ZYDIS_MNEMONIC_SAR, &SelectShift<Sar>},
    {ZYDIS_MNEMONIC_SHLD, &SelectDoubleShift<Shld>},
    {ZYDIS_MNEMONIC_SHRD, &SelectDoubleShift<Shrd>},
};

}  // namespace

const HandlerTable kShiftHandlers(kTable);

}  // namespace atl::cpu::soft
