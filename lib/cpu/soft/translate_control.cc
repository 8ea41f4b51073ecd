// SPDX-License-Identifier: Apache-2.0
// Translation of what uses the stack or ends a block.
#include "lib/cpu/soft/translate_emit.h"
#include "lib/cpu/soft/translate_write.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {

#define OFF(field) ATOLL_OFF(c_, field)

void BlockEmitter::Push(unsigned i) {
  const Insn& in = insns_[i];
  const Parsed& p = parsed_[i];
  const Form form = info_[i].form;
  int reg = -1;
  Clobber(i);  // before kScratch1 holds something
  if (form == Form::kPush) {
    reg = Use((p.opcode & 7) | (p.rex & 1 ? 8 : 0), kScratch1);
  } else if (form == Form::kPushRm) {
    if (in.has_mem) {
      const HostMem m = Operand(i, 8, false, 1, false);
      a_.mov(r14_, qword_[Expression(m)]);
      reg = kScratch1;
    } else {
      reg = Use(static_cast<int>(p.rm()), kScratch1);
    }
  }
  const HostMem m = StackOperand(i, {kGuestRsp, -1, 1, -8}, true);
  if (reg >= 0) {
    a_.mov(qword_[Expression(m)], Reg64(reg));
  } else {
    a_.mov(qword_[Expression(m)], in.imm);
  }
  a_.lea(Reg64(kGuestRsp), ptr_[Reg64(kGuestRsp) - 8]);
}

void BlockEmitter::Pop(unsigned i) {
  const Parsed& p = parsed_[i];
  const int guest = (p.opcode & 7) | (p.rex & 1 ? 8 : 0);
  const HostMem m = StackOperand(i, {kGuestRsp, -1, 1, 0}, false);
  if (guest == kRsp) {
    a_.mov(Reg64(kGuestRsp), qword_[Expression(m)]);
    return;
  }
  const bool homed = kHostOf[guest] == kHomed;
  const int reg = homed ? kScratch1 : kHostOf[guest];
  a_.mov(Reg64(reg), qword_[Expression(m)]);
  a_.lea(Reg64(kGuestRsp), ptr_[Reg64(kGuestRsp) + 8]);
  if (homed) StoreHome(guest, reg);
}

void BlockEmitter::LeaveFrame(unsigned i) {
  const HostMem m = StackOperand(i, {kHostOf[kRbp], -1, 1, 0}, false);
  a_.lea(Reg64(kGuestRsp), ptr_[Reg64(kHostOf[kRbp]) + 8]);
  a_.mov(Reg64(kHostOf[kRbp]), qword_[Expression(m)]);
}

void BlockEmitter::PushReturn(unsigned i, bool keep_scratch1) {
  const uint64_t value = Rip(i) + insns_[i].length;
  const HostMem m = StackOperand(i, {kGuestRsp, -1, 1, -8}, true);
  if (Fits32(value)) {
    a_.mov(qword_[Expression(m)], value);
  } else {
    if (keep_scratch1) a_.mov(qword_[rsp_ + OFF(t_.area_.spare)], r14_);
    a_.mov(r14_, value);
    a_.mov(qword_[Expression(m)], r14_);
    if (keep_scratch1) a_.mov(r14_, qword_[rsp_ + OFF(t_.area_.spare)]);
  }
  a_.lea(Reg64(kGuestRsp), ptr_[Reg64(kGuestRsp) - 8]);
}

void BlockEmitter::Target(unsigned i) {
  const Parsed& p = parsed_[i];
  if (insns_[i].has_mem) {
    const HostMem m = Operand(i, 8, false, 1, false);
    a_.mov(r14_, qword_[Expression(m)]);
  } else {
    const int guest = static_cast<int>(p.rm());
    if (kHostOf[guest] == kHomed) {
      Use(guest, kScratch1);
    } else {
      a_.mov(r14_, Reg64(kHostOf[guest]));
    }
  }
}

void BlockEmitter::CheckTarget(unsigned i) {
  Clobber(i);
  a_.mov(rcx_, r14_);
  a_.shl(rcx_, 16);
  a_.sar(rcx_, 16);
  a_.cmp(rcx_, r14_);
  Stub s = {};
  s.from[0] = a_.Jcc(5);
  s.handler_only = true;
  s.point = Point(i);
  stubs_.push_back(s);
}

void BlockEmitter::Control(unsigned i) {
  const Insn& in = insns_[i];
  const Parsed& p = parsed_[i];
  const uint64_t next = Rip(i) + in.length, target = next + in.imm;
  ended_ = true;
  switch (info_[i].form) {
    case Form::kJump:
      FlagsForExit();
      Count();
      LinearExit(target);
      return;
    case Form::kBranch:
      NeedHost();
      Count();
      AddExit(a_.Jcc(p.opcode & 15), target);
      LinearExit(next);
      return;
    case Form::kCall:
      PushReturn(i, false);
      FlagsForExit();
      FixStubs();
      LinearExit(target);
      return;
    case Form::kCallRm:
      Clobber(i);
      Target(i);
      CheckTarget(i);
      PushReturn(i, true);
      break;
    case Form::kJumpRm:
      Target(i);
      CheckTarget(i);
      break;
    default: {
      const HostMem m = StackOperand(i, {kGuestRsp, -1, 1, 0}, false);
      a_.mov(r14_, qword_[Expression(m)]);
      CheckTarget(i);
      a_.lea(Reg64(kGuestRsp),
             ptr_[Reg64(kGuestRsp) + 8 + (p.opcode == 0xC2 ? static_cast<uint16_t>(in.imm) : 0)]);
      break;
    }
  }
  FlagsForIndirect();
  // A handler that did it instead has left.
  FixStubs();
  Dispatch();
}

}  // namespace atl::cpu::soft
