// SPDX-License-Identifier: Apache-2.0
// Near branches, instructions on single flags, and those that do nothing here.
#include <cpuid.h>
#include <sched.h>

#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/select.h"

namespace atl::cpu::soft {
namespace {

// PAUSEs after which a spinning vCPU of several gives its host CPU away.
constexpr unsigned kPausesPerYield = 64;

constexpr unsigned kLinearBits = 48;
bool IsCanonical(uint64_t v) {
  return static_cast<int64_t>(v << (64 - kLinearBits)) >> (64 - kLinearBits) ==
         static_cast<int64_t>(v);
}

// Goes to `target`, already cut to the operand size.
template <bool Long>
inline Step GoTo(SoftVcpu& c, uint64_t target) {
  if constexpr (Long) {
    if (!IsCanonical(target)) [[unlikely]]
      return c.Raise(kGp, 0);
  } else {
    if (target > c.s.seg[kCs].limit) [[unlikely]]
      return c.Raise(kGp, 0);
  }
  c.s.rip = target;
  return Step::kBranch;
}

// Bytes of rip that a near branch keeps: the operand size, but always 8 in
// 64-bit mode.
inline uint64_t BranchTarget(const SoftVcpu& c, const Insn& in) {
  return MaskAddress(c.s.rip + in.length + in.imm, in.operand_size);
}

template <bool Long>
Step JmpRel(SoftVcpu& c, const Insn& in) {
  return GoTo<Long>(c, Long ? c.s.rip + in.length + in.imm : BranchTarget(c, in));
}
template <unsigned cc, bool Long>
Step Jcc(SoftVcpu& c, const Insn& in) {
  if (!Condition<cc>(c)) return Step::kNext;
  return JmpRel<Long>(c, in);
}
// JCXZ and LOOP count by the address size.
template <bool Long>
Step Jcxz(SoftVcpu& c, const Insn& in) {
  if (MaskAddress(c.s.gpr[kRcx], in.address_size) != 0) return Step::kNext;
  return JmpRel<Long>(c, in);
}
enum class LoopWhile { kAlways, kZero, kNotZero };
template <LoopWhile W, bool Long>
Step Loop(SoftVcpu& c, const Insn& in) {
  const uint64_t left = MaskAddress(c.s.gpr[kRcx] - 1, in.address_size);
  const bool zero = c.s.flags_lo & kZf;
  const bool again = left != 0 && (W == LoopWhile::kAlways || zero == (W == LoopWhile::kZero));
  // The counter changes only where the jump does not fault.
  const Step step = again ? JmpRel<Long>(c, in) : Step::kNext;
  if (step != Step::kFault) WriteAddressReg(c, kRcx, left, in.address_size);
  return step;
}

// BOUND: a signed index against the two bounds in memory.
template <typename T>
Step Bound(SoftVcpu& c, const Insn& in) {
  T bounds[2];
  if (!LoadBytes(c, in, bounds, sizeof bounds)) return Step::kFault;
  const T v = static_cast<T>(c.s.gpr[in.reg0]);
  return v < bounds[0] || v > bounds[1] ? c.Raise(kBr) : Step::kNext;
}
Handler SelectBound(Insn& in, const DecodedView&) {
  return in.operand_size == 2 ? &Bound<int16_t> : &Bound<int32_t>;
}

template <typename T, bool FromMem>
inline bool IndirectTarget(SoftVcpu& c, const Insn& in, uint64_t* target) {
  if constexpr (FromMem) {
    T v;
    if (!Load<T, kAny>(c, in, &v)) return false;
    *target = v;
  } else {
    *target = ReadReg<T>(c, in.reg0);
  }
  return true;
}
template <typename T, bool FromMem>
Step JmpIndirect(SoftVcpu& c, const Insn& in) {
  uint64_t target;
  if (!IndirectTarget<T, FromMem>(c, in, &target)) return Step::kFault;
  return GoTo<sizeof(T) == 8>(c, target);
}

// The push of the return address, when the target is known to be good.
template <typename T>
inline Step CallTo(SoftVcpu& c, const Insn& in, uint64_t target) {
  const uint64_t here = c.s.rip;
  if (GoTo<sizeof(T) == 8>(c, target) == Step::kFault) return Step::kFault;
  c.s.rip = here;
  if (Push<T>(c, static_cast<T>(here + in.length)) == Step::kFault) return Step::kFault;
  c.s.rip = target;
  return Step::kBranch;
}
template <typename T>
Step CallRel(SoftVcpu& c, const Insn& in) {
  return CallTo<T>(c, in, static_cast<T>(c.s.rip + in.length + in.imm));
}
template <typename T, bool FromMem>
Step CallIndirect(SoftVcpu& c, const Insn& in) {
  uint64_t target;
  if (!IndirectTarget<T, FromMem>(c, in, &target)) return Step::kFault;
  return CallTo<T>(c, in, target);
}
template <typename T>
Step Ret(SoftVcpu& c, const Insn& in) {
  T target;
  if (!Peek<T>(c, &target)) return Step::kFault;
  if (GoTo<sizeof(T) == 8>(c, target) == Step::kFault) return Step::kFault;
  Drop(c, sizeof(T) + static_cast<uint16_t>(in.imm));
  return Step::kBranch;
}
// The same in 64-bit mode, where the stack is flat.
Step Ret64(SoftVcpu& c, const Insn& in) {
  const uint64_t sp = c.s.gpr[kRsp];
  uint64_t target;
  if (!LoadLinear<uint64_t>(c, sp, &target, true)) return Step::kFault;
  if (GoTo<true>(c, target) == Step::kFault) return Step::kFault;
  c.s.gpr[kRsp] = sp + 8 + static_cast<uint16_t>(in.imm);
  return Step::kBranch;
}
Step CallRel64(SoftVcpu& c, const Insn& in) {
  const uint64_t next = c.s.rip + in.length, target = next + in.imm, sp = c.s.gpr[kRsp] - 8;
  if (!IsCanonical(target)) return c.Raise(kGp, 0);
  if (StoreLinear<uint64_t>(c, sp, next, true) == Step::kFault) return Step::kFault;
  c.s.gpr[kRsp] = sp;
  c.s.rip = target;
  return Step::kBranch;
}

bool Near(const DecodedView& v) { return v.insn->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR; }

Handler SelectJmp(Insn& in, const DecodedView& v) {
  if (!Near(v)) return nullptr;
  if (IsImm(v, 0)) return Is64(v) ? &JmpRel<true> : &JmpRel<false>;
  if (Is64(v)) return in.has_mem ? &JmpIndirect<uint64_t, true> : &JmpIndirect<uint64_t, false>;
  if (in.operand_size == 2)
    return in.has_mem ? &JmpIndirect<uint16_t, true> : &JmpIndirect<uint16_t, false>;
  return in.has_mem ? &JmpIndirect<uint32_t, true> : &JmpIndirect<uint32_t, false>;
}
Handler SelectCall(Insn& in, const DecodedView& v) {
  if (!Near(v)) return nullptr;
  const bool rel = IsImm(v, 0);
  if (Is64(v)) {
    if (rel) return &CallRel64;
    return in.has_mem ? &CallIndirect<uint64_t, true> : &CallIndirect<uint64_t, false>;
  }
  if (in.operand_size == 2) {
    if (rel) return &CallRel<uint16_t>;
    return in.has_mem ? &CallIndirect<uint16_t, true> : &CallIndirect<uint16_t, false>;
  }
  if (rel) return &CallRel<uint32_t>;
  return in.has_mem ? &CallIndirect<uint32_t, true> : &CallIndirect<uint32_t, false>;
}
Handler SelectRet(Insn& in, const DecodedView& v) {
  if (!Near(v)) return nullptr;
  if (Is64(v)) return &Ret64;
  return in.operand_size == 2 ? &Ret<uint16_t> : &Ret<uint32_t>;
}
template <unsigned cc>
Handler SelectJcc(Insn&, const DecodedView& v) {
  return Is64(v) ? &Jcc<cc, true> : &Jcc<cc, false>;
}
Handler SelectJcxz(Insn&, const DecodedView& v) { return Is64(v) ? &Jcxz<true> : &Jcxz<false>; }
template <LoopWhile W>
Handler SelectLoop(Insn&, const DecodedView& v) {
  return Is64(v) ? &Loop<W, true> : &Loop<W, false>;
}

// ---- Flags ----

Step Clc(SoftVcpu& c, const Insn&) { return SetCarry(c, false), Step::kNext; }
Step Stc(SoftVcpu& c, const Insn&) { return SetCarry(c, true), Step::kNext; }
Step Cmc(SoftVcpu& c, const Insn&) { return SetCarry(c, !Carry(c)), Step::kNext; }
Step Cld(SoftVcpu& c, const Insn&) { return c.s.rflags_rest &= ~kDf, Step::kNext; }
Step Std(SoftVcpu& c, const Insn&) { return c.s.rflags_rest |= kDf, Step::kNext; }
Step Lahf(SoftVcpu& c, const Insn&) {
  WriteReg<uint8_t>(c, kHigh8 + 0, static_cast<uint8_t>(GetRflags(c.s)));
  return Step::kNext;
}
Step Sahf(SoftVcpu& c, const Insn&) {
  c.s.flags_lo = (ReadReg<uint8_t>(c, kHigh8 + 0) & (kSf | kZf | kAf | kPf | kCf)) | 2;
  return Step::kNext;
}
Step Salc(SoftVcpu& c, const Insn&) {
  WriteReg<uint8_t>(c, kRax, Carry(c) ? 0xFF : 0);
  return Step::kNext;
}

// ---- Hints, fences, random numbers ----

Step Nothing(SoftVcpu&, const Insn&) { return Step::kNext; }
Step Fence(SoftVcpu&, const Insn&) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return Step::kNext;
}
Step Pause(SoftVcpu& c, const Insn&) {
  if (c.count > 1 && ++c.pauses >= kPausesPerYield) {
    c.pauses = 0;
    sched_yield();
  }
  return Step::kNext;
}
// Memory is coherent, so flushing a line is its check for being readable.
Step FlushLine(SoftVcpu& c, const Insn& in) {
  uint64_t linear;
  if (!OperandLinear<kAny>(c, in, 1, false, &linear)) return Step::kFault;
  if (c.mmu.FastRead<uint8_t>(linear, c.user()) != nullptr) return Step::kNext;
  return c.mmu.Probe(linear, 1, Access::kRead, c.rights(), in.seg == kSs) ? Step::kNext
                                                                          : Step::kFault;
}
Step Undefined(SoftVcpu& c, const Insn&) { return c.Raise(kUd); }

// RDSEED or RDRAND, by CPUID leaf 7's EBX and leaf 1's ECX.
bool HostHas(bool seed) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (seed) return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 18 & 1);
  return __get_cpuid(1, &a, &b, &c, &d) && (c >> 30 & 1);
}

template <typename T, bool Seed>
Step Random(SoftVcpu& c, const Insn& in) {
  unsigned long long v = 0;
  bool good;
  if constexpr (Seed) {
    asm volatile("rdseed %0" : "=r"(v), "=@ccc"(good));
  } else {
    asm volatile("rdrand %0" : "=r"(v), "=@ccc"(good));
  }
  WriteReg<T>(c, in.reg0, static_cast<T>(good ? v : 0));
  c.s.flags_lo = good ? (2 | kCf) : 2;
  c.s.flags_of = 0;
  return Step::kNext;
}
template <bool Seed>
Handler SelectRandom(Insn& in, const DecodedView&) {
  if (!HostHas(Seed)) return nullptr;
  return ByWideSize(in.operand_size, []<typename T>() -> Handler { return &Random<T, Seed>; });
}

template <Handler H>
Handler Always(Insn&, const DecodedView&) {
  return H;
}

#define ATOLL_JCC(name, cc) \
  { ZYDIS_MNEMONIC_J##name, &SelectJcc<cc> }

constexpr HandlerEntry kTable[] = {
    {ZYDIS_MNEMONIC_JMP, &SelectJmp},
    {ZYDIS_MNEMONIC_CALL, &SelectCall},
    {ZYDIS_MNEMONIC_RET, &SelectRet},
    ATOLL_JCC(O, 0),
    ATOLL_JCC(NO, 1),
    ATOLL_JCC(B, 2),
    ATOLL_JCC(NB, 3),
    ATOLL_JCC(Z, 4),
    ATOLL_JCC(NZ, 5),
    ATOLL_JCC(BE, 6),
    ATOLL_JCC(NBE, 7),
    ATOLL_JCC(S, 8),
    ATOLL_JCC(NS, 9),
    ATOLL_JCC(P, 10),
    ATOLL_JCC(NP, 11),
    ATOLL_JCC(L, 12),
    ATOLL_JCC(NL, 13),
    ATOLL_JCC(LE, 14),
    ATOLL_JCC(NLE, 15),
    {ZYDIS_MNEMONIC_JCXZ, &SelectJcxz},
    {ZYDIS_MNEMONIC_JECXZ, &SelectJcxz},
    {ZYDIS_MNEMONIC_JRCXZ, &SelectJcxz},
    {ZYDIS_MNEMONIC_LOOP, &SelectLoop<LoopWhile::kAlways>},
    {ZYDIS_MNEMONIC_LOOPE, &SelectLoop<LoopWhile::kZero>},
    {ZYDIS_MNEMONIC_LOOPNE, &SelectLoop<LoopWhile::kNotZero>},
    {ZYDIS_MNEMONIC_BOUND, &SelectBound},
    {ZYDIS_MNEMONIC_CLC, &Always<&Clc>},
    {ZYDIS_MNEMONIC_STC, &Always<&Stc>},
    {ZYDIS_MNEMONIC_CMC, &Always<&Cmc>},
    {ZYDIS_MNEMONIC_CLD, &Always<&Cld>},
    {ZYDIS_MNEMONIC_STD, &Always<&Std>},
    {ZYDIS_MNEMONIC_LAHF, &Always<&Lahf>},
    {ZYDIS_MNEMONIC_SAHF, &Always<&Sahf>},
    {ZYDIS_MNEMONIC_SALC, &Always<&Salc>},
    {ZYDIS_MNEMONIC_NOP, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_ENDBR32, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_ENDBR64, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_RDSSPD, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_RDSSPQ, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_CLDEMOTE, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_PREFETCH, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_PREFETCHW, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_PREFETCHWT1, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_PREFETCHNTA, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_PREFETCHT0, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_PREFETCHT1, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_PREFETCHT2, &Always<&Nothing>},
    {ZYDIS_MNEMONIC_PAUSE, &Always<&Pause>},
    {ZYDIS_MNEMONIC_LFENCE, &Always<&Fence>},
    {ZYDIS_MNEMONIC_SFENCE, &Always<&Fence>},
    {ZYDIS_MNEMONIC_MFENCE, &Always<&Fence>},
    {ZYDIS_MNEMONIC_CLFLUSH, &Always<&FlushLine>},
    {ZYDIS_MNEMONIC_CLFLUSHOPT, &Always<&FlushLine>},
    {ZYDIS_MNEMONIC_UD0, &Always<&Undefined>},
    {ZYDIS_MNEMONIC_UD1, &Always<&Undefined>},
    {ZYDIS_MNEMONIC_UD2, &Always<&Undefined>},
    {ZYDIS_MNEMONIC_RDRAND, &SelectRandom<false>},
    {ZYDIS_MNEMONIC_RDSEED, &SelectRandom<true>},
};

}  // namespace

const HandlerTable kControlHandlers(kTable);

}  // namespace atl::cpu::soft
