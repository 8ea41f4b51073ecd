// SPDX-License-Identifier: Apache-2.0
// XCHG, XADD and the CMPXCHG family: on memory always the host's locked
// instruction, which is right with and without the guest's LOCK.
#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/select.h"

namespace atl::cpu::soft {
namespace {

template <typename T>
Step XchgReg(SoftVcpu& c, const Insn& in) {
  const T a = ReadReg<T>(c, in.reg0), b = ReadReg<T>(c, in.reg1);
  WriteReg<T>(c, in.reg0, b);
  WriteReg<T>(c, in.reg1, a);
  return Step::kNext;
}
template <typename T>
Step XchgMem(SoftVcpu& c, const Insn& in) {
  const uint8_t reg = in.reg0 == kNoReg ? in.reg1 : in.reg0;
  return Modify<T, kAny>(c, in, [&c, reg](uint8_t* p) {
    T v = ReadReg<T>(c, reg);
    asm volatile("xchg %[v], %[p]"
                 : [v] "+q"(v), [p] "+m"(*reinterpret_cast<Unaligned<T>*>(p))
                 :
                 : "memory");
    WriteReg<T>(c, reg, v);
  });
}
Handler SelectXchg(Insn& in, const DecodedView&) {
  return BySize(in.operand_size,
                [&]<typename T>() -> Handler { return in.has_mem ? &XchgMem<T> : &XchgReg<T>; });
}

template <typename T>
Step XaddReg(SoftVcpu& c, const Insn& in) {
  T a = ReadReg<T>(c, in.reg0);
  const T b = ReadReg<T>(c, in.reg1), old = a;
  uint16_t f;
  asm("add %[b], %[a]" ATOLL_FLAGS_OUT : [a] "+q"(a), "=&a"(f) : [b] "q"(b) : "cc");
  WriteReg<T>(c, in.reg1, old);
  WriteReg<T>(c, in.reg0, a);
  SetArithmeticFlags(c, f);
  return Step::kNext;
}
template <typename T>
Step XaddMem(SoftVcpu& c, const Insn& in) {
  return Modify<T, kAny>(c, in, [&c, &in](uint8_t* p) {
    T b = ReadReg<T>(c, in.reg1);
    uint16_t f;
    asm volatile("lock xadd %[b], %[p]" ATOLL_FLAGS_OUT
                 : [b] "+q"(b), [p] "+m"(*reinterpret_cast<Unaligned<T>*>(p)), "=&a"(f)
                 :
                 : "cc", "memory");
    WriteReg<T>(c, in.reg1, b);
    SetArithmeticFlags(c, f);
  });
}
Handler SelectXadd(Insn& in, const DecodedView&) {
  return BySize(in.operand_size,
                [&]<typename T>() -> Handler { return in.has_mem ? &XaddMem<T> : &XaddReg<T>; });
}

// Flags are those of CMP accumulator, destination.
template <typename T>
inline void CompareFlags(SoftVcpu& c, T a, T b) {
  uint16_t f;
  asm("cmp %[b], %[a]" ATOLL_FLAGS_OUT : "=&a"(f) : [a] "q"(a), [b] "q"(b) : "cc");
  SetArithmeticFlags(c, f);
}
template <typename T>
Step CmpxchgReg(SoftVcpu& c, const Insn& in) {
  const T acc = ReadReg<T>(c, kRax), dest = ReadReg<T>(c, in.reg0);
  const T source = ReadReg<T>(c, in.reg1);
  CompareFlags(c, acc, dest);
  if (acc == dest) {
    WriteReg<T>(c, in.reg0, source);
  } else {
    // The destination keeps the upper half of a 64-bit register.
    WriteReg<T>(c, kRax, dest);
  }
  return Step::kNext;
}
template <typename T>
Step CmpxchgMem(SoftVcpu& c, const Insn& in) {
  return Modify<T, kAny>(c, in, [&c, &in](uint8_t* p) {
    const T acc = ReadReg<T>(c, kRax);
    T seen = acc;
    asm volatile("lock cmpxchg %[source], %[p]"
                 : "+a"(seen), [p] "+m"(*reinterpret_cast<Unaligned<T>*>(p))
                 : [source] "q"(ReadReg<T>(c, in.reg1))
                 : "cc", "memory");
    CompareFlags(c, acc, seen);
    if (seen != acc) WriteReg<T>(c, kRax, seen);
  });
}
Handler SelectCmpxchg(Insn& in, const DecodedView&) {
  return BySize(in.operand_size, [&]<typename T>() -> Handler {
    return in.has_mem ? &CmpxchgMem<T> : &CmpxchgReg<T>;
  });
}

void SetZero(SoftVcpu& c, bool zero) {
  c.s.flags_lo = static_cast<uint8_t>((c.s.flags_lo & ~kZf) | (zero ? kZf : 0));
}

Step Cmpxchg8b(SoftVcpu& c, const Insn& in) {
  return Modify<uint64_t, kAny>(c, in, [&c](uint8_t* p) {
    const uint64_t expected = c.s.gpr[kRdx] << 32 | static_cast<uint32_t>(c.s.gpr[kRax]);
    const uint64_t wanted = c.s.gpr[kRcx] << 32 | static_cast<uint32_t>(c.s.gpr[kRbx]);
    uint64_t seen = expected;
    asm volatile("lock cmpxchgq %[wanted], %[p]"
                 : "+a"(seen), [p] "+m"(*reinterpret_cast<Unaligned<uint64_t>*>(p))
                 : [wanted] "r"(wanted)
                 : "cc", "memory");
    SetZero(c, seen == expected);
    if (seen != expected) {
      c.s.gpr[kRax] = static_cast<uint32_t>(seen);
      c.s.gpr[kRdx] = seen >> 32;
    }
  });
}

struct Sixteen {
  uint8_t bytes[16];
};
Step Cmpxchg16b(SoftVcpu& c, const Insn& in) {
  uint64_t linear;
  if (!OperandLinear<kAny>(c, in, 16, true, &linear)) return Step::kFault;
  if (linear & 15) return c.Raise(kGp, 0);
  return ModifyLinear<Sixteen>(c, linear, in.seg == kSs, [&c](uint8_t* p) {
    bool same;
    asm volatile("lock cmpxchg16b %[p]"
                 : [p] "+m"(*reinterpret_cast<Sixteen*>(p)), "+a"(c.s.gpr[kRax]),
                   "+d"(c.s.gpr[kRdx]), "=@ccz"(same)
                 : "b"(c.s.gpr[kRbx]), "c"(c.s.gpr[kRcx])
                 : "memory");
    SetZero(c, same);
  });
}
template <Handler H>
Handler MemoryOnly(Insn& in, const DecodedView&) {
  return in.has_mem ? H : nullptr;
}

constexpr HandlerEntry kTable[] = {
    {ZYDIS_MNEMONIC_XCHG, &SelectXchg},
    {ZYDIS_MNEMONIC_XADD, &SelectXadd},
    {ZYDIS_MNEMONIC_CMPXCHG, &SelectCmpxchg},
    {ZYDIS_MNEMONIC_CMPXCHG8B, &MemoryOnly<&Cmpxchg8b>},
    {ZYDIS_MNEMONIC_CMPXCHG16B, &MemoryOnly<&Cmpxchg16b>},
};

}  // namespace

const HandlerTable kAtomicHandlers(kTable);

}  // namespace atl::cpu::soft
