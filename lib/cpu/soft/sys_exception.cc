// SPDX-License-Identifier: Apache-2.0
// Exceptions and interrupts through the IVT or IDT (vol. 3, chapter 6; long
// mode 6.14; virtual-8086 20.3). Everything is checked before anything but
// memory on the new stack changes, so a fault in the middle leaves the
// interrupted state for the handler of that fault.
#include <cstdint>

#include "lib/cpu/soft/sys_descriptor.h"
#include "lib/cpu/soft/sys_state.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

struct Event {
  uint8_t vector = 0;
  bool software = false;  // INT n, INT3, INTO: the gate's DPL counts
  bool has_error_code = false;
  uint32_t error_code = 0;
  uint64_t rip = 0;     // to push
  uint64_t rflags = 0;  // to push
  uint32_t ext = 0;

  uint32_t gate_code() const { return vector * 8u + 2u + ext; }
};

// Flags that entering a handler clears; IF only through interrupt gates.
constexpr uint64_t kCleared = kTf | kNt | kRf | kVm;

void EnterFlags(SoftVcpu& c, bool clear_if) {
  uint64_t& f = c.s.rflags_rest;
  f &= ~(kCleared | (clear_if ? kIf : 0));
  c.s.v8086 = false;
}

bool DeliverReal(SoftVcpu& c, const Event& e) {
  CpuState& s = c.s;
  const uint32_t at = e.vector * 4u;
  if (at + 3 > s.idt.limit) return Fail(c, kGp, e.gate_code());
  uint32_t target;
  if (!ReadSystem(c, static_cast<uint32_t>(s.idt.base + at), &target)) return false;
  TransferStack stack(c);
  if (!stack.Push(e.rflags & 0xFFFF, 2) || !stack.Push(s.seg[kCs].selector, 2) ||
      !stack.Push(e.rip & 0xFFFF, 2)) {
    return false;
  }
  stack.Commit();
  s.rflags_rest &= ~(kIf | kTf | kAc | kRf);
  LoadSegmentReal(c, kCs, static_cast<uint16_t>(target >> 16));
  s.rip = target & 0xFFFF;
  c.mmu.AcChanged();
  return true;
}

bool DeliverLong(SoftVcpu& c, const Event& e) {
  CpuState& s = c.s;
  const uint32_t at = e.vector * 16u;
  if (at + 15 > s.idt.limit) return Fail(c, kGp, e.gate_code());
  struct {
    uint64_t low, high;
  } raw;
  if (!ReadSystem(c, s.idt.base + at, &raw)) return false;
  const Descriptor gate{static_cast<uint32_t>(raw.low), static_cast<uint32_t>(raw.low >> 32),
                        static_cast<uint32_t>(raw.high)};
  if (gate.s() || (gate.type() != kInterruptGate32 && gate.type() != kTrapGate32)) {
    return Fail(c, kGp, e.gate_code());
  }
  if (e.software && gate.dpl() < s.cpl) return Fail(c, kGp, e.gate_code());
  if (!gate.present()) return Fail(c, kNp, e.gate_code());
  const uint16_t selector = gate.gate_selector();
  const uint32_t code = (selector & 0xFFFCu) | e.ext;
  if (IsNull(selector)) return Fail(c, kGp, e.ext);
  Descriptor cs;
  if (!ReadDescriptor(c, selector, kGp, e.ext, &cs)) return false;
  if (!cs.is_code() || cs.dpl() > s.cpl || !cs.l() || cs.db()) return Fail(c, kGp, code);
  if (!cs.present()) return Fail(c, kNp, code);
  if (!MarkAccessed(c, selector, &cs)) return false;

  const unsigned new_cpl = cs.conforming() ? s.cpl : cs.dpl();
  const bool inner = new_cpl < s.cpl;
  uint64_t rsp = s.gpr[kRsp];
  if (gate.gate_ist() != 0) {
    if (!ReadLongStack(c, 3 + gate.gate_ist(), e.ext, &rsp)) return false;
  } else if (inner) {
    if (!ReadLongStack(c, new_cpl, e.ext, &rsp)) return false;
  }
  const uint64_t target = gate.gate_offset();
  if (!IsCanonical(target)) return Fail(c, kGp, e.ext);

  rsp &= ~uint64_t{15};
  uint64_t frame[6] = {e.error_code, e.rip,         s.seg[kCs].selector,
                       e.rflags,     c.s.gpr[kRsp], s.seg[kSs].selector};
  const unsigned first = e.has_error_code ? 0 : 1;
  const unsigned size = (6 - first) * 8;
  const uint64_t top = rsp - size;
  Rights rights = Rights::kSupervisor;
  if (new_cpl == 3) {
    rights = Rights::kUser;
  } else if (inner) {
    rights = Rights::kImplicitSupervisor;
  }
  struct Frame {
    uint64_t slot[6];
  };
  uint8_t* fast = rights == Rights::kUser ? nullptr : c.mmu.FastWriteImplicit<Frame>(top);
  if (fast != nullptr && size == sizeof(Frame)) {
    std::memcpy(fast, frame, sizeof frame);
  } else if (!c.mmu.WriteSlow(top, frame + first, size, rights, true)) {
    return false;
  }

  if (inner) {
    s.seg[kSs] = NullSegment(static_cast<uint16_t>(new_cpl));
    s.stack32 = false;
  }
  s.gpr[kRsp] = top;
  SetCs(c, selector, cs, new_cpl);
  s.rip = target;
  EnterFlags(c, gate.type() == kInterruptGate32);
  CodeSegmentChanged(s);
  return true;
}

bool DeliverProtected(SoftVcpu& c, const Event& e) {
  CpuState& s = c.s;
  const uint32_t at = e.vector * 8u;
  if (at + 7 > s.idt.limit) return Fail(c, kGp, e.gate_code());
  uint64_t raw;
  if (!ReadSystem(c, static_cast<uint32_t>(s.idt.base + at), &raw)) return false;
  const Descriptor gate{static_cast<uint32_t>(raw), static_cast<uint32_t>(raw >> 32), 0};
  const unsigned type = gate.type();
  if (gate.s() || (type != kTaskGate && type != kInterruptGate16 && type != kTrapGate16 &&
                   type != kInterruptGate32 && type != kTrapGate32)) {
    return Fail(c, kGp, e.gate_code());
  }
  if (e.software && gate.dpl() < s.cpl) return Fail(c, kGp, e.gate_code());
  if (!gate.present()) return Fail(c, kNp, e.gate_code());
  const uint16_t selector = gate.gate_selector();
  if (type == kTaskGate) {
    return SwitchTask(c, selector, TaskCause::kEvent, e.rip, e.ext,
                      e.has_error_code ? &e.error_code : nullptr);
  }
  const unsigned width = (type & 8) != 0 ? 4 : 2;
  const bool clear_if = (type & 1) == 0;
  const uint32_t code = (selector & 0xFFFCu) | e.ext;
  if (IsNull(selector)) return Fail(c, kGp, e.ext);
  Descriptor cs;
  if (!ReadDescriptor(c, selector, kGp, e.ext, &cs)) return false;
  if (!cs.is_code() || cs.dpl() > s.cpl) return Fail(c, kGp, code);
  if (!cs.present()) return Fail(c, kNp, code);
  const unsigned new_cpl = cs.conforming() ? s.cpl : cs.dpl();
  if (s.v8086 && new_cpl != 0) return Fail(c, kGp, code);
  uint64_t target = gate.gate_offset() & (width == 4 ? 0xFFFFFFFF : 0xFFFF);
  if (target > cs.limit()) return Fail(c, kGp, e.ext);
  if (!MarkAccessed(c, selector, &cs)) return false;

  if (new_cpl < s.cpl) {
    InnerStack inner;
    if (!ReadInnerStack(c, new_cpl, e.ext, &inner)) return false;
    Descriptor ss;
    if (!CheckStackSegment(c, inner.ss, new_cpl, kTs, e.ext, &ss)) return false;
    if (!MarkAccessed(c, inner.ss, &ss)) return false;
    const SegmentState new_ss = MakeSegment(inner.ss, ss);
    TransferStack stack(c, new_ss, inner.sp, Rights::kImplicitSupervisor,
                        (inner.ss & 0xFFFCu) | e.ext);
    if (s.v8086) {
      for (unsigned g : {kGs, kFs, kDs, kEs}) {
        if (!stack.Push(s.seg[g].selector, width)) return false;
      }
    }
    if (!stack.Push(s.seg[kSs].selector, width) || !stack.Push(s.gpr[kRsp], width) ||
        !stack.Push(e.rflags, width) || !stack.Push(s.seg[kCs].selector, width) ||
        !stack.Push(e.rip, width) || (e.has_error_code && !stack.Push(e.error_code, width))) {
      return false;
    }
    if (s.v8086) {
      for (unsigned g : {kGs, kFs, kDs, kEs}) s.seg[g] = NullSegment(0);
    }
    SetSs(c, new_ss);
    stack.Commit();
  } else {
    TransferStack stack(c);
    if (!stack.Push(e.rflags, width) || !stack.Push(s.seg[kCs].selector, width) ||
        !stack.Push(e.rip, width) || (e.has_error_code && !stack.Push(e.error_code, width))) {
      return false;
    }
    stack.Commit();
  }
  EnterFlags(c, clear_if);
  SetCs(c, selector, cs, new_cpl);
  s.rip = target;
  return true;
}

bool DeliverOnce(SoftVcpu& c, const Event& e) {
  if (!c.s.protected_mode) return DeliverReal(c, e);
  if (c.s.long_mode) return DeliverLong(c, e);
  return DeliverProtected(c, e);
}

bool Contributory(uint8_t vector) { return vector == kDe || (vector >= kTs && vector <= kGp); }

Event FromFault(const SoftVcpu& c, const Fault& f) {
  Event e;
  e.vector = f.vector;
  // Real mode pushes no error codes.
  e.has_error_code = f.has_error_code && c.s.protected_mode;
  e.error_code = f.error_code;
  e.rip = c.s.rip;
  e.rflags = GetRflags(c.s);
  // Faults ask to run the instruction again without its breakpoint.
  if (f.vector != kDb && f.vector != kNmi) e.rflags |= kRf;
  e.ext = 1;
  return e;
}

// Delivers `e`, then the exceptions that doing so raises (vol. 3, table 6-5).
bool DeliverAll(SoftVcpu& c, Event e, bool exception) {
  for (;;) {
    if (DeliverOnce(c, e)) return true;
    const Fault next = c.fault;
    if (next.vector == kPfault) c.s.cr2 = next.address;
    const bool second = Contributory(next.vector) || next.vector == kPfault;
    if (exception && e.vector == kDfault && second) return false;
    const bool twice = exception && ((Contributory(e.vector) && Contributory(next.vector)) ||
                                     (e.vector == kPfault && second));
    if (twice) {
      c.fault = {kDfault, true, 0, 0};
      e = FromFault(c, c.fault);
    } else {
      e = FromFault(c, next);
    }
    exception = true;
  }
}

}  // namespace

bool DeliverFault(SoftVcpu& c) {
  if (c.fault.vector == kPfault) c.s.cr2 = c.fault.address;
  return DeliverAll(c, FromFault(c, c.fault), true);
}

bool DeliverInterrupt(SoftVcpu& c, uint8_t vector) {
  Event e;
  e.vector = vector;
  e.rip = c.s.rip;
  e.rflags = GetRflags(c.s);
  e.ext = 1;
  return DeliverAll(c, e, false);
}

Step SoftwareInterrupt(SoftVcpu& c, uint8_t vector, uint64_t next_rip) {
  Event e;
  e.vector = vector;
  e.software = true;
  e.rip = next_rip;
  e.rflags = GetRflags(c.s);
  return DeliverOnce(c, e) ? Step::kBranch : Step::kFault;
}

}  // namespace atl::cpu::soft
