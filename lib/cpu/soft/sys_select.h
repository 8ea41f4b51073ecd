// SPDX-License-Identifier: Apache-2.0
// The selectors of sys_*.cc, listed in sys_handlers.cc, and what they share.
#ifndef LIB_CPU_SOFT_SYS_SELECT_H_
#define LIB_CPU_SOFT_SYS_SELECT_H_

#include "Zydis/Zydis.h"
#include "lib/cpu/soft/handlers.h"
#include "lib/cpu/soft/insn.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {

// sys_segment.cc
Handler SelectSegmentMove(Insn& in, const DecodedView& view);
Handler SelectSegmentPush(Insn& in, const DecodedView& view);
Handler SelectSegmentPop(Insn& in, const DecodedView& view);
Handler SelectFarPointer(Insn& in, const DecodedView& view);
Handler SelectDescriptorTable(Insn& in, const DecodedView& view);
// sys_far.cc: JMP, CALL, RET far and IRET, INT; null for the near ones
Handler SelectFar(Insn& in, const DecodedView& view);
Handler SelectInterrupt(Insn& in, const DecodedView& view);
// sys_control.cc
Handler SelectControlMove(Insn& in, const DecodedView& view);
Handler SelectControl(Insn& in, const DecodedView& view);
// sys_fast_call.cc: SYSCALL and its kin
Handler SelectFastCall(Insn& in, const DecodedView& view);
// sys_io.cc
Handler SelectPortIo(Insn& in, const DecodedView& view);

// The operand size that prefixes and mode give: for instructions whose operands
// have another one (segment registers, far pointers).
inline void UseOperandWidth(Insn& in, const DecodedView& view) {
  in.operand_size = static_cast<uint8_t>(view.insn->operand_width / 8);
}

// After MOV SS, POP SS and STI: no interrupt before the next instruction ends.
inline void HoldInterrupts(SoftVcpu& c, const Insn& in) {
  const uint64_t next = c.s.rip + in.length;
  c.s.interrupt_shadow = true;
  c.s.shadow_rip = c.in_64bit() ? next : static_cast<uint32_t>(next);
}

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_SYS_SELECT_H_
