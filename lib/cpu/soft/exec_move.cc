// SPDX-License-Identifier: Apache-2.0
// Data movement between general registers and memory, without flags.
#include <type_traits>

#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/select.h"

namespace atl::cpu::soft {
namespace {

// ---- MOV ----

template <typename T>
Step MovRegReg(SoftVcpu& c, const Insn& in) {
  WriteReg<T>(c, in.reg0, ReadReg<T>(c, in.reg1));
  return Step::kNext;
}
template <typename T>
Step MovRegImm(SoftVcpu& c, const Insn& in) {
  WriteReg<T>(c, in.reg0, static_cast<T>(in.imm));
  return Step::kNext;
}
template <typename T, Mem M>
Step MovRegMem(SoftVcpu& c, const Insn& in) {
  T v;
  if (!Load<T, M>(c, in, &v)) return Step::kFault;
  WriteReg<T>(c, in.reg0, v);
  return Step::kNext;
}
template <typename T, Mem M>
Step MovMemReg(SoftVcpu& c, const Insn& in) {
  return Store<T, M>(c, in, ReadReg<T>(c, in.reg1));
}
template <typename T, Mem M>
Step MovMemImm(SoftVcpu& c, const Insn& in) {
  return Store<T, M>(c, in, static_cast<T>(in.imm));
}
// MOVNTI too. Forms with segment, control and debug registers are the system's.
Handler SelectMov(Insn& in, const DecodedView& v) {
  if ((IsReg(v, 0) && in.reg0 == kNoReg) || (IsReg(v, 1) && in.reg1 == kNoReg)) return nullptr;
  const bool flat = FlatOperand(in, v);
  return BySize(in.operand_size, [&]<typename T>() -> Handler {
    if (IsMem(v, 0)) {
      if (IsImm(v, 1)) return flat ? &MovMemImm<T, kFlat> : &MovMemImm<T, kAny>;
      return flat ? &MovMemReg<T, kFlat> : &MovMemReg<T, kAny>;
    }
    if (IsMem(v, 1)) return flat ? &MovRegMem<T, kFlat> : &MovRegMem<T, kAny>;
    return IsImm(v, 1) ? &MovRegImm<T> : &MovRegReg<T>;
  });
}

// ---- MOVZX, MOVSX, MOVSXD ----

template <typename T, typename From>
Step ExtendReg(SoftVcpu& c, const Insn& in) {
  using U = std::make_unsigned_t<From>;
  From v = static_cast<From>(ReadReg<U>(c, in.reg1));
  WriteReg<T>(c, in.reg0, static_cast<T>(v));
  return Step::kNext;
}
template <typename T, typename From, Mem M>
Step ExtendMem(SoftVcpu& c, const Insn& in) {
  std::make_unsigned_t<From> v;
  if (!Load<decltype(v), M>(c, in, &v)) return Step::kFault;
  WriteReg<T>(c, in.reg0, static_cast<T>(static_cast<From>(v)));
  return Step::kNext;
}
template <typename From>
Handler SelectExtendFrom(Insn& in, const DecodedView& v) {
  const bool flat = FlatOperand(in, v);
  return ByWideSize(in.operand_size, [&]<typename T>() -> Handler {
    if (!IsMem(v, 1)) return &ExtendReg<T, From>;
    return flat ? &ExtendMem<T, From, kFlat> : &ExtendMem<T, From, kAny>;
  });
}
template <bool Signed>
Handler SelectExtend(Insn& in, const DecodedView& v) {
  switch (v.operands[1].size) {
    case 8:
      return SelectExtendFrom<std::conditional_t<Signed, int8_t, uint8_t>>(in, v);
    case 16:
      return SelectExtendFrom<std::conditional_t<Signed, int16_t, uint16_t>>(in, v);
    default:
      return SelectExtendFrom<std::conditional_t<Signed, int32_t, uint32_t>>(in, v);
  }
}

// ---- LEA, BSWAP, MOVBE, XLAT ----

template <typename T>
Step Lea(SoftVcpu& c, const Insn& in) {
  WriteReg<T>(c, in.reg0, static_cast<T>(EffectiveOffset(c, in)));
  return Step::kNext;
}
Step LeaFlat64(SoftVcpu& c, const Insn& in) {
  c.s.gpr[in.reg0] = Slot(c, in.base_slot) + (Slot(c, in.index_slot) << in.scale_shift) +
                     static_cast<uint64_t>(in.disp);
  return Step::kNext;
}
Handler SelectLea(Insn& in, const DecodedView&) {
  if (in.operand_size == 8 && in.address_size == 8) return &LeaFlat64;
  return ByWideSize(in.operand_size, []<typename T>() -> Handler { return &Lea<T>; });
}

template <typename T>
T Swapped(T v) {
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(v);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(v);
  return static_cast<T>(sizeof(T) == 8 ? __builtin_bswap64(v) : v);
}
template <typename T>
Step Bswap(SoftVcpu& c, const Insn& in) {
  if constexpr (sizeof(T) == 2) {
    WriteReg<T>(c, in.reg0, 0);  // undefined by the manuals; processors clear it
  } else {
    WriteReg<T>(c, in.reg0, Swapped(ReadReg<T>(c, in.reg0)));
  }
  return Step::kNext;
}
Handler SelectBswap(Insn& in, const DecodedView&) {
  return ByWideSize(in.operand_size, []<typename T>() -> Handler { return &Bswap<T>; });
}
template <typename T>
Step MovbeLoad(SoftVcpu& c, const Insn& in) {
  T v;
  if (!Load<T, kAny>(c, in, &v)) return Step::kFault;
  WriteReg<T>(c, in.reg0, Swapped(v));
  return Step::kNext;
}
template <typename T>
Step MovbeStore(SoftVcpu& c, const Insn& in) {
  return Store<T, kAny>(c, in, Swapped(ReadReg<T>(c, in.reg1)));
}
Handler SelectMovbe(Insn& in, const DecodedView& v) {
  return ByWideSize(in.operand_size, [&]<typename T>() -> Handler {
    return IsMem(v, 0) ? &MovbeStore<T> : &MovbeLoad<T>;
  });
}

Step Xlat(SoftVcpu& c, const Insn& in) {
  const uint64_t offset =
      MaskAddress(c.s.gpr[kRbx] + static_cast<uint8_t>(c.s.gpr[kRax]), in.address_size);
  uint64_t linear;
  uint8_t v;
  if (!SegmentLinear(c, in.seg, offset, 1, false, &linear) ||
      !LoadLinear<uint8_t>(c, linear, &v, in.seg == kSs))
    return Step::kFault;
  WriteReg<uint8_t>(c, kRax, v);
  return Step::kNext;
}
Handler SelectXlat(Insn&, const DecodedView&) { return &Xlat; }

// ---- CMOVcc, SETcc ----

template <unsigned cc, typename T>
Step CmovReg(SoftVcpu& c, const Insn& in) {
  WriteReg<T>(c, in.reg0, ReadReg<T>(c, Condition<cc>(c) ? in.reg1 : in.reg0));
  return Step::kNext;
}
template <unsigned cc, typename T, Mem M>
Step CmovMem(SoftVcpu& c, const Insn& in) {
  T v;  // read whatever the condition
  if (!Load<T, M>(c, in, &v)) return Step::kFault;
  WriteReg<T>(c, in.reg0, Condition<cc>(c) ? v : ReadReg<T>(c, in.reg0));
  return Step::kNext;
}
template <unsigned cc>
Handler SelectCmov(Insn& in, const DecodedView& v) {
  const bool flat = FlatOperand(in, v);
  return ByWideSize(in.operand_size, [&]<typename T>() -> Handler {
    if (!IsMem(v, 1)) return &CmovReg<cc, T>;
    return flat ? &CmovMem<cc, T, kFlat> : &CmovMem<cc, T, kAny>;
  });
}
template <unsigned cc>
Step SetReg(SoftVcpu& c, const Insn& in) {
  WriteReg<uint8_t>(c, in.reg0, Condition<cc>(c));
  return Step::kNext;
}
template <unsigned cc>
Step SetMem(SoftVcpu& c, const Insn& in) {
  return Store<uint8_t, kAny>(c, in, Condition<cc>(c));
}
template <unsigned cc>
Handler SelectSet(Insn&, const DecodedView& v) {
  return IsMem(v, 0) ? &SetMem<cc> : &SetReg<cc>;
}

// ---- CBW ... CQO ----

template <typename From, typename T>
Step ExtendA(SoftVcpu& c, const Insn&) {
  WriteReg<T>(c, kRax, static_cast<T>(static_cast<From>(c.s.gpr[kRax])));
  return Step::kNext;
}
template <typename T>
Step ExtendToD(SoftVcpu& c, const Insn&) {
  using S = std::make_signed_t<T>;
  WriteReg<T>(c, kRdx, static_cast<S>(c.s.gpr[kRax]) < 0 ? static_cast<T>(-1) : T{0});
  return Step::kNext;
}
template <Handler H>
Handler Always(Insn&, const DecodedView&) {
  return H;
}

#define ATOLL_ALL_CONDITIONS(X)                                                                    \
  X(O, 0), X(NO, 1), X(B, 2), X(NB, 3), X(Z, 4), X(NZ, 5), X(BE, 6), X(NBE, 7), X(S, 8), X(NS, 9), \
      X(P, 10), X(NP, 11), X(L, 12), X(NL, 13), X(LE, 14), X(NLE, 15)
#define ATOLL_CMOV(name, cc) \
  { ZYDIS_MNEMONIC_CMOV##name, &SelectCmov<cc> }
#define ATOLL_SET(name, cc) \
  { ZYDIS_MNEMONIC_SET##name, &SelectSet<cc> }

constexpr HandlerEntry kTable[] = {
    {ZYDIS_MNEMONIC_MOV, &SelectMov},
    {ZYDIS_MNEMONIC_MOVNTI, &SelectMov},
    {ZYDIS_MNEMONIC_MOVZX, &SelectExtend<false>},
    {ZYDIS_MNEMONIC_MOVSX, &SelectExtend<true>},
    {ZYDIS_MNEMONIC_MOVSXD, &SelectExtend<true>},
    {ZYDIS_MNEMONIC_LEA, &SelectLea},
    {ZYDIS_MNEMONIC_BSWAP, &SelectBswap},
    {ZYDIS_MNEMONIC_MOVBE, &SelectMovbe},
    {ZYDIS_MNEMONIC_XLAT, &SelectXlat},
    {ZYDIS_MNEMONIC_CBW, &Always<&ExtendA<int8_t, uint16_t>>},
    {ZYDIS_MNEMONIC_CWDE, &Always<&ExtendA<int16_t, uint32_t>>},
    {ZYDIS_MNEMONIC_CDQE, &Always<&ExtendA<int32_t, uint64_t>>},
    {ZYDIS_MNEMONIC_CWD, &Always<&ExtendToD<uint16_t>>},
    {ZYDIS_MNEMONIC_CDQ, &Always<&ExtendToD<uint32_t>>},
    {ZYDIS_MNEMONIC_CQO, &Always<&ExtendToD<uint64_t>>},
    ATOLL_ALL_CONDITIONS(ATOLL_CMOV),
    ATOLL_ALL_CONDITIONS(ATOLL_SET),
};

}  // namespace

const HandlerTable kMoveHandlers(kTable);

}  // namespace atl::cpu::soft
