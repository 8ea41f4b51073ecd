// SPDX-License-Identifier: Apache-2.0
// Segment registers and descriptor tables: MOV, PUSH and POP with segment
// registers, LDS and its kin, LAR, LSL, VERR, VERW, ARPL, and the loads and
// stores of GDTR, IDTR, LDTR and TR.
#include <cstdint>

#include "Zydis/Zydis.h"
#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/sys_descriptor.h"
#include "lib/cpu/soft/sys_select.h"
#include "lib/cpu/soft/sys_state.h"

namespace atl::cpu::soft {

void LoadSegmentReal(SoftVcpu& c, SegmentIndex index, uint16_t selector) {
  SegmentState& g = c.s.seg[index];
  g.selector = selector;
  g.base = static_cast<uint32_t>(selector) << 4;
  g.unusable = false;
  if (c.s.v8086) {
    g.limit = 0xFFFF;
    g.attributes = kAttrPresent | 3 << 5 | kAttrS | kAttrWritable | kAttrAccessed;
    SetFlat(g);
  }
  // In real mode limit and attributes stay: protected mode may have made them
  // larger, and programs rest on it ("unreal mode").
}

bool LoadSegment(SoftVcpu& c, SegmentIndex index, uint16_t selector) {
  CpuState& s = c.s;
  if (!s.protected_mode || s.v8086) {
    LoadSegmentReal(c, index, selector);
    return true;
  }
  const unsigned rpl = selector & 3;
  const uint32_t code = selector & 0xFFFCu;
  Descriptor d;
  if (index == kSs) {
    if (IsNull(selector)) {
      if (!c.in_64bit() || s.cpl == 3 || rpl != s.cpl) return Fail(c, kGp, 0);
      SetSs(c, NullSegment(selector));
      return true;
    }
    if (!CheckStackSegment(c, selector, s.cpl, kGp, 0, &d) || !MarkAccessed(c, selector, &d)) {
      return false;
    }
    SetSs(c, MakeSegment(selector, d));
    return true;
  }
  if (IsNull(selector)) {
    s.seg[index] = NullSegment(selector);
    return true;
  }
  if (!ReadDescriptor(c, selector, kGp, 0, &d)) return false;
  if (!d.readable()) return Fail(c, kGp, code);
  if (!d.conforming() && (d.dpl() < rpl || d.dpl() < s.cpl)) return Fail(c, kGp, code);
  if (!d.present()) return Fail(c, kNp, code);
  if (!MarkAccessed(c, selector, &d)) return false;
  s.seg[index] = MakeSegment(selector, d);
  return true;
}

namespace {

bool InProtected(const SoftVcpu& c) { return c.s.protected_mode && !c.s.v8086; }

// Segment loads end the block but in 64-bit mode, where nothing rests on them; SS
// holds interrupts off for an instruction.
Step AfterLoad(SoftVcpu& c, const Insn& in, SegmentIndex index) {
  if (index == kSs) HoldInterrupts(c, in);
  return index == kSs || !c.in_64bit() ? Step::kLeave : Step::kNext;
}

template <SegmentIndex kIndex>
Step MovToSegment(SoftVcpu& c, const Insn& in) {
  uint16_t selector;
  if (in.has_mem) {
    if (!Load<uint16_t, kAny>(c, in, &selector)) return Step::kFault;
  } else {
    selector = ReadReg<uint16_t>(c, in.reg1);
  }
  if (!LoadSegment(c, kIndex, selector)) return Step::kFault;
  return AfterLoad(c, in, kIndex);
}

Step StoreSelector(SoftVcpu& c, const Insn& in, uint16_t selector) {
  if (in.has_mem) return Store<uint16_t, kAny>(c, in, selector);
  if (in.operand_size == 2) {
    WriteReg<uint16_t>(c, in.reg0, selector);
  } else {
    WriteReg<uint64_t>(c, in.reg0, selector);
  }
  return Step::kNext;
}

template <SegmentIndex kIndex>
Step MovFromSegment(SoftVcpu& c, const Insn& in) {
  return StoreSelector(c, in, c.s.seg[kIndex].selector);
}

template <SegmentIndex kIndex>
Step PushSegment(SoftVcpu& c, const Insn& in) {
  const uint16_t selector = c.s.seg[kIndex].selector;
  if (in.operand_size == 8) return Push<uint64_t>(c, selector);
  if (in.operand_size == 2) return Push<uint16_t>(c, selector);
  return Push<uint32_t>(c, selector);
}

template <SegmentIndex kIndex>
Step PopSegment(SoftVcpu& c, const Insn& in) {
  uint16_t selector;
  if (!Peek<uint16_t>(c, &selector)) return Step::kFault;
  // The new SS's width counts for the pop of SS itself only after it.
  const uint64_t sp = StackPointer(c) + in.operand_size;
  const unsigned width = StackAddressSize(c);
  if (!LoadSegment(c, kIndex, selector)) return Step::kFault;
  WriteAddressReg(c, kRsp, sp, width);
  return AfterLoad(c, in, kIndex);
}

// LDS, LES, LSS, LFS, LGS.
template <SegmentIndex kIndex>
Step LoadFarPointer(SoftVcpu& c, const Insn& in) {
  uint8_t bytes[10];
  if (!LoadBytes(c, in, bytes, in.operand_size + 2u)) return Step::kFault;
  uint64_t offset = 0;
  uint16_t selector;
  std::memcpy(&offset, bytes, in.operand_size);
  std::memcpy(&selector, bytes + in.operand_size, 2);
  if (!LoadSegment(c, kIndex, selector)) return Step::kFault;
  if (in.operand_size == 2) {
    WriteReg<uint16_t>(c, in.reg0, static_cast<uint16_t>(offset));
  } else {
    WriteReg<uint64_t>(c, in.reg0, offset);
  }
  return AfterLoad(c, in, kIndex);
}

// ---- Looking at descriptors ----

void SetZero(SoftVcpu& c, bool zero) {
  c.s.flags_lo = static_cast<uint8_t>((c.s.flags_lo & ~kZf) | (zero ? kZf : 0));
}

bool ReadSelector(SoftVcpu& c, const Insn& in, uint8_t reg, uint16_t* out) {
  if (in.has_mem) return Load<uint16_t, kAny>(c, in, out);
  *out = ReadReg<uint16_t>(c, reg);
  return true;
}

// A descriptor that the CPL and RPL may see, of a kind in `system_types` (a bit
// each) where it is a system one. False with *fault: an exception.
bool Visible(SoftVcpu& c, uint16_t selector, uint32_t system_types, Descriptor* d, bool* fault) {
  *fault = false;
  uint64_t linear;
  if (IsNull(selector) || !FindDescriptor(c, selector, 8, &linear)) return false;
  if (!ReadDescriptor(c, selector, kGp, 0, d)) {
    *fault = true;
    return false;
  }
  if (!d->s() && (system_types >> d->type() & 1) == 0) return false;
  return d->conforming() || (d->dpl() >= c.s.cpl && d->dpl() >= (selector & 3u));
}

template <bool kLimit>
Step LarLsl(SoftVcpu& c, const Insn& in) {
  if (!InProtected(c)) return c.Raise(kUd);
  uint16_t selector;
  if (!ReadSelector(c, in, in.reg1, &selector)) return Step::kFault;
  constexpr uint32_t kTables = 1 << kLdtType | 1 << kTss32 | 1 << kTss32Busy;
  constexpr uint32_t kOld = 1 << kTss16 | 1 << kTss16Busy;
  uint32_t types = kTables | (c.s.long_mode ? 0 : kOld);
  if (!kLimit) {
    types |= 1 << kCallGate32 | (c.s.long_mode ? 0 : 1 << kCallGate16 | 1 << kTaskGate);
  }
  Descriptor d;
  bool fault;
  const bool visible = Visible(c, selector, types, &d, &fault);
  if (fault) return Step::kFault;
  SetZero(c, visible);
  if (!visible) return Step::kNext;
  const uint32_t v = kLimit ? d.limit() : d.high & 0xFFFF00;
  if (in.operand_size == 2) {
    WriteReg<uint16_t>(c, in.reg0, static_cast<uint16_t>(v));
  } else {
    WriteReg<uint64_t>(c, in.reg0, v);
  }
  return Step::kNext;
}

template <bool kWrite>
Step Verify(SoftVcpu& c, const Insn& in) {
  if (!InProtected(c)) return c.Raise(kUd);
  uint16_t selector;
  if (!ReadSelector(c, in, in.reg0, &selector)) return Step::kFault;
  Descriptor d;
  bool fault;
  const bool visible = Visible(c, selector, 0, &d, &fault);
  if (fault) return Step::kFault;
  SetZero(c, visible && (kWrite ? d.writable_data() : d.readable()));
  return Step::kNext;
}

Step Arpl(SoftVcpu& c, const Insn& in) {
  if (!InProtected(c)) return c.Raise(kUd);
  uint16_t selector;
  if (!ReadSelector(c, in, in.reg0, &selector)) return Step::kFault;
  const unsigned rpl = ReadReg<uint16_t>(c, in.reg1) & 3u;
  const bool raise = (selector & 3u) < rpl;
  if (raise) {
    const uint16_t v = static_cast<uint16_t>((selector & ~3u) | rpl);
    if (in.has_mem) {
      const Step step = Store<uint16_t, kAny>(c, in, v);
      SetZero(c, step != Step::kFault || (c.s.flags_lo & kZf) != 0);
      return step;
    }
    WriteReg<uint16_t>(c, in.reg0, v);
  }
  SetZero(c, raise);
  return Step::kNext;
}

// ---- Table registers ----

bool UmipDenies(const SoftVcpu& c) { return c.s.cpl > 0 && (c.s.cr4 & kCr4Umip) != 0; }

template <bool kIdt>
Step LoadTable(SoftVcpu& c, const Insn& in) {
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  const bool wide = c.in_64bit();
  uint8_t bytes[10] = {};
  if (!LoadBytes(c, in, bytes, wide ? 10 : 6)) return Step::kFault;
  uint16_t limit;
  uint64_t base;
  std::memcpy(&limit, bytes, 2);
  std::memcpy(&base, bytes + 2, 8);
  if (!wide && in.operand_size == 2) base &= 0xFFFFFF;
  if (!IsCanonical(base)) return c.Raise(kGp, 0);
  (kIdt ? c.s.idt : c.s.gdt) = {base, limit};
  return Step::kNext;
}

template <bool kIdt>
Step StoreTable(SoftVcpu& c, const Insn& in) {
  if (UmipDenies(c)) return c.Raise(kGp, 0);
  const DescriptorTable& t = kIdt ? c.s.idt : c.s.gdt;
  uint8_t bytes[10];
  std::memcpy(bytes, &t.limit, 2);
  std::memcpy(bytes + 2, &t.base, 8);
  return StoreBytes(c, in, bytes, c.in_64bit() ? 10 : 6);
}

Step LoadLdt(SoftVcpu& c, const Insn& in) {
  if (!InProtected(c)) return c.Raise(kUd);
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  uint16_t selector;
  if (!ReadSelector(c, in, in.reg0, &selector)) return Step::kFault;
  if (IsNull(selector)) {
    c.s.ldt = NullSegment(selector);
    return Step::kNext;
  }
  const uint32_t code = selector & 0xFFFCu;
  if ((selector & 4) != 0) return c.Raise(kGp, code);
  Descriptor d;
  if (!ReadDescriptor(c, selector, kGp, 0, &d)) return Step::kFault;
  if (d.s() || d.type() != kLdtType) return c.Raise(kGp, code);
  if (!d.present()) return c.Raise(kNp, code);
  if (c.s.long_mode && !ReadUpper(c, selector, kGp, 0, &d)) return Step::kFault;
  if (!IsCanonical(d.base())) return c.Raise(kGp, code);
  c.s.ldt = MakeSegment(selector, d);
  return Step::kNext;
}

Step LoadTask(SoftVcpu& c, const Insn& in) {
  if (!InProtected(c)) return c.Raise(kUd);
  if (c.s.cpl != 0) return c.Raise(kGp, 0);
  uint16_t selector;
  if (!ReadSelector(c, in, in.reg0, &selector)) return Step::kFault;
  if (IsNull(selector)) return c.Raise(kGp, 0);
  const uint32_t code = selector & 0xFFFCu;
  if ((selector & 4) != 0) return c.Raise(kGp, code);
  Descriptor d;
  if (!ReadDescriptor(c, selector, kGp, 0, &d)) return Step::kFault;
  const bool right = d.type() == kTss32 || (d.type() == kTss16 && !c.s.long_mode);
  if (d.s() || !right) return c.Raise(kGp, code);
  if (!d.present()) return c.Raise(kNp, code);
  if (c.s.long_mode && !ReadUpper(c, selector, kGp, 0, &d)) return Step::kFault;
  if (!IsCanonical(d.base())) return c.Raise(kGp, code);
  if (!MarkBusy(c, selector, true)) return Step::kFault;
  c.s.tr = MakeSegment(selector, d);
  c.s.tr.attributes |= 2;
  return Step::kNext;
}

template <bool kTr>
Step StoreSystemSelector(SoftVcpu& c, const Insn& in) {
  if (!InProtected(c)) return c.Raise(kUd);
  if (UmipDenies(c)) return c.Raise(kGp, 0);
  return StoreSelector(c, in, (kTr ? c.s.tr : c.s.ldt).selector);
}

// ---- Choice ----

template <template <SegmentIndex> class Pick>
Handler BySegment(int reg) {
  switch (reg) {
    case ZYDIS_REGISTER_ES:
      return Pick<kEs>::run;
    case ZYDIS_REGISTER_CS:
      return Pick<kCs>::run;
    case ZYDIS_REGISTER_SS:
      return Pick<kSs>::run;
    case ZYDIS_REGISTER_DS:
      return Pick<kDs>::run;
    case ZYDIS_REGISTER_FS:
      return Pick<kFs>::run;
    case ZYDIS_REGISTER_GS:
      return Pick<kGs>::run;
    default:
      return nullptr;
  }
}
template <SegmentIndex I>
struct PickMovTo {
  static constexpr Handler run = I == kCs ? nullptr : MovToSegment<I>;
};
template <SegmentIndex I>
struct PickMovFrom {
  static constexpr Handler run = MovFromSegment<I>;
};
template <SegmentIndex I>
struct PickPush {
  static constexpr Handler run = PushSegment<I>;
};
template <SegmentIndex I>
struct PickPop {
  static constexpr Handler run = I == kCs ? nullptr : PopSegment<I>;
};

int RegisterOf(const ZydisDecodedOperand& o) {
  return o.type == ZYDIS_OPERAND_TYPE_REGISTER ? o.reg.value : ZYDIS_REGISTER_NONE;
}

}  // namespace

Handler SelectSegmentMove(Insn& in, const DecodedView& view) {
  UseOperandWidth(in, view);
  if (Handler h = BySegment<PickMovTo>(RegisterOf(view.operands[0]))) return h;
  return BySegment<PickMovFrom>(RegisterOf(view.operands[1]));
}

Handler SelectSegmentPush(Insn& in, const DecodedView& view) {
  UseOperandWidth(in, view);
  return BySegment<PickPush>(RegisterOf(view.operands[0]));
}

Handler SelectSegmentPop(Insn& in, const DecodedView& view) {
  UseOperandWidth(in, view);
  return BySegment<PickPop>(RegisterOf(view.operands[0]));
}

Handler SelectFarPointer(Insn& in, const DecodedView& view) {
  UseOperandWidth(in, view);
  switch (view.insn->mnemonic) {
    case ZYDIS_MNEMONIC_LDS:
      return LoadFarPointer<kDs>;
    case ZYDIS_MNEMONIC_LES:
      return LoadFarPointer<kEs>;
    case ZYDIS_MNEMONIC_LSS:
      return LoadFarPointer<kSs>;
    case ZYDIS_MNEMONIC_LFS:
      return LoadFarPointer<kFs>;
    default:
      return LoadFarPointer<kGs>;
  }
}

Handler SelectDescriptorTable(Insn& in, const DecodedView& view) {
  UseOperandWidth(in, view);
  switch (view.insn->mnemonic) {
    case ZYDIS_MNEMONIC_LAR:
      return LarLsl<false>;
    case ZYDIS_MNEMONIC_LSL:
      return LarLsl<true>;
    case ZYDIS_MNEMONIC_VERR:
      return Verify<false>;
    case ZYDIS_MNEMONIC_VERW:
      return Verify<true>;
    case ZYDIS_MNEMONIC_ARPL:
      return Arpl;
    case ZYDIS_MNEMONIC_LGDT:
      return LoadTable<false>;
    case ZYDIS_MNEMONIC_LIDT:
      return LoadTable<true>;
    case ZYDIS_MNEMONIC_SGDT:
      return StoreTable<false>;
    case ZYDIS_MNEMONIC_SIDT:
      return StoreTable<true>;
    case ZYDIS_MNEMONIC_LLDT:
      return LoadLdt;
    case ZYDIS_MNEMONIC_LTR:
      return LoadTask;
    case ZYDIS_MNEMONIC_SLDT:
      return StoreSystemSelector<false>;
    case ZYDIS_MNEMONIC_STR:
      return StoreSystemSelector<true>;
    default:
      return nullptr;
  }
}

}  // namespace atl::cpu::soft
