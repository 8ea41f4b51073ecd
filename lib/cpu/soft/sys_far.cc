// SPDX-License-Identifier: Apache-2.0
// Far transfers: JMP, CALL and RET to another code segment, directly, through
// call gates and task gates; IRET; INT n and its kin (vol. 3, 5.8 and 7.3; vol.
// 2, each instruction).
#include <cstdint>

#include "Zydis/Zydis.h"
#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/sys_descriptor.h"
#include "lib/cpu/soft/sys_select.h"
#include "lib/cpu/soft/sys_state.h"

namespace atl::cpu::soft {
namespace {

bool InProtected(const SoftVcpu& c) { return c.s.protected_mode && !c.s.v8086; }

uint64_t Cut(uint64_t v, unsigned size) {
  return size == 8 ? v : v & ((uint64_t{1} << (size * 8)) - 1);
}

// Whether `rip` is within the code segment that is entered.
bool CheckRip(SoftVcpu& c, const Descriptor& cs, uint64_t rip, uint32_t ext = 0) {
  const bool wide = c.s.long_mode && cs.l();
  if (wide ? !IsCanonical(rip) : rip > cs.limit()) return Fail(c, kGp, ext);
  return true;
}

// A code segment that a far JMP or CALL names without a gate.
bool CheckDirectCs(SoftVcpu& c, uint16_t selector, const Descriptor& d) {
  const uint32_t code = selector & 0xFFFCu;
  const unsigned rpl = selector & 3;
  if (c.s.long_mode && d.l() && d.db()) return Fail(c, kGp, code);
  if (d.conforming() ? d.dpl() > c.s.cpl : rpl > c.s.cpl || d.dpl() != c.s.cpl) {
    return Fail(c, kGp, code);
  }
  if (!d.present()) return Fail(c, kNp, code);
  return true;
}

// The gate's own rights, and the code segment behind it.
bool ReadGate(SoftVcpu& c, uint16_t selector, Descriptor* gate, Descriptor* cs) {
  const uint32_t code = selector & 0xFFFCu;
  if (gate->dpl() < c.s.cpl || gate->dpl() < (selector & 3u)) return Fail(c, kGp, code);
  if (!gate->present()) return Fail(c, kNp, code);
  if (c.s.long_mode && !ReadUpper(c, selector, kGp, 0, gate)) return false;
  const uint16_t target = gate->gate_selector();
  const uint32_t target_code = target & 0xFFFCu;
  if (IsNull(target)) return Fail(c, kGp, 0);
  if (!ReadDescriptor(c, target, kGp, 0, cs)) return false;
  if (!cs->is_code() || cs->dpl() > c.s.cpl) return Fail(c, kGp, target_code);
  if (c.s.long_mode && (!cs->l() || cs->db())) return Fail(c, kGp, target_code);
  if (!cs->present()) return Fail(c, kNp, target_code);
  return true;
}

bool IsCallGate(const SoftVcpu& c, const Descriptor& d) {
  return !d.s() && (d.type() == kCallGate32 || (d.type() == kCallGate16 && !c.s.long_mode));
}
bool IsTask(const SoftVcpu& c, const Descriptor& d) {
  return !d.s() && !c.s.long_mode &&
         (d.type() == kTaskGate || d.type() == kTss16 || d.type() == kTss32 ||
          d.type() == kTss16Busy || d.type() == kTss32Busy);
}

Step ToTask(SoftVcpu& c, uint16_t selector, const Descriptor& d, TaskCause cause,
            uint64_t next_rip) {
  const uint32_t code = selector & 0xFFFCu;
  if (d.dpl() < c.s.cpl || d.dpl() < (selector & 3u)) return c.Raise(kGp, code);
  if (d.type() == kTaskGate) {
    if (!d.present()) return c.Raise(kNp, code);
    selector = d.gate_selector();
  }
  return SwitchTask(c, selector, cause, next_rip, 0, nullptr) ? Step::kBranch : Step::kFault;
}

uint64_t GateOffset(const Descriptor& gate) {
  return gate.type() == kCallGate16 ? gate.gate_offset() & 0xFFFF : gate.gate_offset();
}

Step FarJump(SoftVcpu& c, const Insn& in, uint16_t selector, uint64_t offset) {
  CpuState& s = c.s;
  offset = Cut(offset, in.operand_size);
  if (!InProtected(c)) {
    if (offset > s.seg[kCs].limit) return c.Raise(kGp, 0);
    LoadSegmentReal(c, kCs, selector);
    s.rip = offset;
    return Step::kBranch;
  }
  if (IsNull(selector)) return c.Raise(kGp, 0);
  Descriptor d;
  if (!ReadDescriptor(c, selector, kGp, 0, &d)) return Step::kFault;
  if (d.is_code()) {
    if (!CheckDirectCs(c, selector, d) || !CheckRip(c, d, offset)) return Step::kFault;
  } else if (IsCallGate(c, d)) {
    Descriptor gate = d;
    if (!ReadGate(c, selector, &gate, &d)) return Step::kFault;
    selector = gate.gate_selector();
    // Without a change of privilege.
    if (!d.conforming() && d.dpl() != s.cpl) return c.Raise(kGp, selector & 0xFFFCu);
    offset = GateOffset(gate);
    if (!CheckRip(c, d, offset)) return Step::kFault;
  } else if (IsTask(c, d)) {
    return ToTask(c, selector, d, TaskCause::kJump, s.rip + in.length);
  } else {
    return c.Raise(kGp, selector & 0xFFFCu);
  }
  if (!MarkAccessed(c, selector, &d)) return Step::kFault;
  SetCs(c, selector, d, s.cpl);
  s.rip = offset;
  return Step::kBranch;
}

// Through a call gate to more privilege: the stack of the TSS, with the
// parameters of the old one.
Step InnerCall(SoftVcpu& c, const Descriptor& gate, Descriptor cs, uint64_t next_rip) {
  CpuState& s = c.s;
  const uint16_t selector = gate.gate_selector();
  const unsigned cpl = cs.dpl();
  const uint64_t offset = GateOffset(gate);
  if (s.long_mode) {
    uint64_t rsp;
    if (!ReadLongStack(c, cpl, 0, &rsp)) return Step::kFault;
    if (!CheckRip(c, cs, offset) || !MarkAccessed(c, selector, &cs)) return Step::kFault;
    TransferStack stack(c, rsp, Rights::kImplicitSupervisor);
    if (!stack.Push(s.seg[kSs].selector, 8) || !stack.Push(s.gpr[kRsp], 8) ||
        !stack.Push(s.seg[kCs].selector, 8) || !stack.Push(next_rip, 8)) {
      return Step::kFault;
    }
    SetSs(c, NullSegment(static_cast<uint16_t>(cpl)));
    SetCs(c, selector, cs, cpl);
    s.gpr[kRsp] = stack.sp();
    s.rip = offset;
    return Step::kBranch;
  }
  InnerStack inner;
  if (!ReadInnerStack(c, cpl, 0, &inner)) return Step::kFault;
  Descriptor ss;
  if (!CheckStackSegment(c, inner.ss, cpl, kTs, 0, &ss)) return Step::kFault;
  if (!CheckRip(c, cs, offset) || !MarkAccessed(c, inner.ss, &ss) ||
      !MarkAccessed(c, selector, &cs)) {
    return Step::kFault;
  }
  const unsigned width = gate.type() == kCallGate32 ? 4 : 2;
  const SegmentState new_ss = MakeSegment(inner.ss, ss);
  TransferStack old(c);
  TransferStack stack(c, new_ss, inner.sp, Rights::kImplicitSupervisor, inner.ss & 0xFFFCu);
  if (!stack.Push(s.seg[kSs].selector, width) || !stack.Push(s.gpr[kRsp], width)) {
    return Step::kFault;
  }
  for (unsigned i = gate.gate_parameters(); i > 0; --i) {
    uint64_t v;
    if (!old.Peek(&v, width, (i - 1) * width) || !stack.Push(v, width)) return Step::kFault;
  }
  if (!stack.Push(s.seg[kCs].selector, width) || !stack.Push(next_rip, width)) return Step::kFault;
  SetSs(c, new_ss);
  SetCs(c, selector, cs, cpl);
  stack.Commit();
  s.rip = offset;
  return Step::kBranch;
}

Step FarCall(SoftVcpu& c, const Insn& in, uint16_t selector, uint64_t offset) {
  CpuState& s = c.s;
  unsigned width = in.operand_size;
  offset = Cut(offset, width);
  const uint64_t next_rip = s.rip + in.length;
  if (!InProtected(c)) {
    if (offset > s.seg[kCs].limit) return c.Raise(kGp, 0);
    TransferStack stack(c);
    if (!stack.Push(s.seg[kCs].selector, width) || !stack.Push(next_rip, width)) {
      return Step::kFault;
    }
    stack.Commit();
    LoadSegmentReal(c, kCs, selector);
    s.rip = offset;
    return Step::kBranch;
  }
  if (IsNull(selector)) return c.Raise(kGp, 0);
  Descriptor d;
  if (!ReadDescriptor(c, selector, kGp, 0, &d)) return Step::kFault;
  if (d.is_code()) {
    if (!CheckDirectCs(c, selector, d)) return Step::kFault;
  } else if (IsCallGate(c, d)) {
    Descriptor gate = d;
    if (!ReadGate(c, selector, &gate, &d)) return Step::kFault;
    if (!d.conforming() && d.dpl() < s.cpl) return InnerCall(c, gate, d, next_rip);
    selector = gate.gate_selector();
    offset = GateOffset(gate);
    width = s.long_mode ? 8 : gate.type() == kCallGate32 ? 4 : 2;
  } else if (IsTask(c, d)) {
    return ToTask(c, selector, d, TaskCause::kCall, next_rip);
  } else {
    return c.Raise(kGp, selector & 0xFFFCu);
  }
  if (!CheckRip(c, d, offset)) return Step::kFault;
  TransferStack stack(c);
  if (!stack.Push(s.seg[kCs].selector, width) || !stack.Push(next_rip, width) ||
      !MarkAccessed(c, selector, &d)) {
    return Step::kFault;
  }
  stack.Commit();
  SetCs(c, selector, d, s.cpl);
  s.rip = offset;
  return Step::kBranch;
}

// ---- Returns ----

// The CS that RET or IRET pops.
bool CheckReturnCs(SoftVcpu& c, uint16_t selector, Descriptor* d) {
  if (IsNull(selector)) return Fail(c, kGp, 0);
  const uint32_t code = selector & 0xFFFCu;
  const unsigned rpl = selector & 3;
  if (!ReadDescriptor(c, selector, kGp, 0, d)) return false;
  if (!d->is_code() || rpl < c.s.cpl) return Fail(c, kGp, code);
  if (d->conforming() ? d->dpl() > rpl : d->dpl() != rpl) return Fail(c, kGp, code);
  if (c.s.long_mode && d->l() && d->db()) return Fail(c, kGp, code);
  if (!d->present()) return Fail(c, kNp, code);
  return true;
}

// The SS that an outer return pops, as it will be.
bool ReadReturnSs(SoftVcpu& c, uint16_t selector, unsigned rpl, bool to_64bit, SegmentState* ss) {
  if (IsNull(selector)) {
    if (!to_64bit || rpl == 3 || (selector & 3u) != rpl) return Fail(c, kGp, 0);
    *ss = NullSegment(selector);
    return true;
  }
  Descriptor d;
  if (!CheckStackSegment(c, selector, rpl, kGp, 0, &d) || !MarkAccessed(c, selector, &d)) {
    return false;
  }
  *ss = MakeSegment(selector, d);
  return true;
}

// Data segments that the outer privilege may not have become null.
void DropInnerSegments(SoftVcpu& c) {
  for (unsigned i : {kEs, kDs, kFs, kGs}) {
    SegmentState& g = c.s.seg[i];
    if (g.unusable) continue;
    const bool conforming = (g.attributes & 0x1C) == 0x1C;
    if (!conforming && AttrDpl(g.attributes) < c.s.cpl) g = NullSegment(0);
  }
}

// rsp after a return: as wide as the new stack is.
void SetReturnSp(SoftVcpu& c, uint64_t sp) {
  uint64_t& rsp = c.s.gpr[kRsp];
  if (c.in_64bit()) {
    rsp = sp;
  } else if (c.s.stack32) {
    rsp = static_cast<uint32_t>(sp);
  } else {
    rsp = (rsp & ~uint64_t{0xFFFF}) | (sp & 0xFFFF);
  }
}

Step FarReturn(SoftVcpu& c, const Insn& in) {
  CpuState& s = c.s;
  const unsigned width = in.operand_size;
  const uint64_t extra = static_cast<uint16_t>(in.imm);
  TransferStack stack(c);
  uint64_t rip, cs;
  if (!stack.Pop(&rip, width) || !stack.Pop(&cs, width)) return Step::kFault;
  const uint16_t selector = static_cast<uint16_t>(cs);
  if (!InProtected(c)) {
    if (rip > s.seg[kCs].limit) return c.Raise(kGp, 0);
    stack.Skip(extra);
    stack.Commit();
    LoadSegmentReal(c, kCs, selector);
    s.rip = rip;
    return Step::kBranch;
  }
  Descriptor d;
  if (!CheckReturnCs(c, selector, &d)) return Step::kFault;
  const unsigned rpl = selector & 3;
  stack.Skip(extra);
  if (rpl == s.cpl) {
    if (!CheckRip(c, d, rip) || !MarkAccessed(c, selector, &d)) return Step::kFault;
    stack.Commit();
    SetCs(c, selector, d, rpl);
    s.rip = rip;
    return Step::kBranch;
  }
  uint64_t sp, ss;
  SegmentState new_ss;
  if (!stack.Pop(&sp, width) || !stack.Pop(&ss, width) ||
      !ReadReturnSs(c, static_cast<uint16_t>(ss), rpl, s.long_mode && d.l(), &new_ss) ||
      !CheckRip(c, d, rip) || !MarkAccessed(c, selector, &d)) {
    return Step::kFault;
  }
  SetCs(c, selector, d, rpl);
  SetSs(c, new_ss);
  SetReturnSp(c, sp + extra);
  s.rip = rip;
  DropInnerSegments(c);
  return Step::kBranch;
}

// Loads the bits of `mask`, and no other, from popped flags.
void LoadFlags(SoftVcpu& c, uint64_t popped, uint64_t mask) {
  SetRflags(c.s, (GetRflags(c.s) & ~mask) | (popped & mask));
  c.mmu.AcChanged();
}

constexpr uint64_t kPlainFlags = kCf | kPf | kAf | kZf | kSf | kTf | kDf | kOf | kNt;

uint64_t IretMask(const SoftVcpu& c, unsigned width) {
  uint64_t mask = kPlainFlags;
  if (width > 2) mask |= kRf | kAc | kId;
  const unsigned iopl = c.s.rflags_rest >> 12 & 3;
  if (c.s.cpl <= iopl) mask |= kIf;
  if (c.s.cpl == 0) {
    mask |= kIopl;
    if (width > 2) mask |= kVif | kVip;
  }
  return mask;
}

Step IretToV8086(SoftVcpu& c, TransferStack& stack, uint64_t rip, uint16_t cs, uint64_t flags) {
  CpuState& s = c.s;
  uint64_t sp, seg[5];  // SS, ES, DS, FS, GS
  if (!stack.Pop(&sp, 4)) return Step::kFault;
  for (uint64_t& v : seg) {
    if (!stack.Pop(&v, 4)) return Step::kFault;
  }
  if (rip > 0xFFFF) return c.Raise(kGp, 0);
  SetRflags(s, (flags & (kPlainFlags | kRf | kAc | kId | kIf | kIopl | kVm | kVif | kVip)));
  s.v8086 = true;
  s.cpl = 3;
  s.stack32 = false;
  LoadSegmentReal(c, kCs, cs);
  constexpr SegmentIndex kOrder[5] = {kSs, kEs, kDs, kFs, kGs};
  for (unsigned i = 0; i < 5; ++i) LoadSegmentReal(c, kOrder[i], static_cast<uint16_t>(seg[i]));
  CodeSegmentChanged(s);
  s.gpr[kRsp] = static_cast<uint32_t>(sp);
  s.rip = rip;
  c.mmu.AcChanged();
  return Step::kBranch;
}

Step IretReal(SoftVcpu& c, unsigned width) {
  CpuState& s = c.s;
  TransferStack stack(c);
  uint64_t rip, cs, flags;
  if (!stack.Pop(&rip, width) || !stack.Pop(&cs, width) || !stack.Pop(&flags, width)) {
    return Step::kFault;
  }
  if (rip > s.seg[kCs].limit) return c.Raise(kGp, 0);
  stack.Commit();
  uint64_t mask = kPlainFlags | kIf;
  if (!s.v8086) mask |= kIopl;
  if (width > 2) mask |= kRf | kAc | kId;
  LoadFlags(c, flags, mask);
  LoadSegmentReal(c, kCs, static_cast<uint16_t>(cs));
  s.rip = rip;
  return Step::kBranch;
}

Step IretProtected(SoftVcpu& c, unsigned width) {
  CpuState& s = c.s;
  if ((s.rflags_rest & kNt) != 0) {
    if (s.long_mode) return c.Raise(kGp, 0);
    uint16_t link;
    if (!ReadSystem(c, s.tr.base, &link)) return Step::kFault;
    return SwitchTask(c, link, TaskCause::kIret, s.rip + 1, 0, nullptr) ? Step::kBranch
                                                                        : Step::kFault;
  }
  TransferStack stack(c);
  uint64_t rip, cs, flags;
  if (!stack.Pop(&rip, width) || !stack.Pop(&cs, width) || !stack.Pop(&flags, width)) {
    return Step::kFault;
  }
  const uint16_t selector = static_cast<uint16_t>(cs);
  if (width == 4 && (flags & kVm) != 0 && s.cpl == 0 && !s.long_mode) {
    return IretToV8086(c, stack, rip, selector, flags);
  }
  Descriptor d;
  if (!CheckReturnCs(c, selector, &d)) return Step::kFault;
  const unsigned rpl = selector & 3;
  const uint64_t mask = IretMask(c, width);
  const bool outer = rpl != s.cpl;
  if (outer || c.in_64bit()) {
    uint64_t sp, ss;
    SegmentState new_ss;
    if (!stack.Pop(&sp, width) || !stack.Pop(&ss, width) ||
        !ReadReturnSs(c, static_cast<uint16_t>(ss), rpl, s.long_mode && d.l(), &new_ss) ||
        !CheckRip(c, d, rip) || !MarkAccessed(c, selector, &d)) {
      return Step::kFault;
    }
    SetCs(c, selector, d, rpl);
    SetSs(c, new_ss);
    SetReturnSp(c, sp);
    if (outer) DropInnerSegments(c);
  } else {
    if (!CheckRip(c, d, rip) || !MarkAccessed(c, selector, &d)) return Step::kFault;
    stack.Commit();
    SetCs(c, selector, d, rpl);
  }
  s.rip = rip;
  LoadFlags(c, flags, mask);
  return Step::kBranch;
}

Step Iret(SoftVcpu& c, const Insn& in) {
  Step step;
  if (!c.s.protected_mode) {
    step = IretReal(c, in.operand_size);
  } else if (c.s.v8086) {
    if ((c.s.rflags_rest & kIopl) != kIopl) return c.Raise(kGp, 0);
    step = IretReal(c, in.operand_size);
  } else {
    step = IretProtected(c, in.operand_size);
  }
  if (step != Step::kFault) c.s.nmi_blocked = false;
  return step;
}

// ---- INT ----

Step Int(SoftVcpu& c, const Insn& in) {
  if (c.s.v8086 && (c.s.rflags_rest & kIopl) != kIopl) return c.Raise(kGp, 0);
  return SoftwareInterrupt(c, static_cast<uint8_t>(in.imm), c.s.rip + in.length);
}
Step Int3(SoftVcpu& c, const Insn& in) { return SoftwareInterrupt(c, kBp, c.s.rip + in.length); }
Step Into(SoftVcpu& c, const Insn& in) {
  if (c.s.flags_of == 0) return Step::kNext;
  return SoftwareInterrupt(c, kOfl, c.s.rip + in.length);
}
// A debug trap: rip after it, no look at the gate's DPL.
Step Int1(SoftVcpu& c, const Insn& in) {
  const uint64_t rip = c.s.rip;
  c.s.rip = rip + in.length;
  if (DeliverInterrupt(c, kDb)) return Step::kBranch;
  c.s.rip = rip;
  return c.Raise(kDfault, 0);
}

// ---- Operands ----

bool ReadFarPointer(SoftVcpu& c, const Insn& in, uint16_t* selector, uint64_t* offset) {
  if (!in.has_mem) {
    *offset = in.imm;
    *selector = static_cast<uint16_t>(in.disp);
    return true;
  }
  uint8_t bytes[10];
  if (!LoadBytes(c, in, bytes, in.operand_size + 2u)) return false;
  *offset = 0;
  std::memcpy(offset, bytes, in.operand_size);
  std::memcpy(selector, bytes + in.operand_size, 2);
  return true;
}

Step JumpFar(SoftVcpu& c, const Insn& in) {
  uint16_t selector;
  uint64_t offset;
  if (!ReadFarPointer(c, in, &selector, &offset)) return Step::kFault;
  return FarJump(c, in, selector, offset);
}

Step CallFar(SoftVcpu& c, const Insn& in) {
  uint16_t selector;
  uint64_t offset;
  if (!ReadFarPointer(c, in, &selector, &offset)) return Step::kFault;
  return FarCall(c, in, selector, offset);
}

}  // namespace

Handler SelectFar(Insn& in, const DecodedView& view) {
  const bool far = view.insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
  switch (view.insn->mnemonic) {
    case ZYDIS_MNEMONIC_JMP:
      if (!far) return nullptr;
      UseOperandWidth(in, view);
      return JumpFar;
    case ZYDIS_MNEMONIC_CALL:
      if (!far) return nullptr;
      UseOperandWidth(in, view);
      return CallFar;
    case ZYDIS_MNEMONIC_RET:
      if (!far) return nullptr;
      UseOperandWidth(in, view);
      return FarReturn;
    case ZYDIS_MNEMONIC_IRET:
      in.operand_size = 2;
      return Iret;
    case ZYDIS_MNEMONIC_IRETD:
      in.operand_size = 4;
      return Iret;
    case ZYDIS_MNEMONIC_IRETQ:
      in.operand_size = 8;
      return Iret;
    default:
      return nullptr;
  }
}

Handler SelectInterrupt(Insn&, const DecodedView& view) {
  switch (view.insn->mnemonic) {
    case ZYDIS_MNEMONIC_INT:
      return Int;
    case ZYDIS_MNEMONIC_INT1:
      return Int1;
    case ZYDIS_MNEMONIC_INT3:
      return Int3;
    case ZYDIS_MNEMONIC_INTO:
      return Into;
    default:
      return nullptr;
  }
}

}  // namespace atl::cpu::soft
