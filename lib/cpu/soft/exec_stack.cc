// SPDX-License-Identifier: Apache-2.0
// PUSH and POP of general registers and memory, PUSHA, ENTER, PUSHF and kin.
// What can fault is tried before anything changes.
#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/select.h"

namespace atl::cpu::soft {
namespace {

// ---- PUSH ----

Step PushReg64(SoftVcpu& c, const Insn& in) {
  const uint64_t sp = c.s.gpr[kRsp] - 8;
  const Step step = StoreLinear<uint64_t>(c, sp, c.s.gpr[in.reg0], true);
  if (step != Step::kFault) [[likely]]
    c.s.gpr[kRsp] = sp;
  return step;
}
template <typename T>
Step PushReg(SoftVcpu& c, const Insn& in) {
  return Push<T>(c, ReadReg<T>(c, in.reg0));
}
template <typename T>
Step PushImm(SoftVcpu& c, const Insn& in) {
  return Push<T>(c, static_cast<T>(in.imm));
}
template <typename T>
Step PushMem(SoftVcpu& c, const Insn& in) {
  T v;
  if (!Load<T, kAny>(c, in, &v)) return Step::kFault;
  return Push<T>(c, v);
}
Handler SelectPush(Insn& in, const DecodedView& v) {
  if (IsReg(v, 0) && in.reg0 == kNoReg) return nullptr;  // a segment register
  in.operand_size = static_cast<uint8_t>(v.insn->operand_width / 8);
  return ByWideSize(in.operand_size, [&]<typename T>() -> Handler {
    if (in.has_mem) return &PushMem<T>;
    if (IsImm(v, 0)) return &PushImm<T>;
    return Is64(v) && sizeof(T) == 8 ? &PushReg64 : &PushReg<T>;
  });
}

// ---- POP ----

Step PopReg64(SoftVcpu& c, const Insn& in) {
  const uint64_t sp = c.s.gpr[kRsp];
  uint64_t v;
  if (!LoadLinear<uint64_t>(c, sp, &v, true)) return Step::kFault;
  c.s.gpr[kRsp] = sp + 8;
  c.s.gpr[in.reg0] = v;
  return Step::kNext;
}
template <typename T>
Step PopReg(SoftVcpu& c, const Insn& in) {
  T v;
  if (!Peek<T>(c, &v)) return Step::kFault;
  Drop(c, sizeof(T));
  WriteReg<T>(c, in.reg0, v);
  return Step::kNext;
}
// The address of the operand is made with the stack pointer behind the POP.
template <typename T>
Step PopMem(SoftVcpu& c, const Insn& in) {
  T v;
  if (!Peek<T>(c, &v)) return Step::kFault;
  const uint64_t sp = c.s.gpr[kRsp];
  Drop(c, sizeof(T));
  const Step step = Store<T, kAny>(c, in, v);
  if (step == Step::kFault) c.s.gpr[kRsp] = sp;
  return step;
}
Handler SelectPop(Insn& in, const DecodedView& v) {
  if (IsReg(v, 0) && in.reg0 == kNoReg) return nullptr;
  in.operand_size = static_cast<uint8_t>(v.insn->operand_width / 8);
  return ByWideSize(in.operand_size, [&]<typename T>() -> Handler {
    if (in.has_mem) return &PopMem<T>;
    return Is64(v) && sizeof(T) == 8 ? &PopReg64 : &PopReg<T>;
  });
}

// ---- PUSHA, POPA ----

// Whether `bytes` below (or, for reads, from) the stack pointer can be used.
bool ProbeStack(SoftVcpu& c, uint64_t from, unsigned bytes, Access access) {
  const uint64_t sp = MaskAddress(from, StackAddressSize(c));
  uint64_t linear;
  return SegmentLinear(c, kSs, sp, bytes, access == Access::kWrite, &linear) &&
         c.mmu.Probe(linear, bytes, access, c.rights(), true);
}

template <typename T>
Step PushAll(SoftVcpu& c, const Insn&) {
  if (!ProbeStack(c, StackPointer(c) - 8 * sizeof(T), 8 * sizeof(T), Access::kWrite))
    return Step::kFault;
  const T sp = static_cast<T>(c.s.gpr[kRsp]);
  Step step = Step::kNext;
  for (unsigned r = 0; r < 8; ++r) {
    const Step s = Push<T>(c, r == kRsp ? sp : ReadReg<T>(c, static_cast<uint8_t>(r)));
    if (s != Step::kNext) step = s;
  }
  return step;
}
template <typename T>
Step PopAll(SoftVcpu& c, const Insn&) {
  if (!ProbeStack(c, StackPointer(c), 8 * sizeof(T), Access::kRead)) return Step::kFault;
  for (int r = 7; r >= 0; --r) {
    T v;
    if (!Peek<T>(c, &v)) return Step::kFault;
    Drop(c, sizeof(T));
    if (r != kRsp) WriteReg<T>(c, static_cast<uint8_t>(r), v);
  }
  return Step::kNext;
}

// ---- ENTER, LEAVE ----

// Vol. 2, ENTER: the frame pointers of up to 31 outer levels are copied.
template <typename T>
Step Enter(SoftVcpu& c, const Insn& in) {
  const unsigned level = in.imm2 & 31;
  const unsigned size = static_cast<uint16_t>(in.imm);
  const unsigned stack_size = StackAddressSize(c);
  const uint64_t old_sp = c.s.gpr[kRsp];
  const uint64_t pushed = (1 + level) * sizeof(T);
  // The last word of the new frame is tried as a write would be.
  if (!ProbeStack(c, StackPointer(c) - pushed, static_cast<unsigned>(pushed), Access::kWrite) ||
      !ProbeStack(c, StackPointer(c) - pushed - size, sizeof(T), Access::kWrite))
    return Step::kFault;
  Step step = Push<T>(c, ReadReg<T>(c, kRbp));
  const uint64_t frame = c.s.gpr[kRsp];
  uint64_t bp = MaskAddress(c.s.gpr[kRbp], stack_size);
  for (unsigned i = 1; i < level; ++i) {
    bp = MaskAddress(bp - sizeof(T), stack_size);
    uint64_t linear;
    T v;
    if (!SegmentLinear(c, kSs, bp, sizeof(T), false, &linear) ||
        !LoadLinear<T>(c, linear, &v, true)) {
      c.s.gpr[kRsp] = old_sp;
      return Step::kFault;
    }
    const Step s = Push<T>(c, v);
    if (s != Step::kNext) step = s;
  }
  if (level != 0) {
    const Step s = Push<T>(c, static_cast<T>(frame));
    if (s != Step::kNext) step = s;
  }
  WriteReg<T>(c, kRbp, static_cast<T>(frame));
  SetStackPointer(c, StackPointer(c) - size);
  return step;
}

template <typename T>
Step Leave(SoftVcpu& c, const Insn&) {
  const unsigned stack_size = StackAddressSize(c);
  const uint64_t bp = MaskAddress(c.s.gpr[kRbp], stack_size);
  uint64_t linear;
  T v;
  if (!SegmentLinear(c, kSs, bp, sizeof(T), false, &linear) || !LoadLinear<T>(c, linear, &v, true))
    return Step::kFault;
  WriteAddressReg(c, kRsp, bp + sizeof(T), stack_size);
  WriteReg<T>(c, kRbp, v);
  return Step::kNext;
}

// ---- PUSHF, POPF ----

unsigned Iopl(const SoftVcpu& c) { return static_cast<unsigned>(c.s.rflags_rest >> 12) & 3; }

template <typename T>
Step Pushf(SoftVcpu& c, const Insn&) {
  if (c.s.v8086 && Iopl(c) < 3) return c.Raise(kGp, 0);
  return Push<T>(c, static_cast<T>(GetRflags(c.s) & ~(kVm | kRf)));
}

template <typename T>
Step Popf(SoftVcpu& c, const Insn&) {
  if (c.s.v8086 && Iopl(c) < 3) return c.Raise(kGp, 0);
  T popped;
  if (!Peek<T>(c, &popped)) return Step::kFault;
  Drop(c, sizeof(T));
  uint64_t mask = kCf | kPf | kAf | kZf | kSf | kTf | kDf | kOf | kNt;
  if (sizeof(T) > 2) mask |= kAc | kId;
  const unsigned cpl = c.s.v8086 ? 3 : c.s.cpl;
  if (cpl <= Iopl(c)) mask |= kIf;
  if (cpl == 0) mask |= kIopl;
  const uint64_t old = GetRflags(c.s);
  const uint64_t now = ((old & ~mask) | (popped & mask)) & ~kRf;
  SetRflags(c.s, now);
  if ((old ^ now) & kAc) c.mmu.AcChanged();
  // Only what events rest on ends the block.
  const bool leave = (now & ~old & kIf) && c.InterruptsEnabled();
  return leave || (now & kTf) ? Step::kLeave : Step::kNext;
}

#define ATOLL_BY_WIDTH(Name, Function)                                                        \
  Handler Name(Insn& in, const DecodedView& v) {                                              \
    in.operand_size = static_cast<uint8_t>(v.insn->operand_width / 8);                        \
    return ByWideSize(in.operand_size, []<typename T>() -> Handler { return &Function<T>; }); \
  }
ATOLL_BY_WIDTH(SelectEnter, Enter)
ATOLL_BY_WIDTH(SelectLeave, Leave)

template <Handler H>
Handler Always(Insn&, const DecodedView&) {
  return H;
}

constexpr HandlerEntry kTable[] = {
    {ZYDIS_MNEMONIC_PUSH, &SelectPush},
    {ZYDIS_MNEMONIC_POP, &SelectPop},
    {ZYDIS_MNEMONIC_PUSHA, &Always<&PushAll<uint16_t>>},
    {ZYDIS_MNEMONIC_PUSHAD, &Always<&PushAll<uint32_t>>},
    {ZYDIS_MNEMONIC_POPA, &Always<&PopAll<uint16_t>>},
    {ZYDIS_MNEMONIC_POPAD, &Always<&PopAll<uint32_t>>},
    {ZYDIS_MNEMONIC_ENTER, &SelectEnter},
    {ZYDIS_MNEMONIC_LEAVE, &SelectLeave},
    {ZYDIS_MNEMONIC_PUSHF, &Always<&Pushf<uint16_t>>},
    {ZYDIS_MNEMONIC_PUSHFD, &Always<&Pushf<uint32_t>>},
    {ZYDIS_MNEMONIC_PUSHFQ, &Always<&Pushf<uint64_t>>},
    {ZYDIS_MNEMONIC_POPF, &Always<&Popf<uint16_t>>},
    {ZYDIS_MNEMONIC_POPFD, &Always<&Popf<uint32_t>>},
    {ZYDIS_MNEMONIC_POPFQ, &Always<&Popf<uint64_t>>},
};

}  // namespace

const HandlerTable kStackHandlers(kTable);

}  // namespace atl::cpu::soft
