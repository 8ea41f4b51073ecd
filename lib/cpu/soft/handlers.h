// SPDX-License-Identifier: Apache-2.0
// Who executes which mnemonic: one table of entries for each exec_*.cc and
// sys_*.cc, all listed in handlers.cc and indexed by mnemonic at start-up. An
// entry chooses a handler for a decoded instruction (by operand kinds and
// sizes), or none: then the instruction is #UD.
#ifndef LIB_CPU_SOFT_HANDLERS_H_
#define LIB_CPU_SOFT_HANDLERS_H_

#include <cstdint>
#include <span>

#include "lib/cpu/soft/insn.h"

struct ZydisDecodedInstruction_;
struct ZydisDecodedOperand_;

namespace atl::cpu::soft {

// What a selector sees beside the filled-in Insn.
struct DecodedView {
  const ZydisDecodedInstruction_* insn = nullptr;
  const ZydisDecodedOperand_* operands = nullptr;  // the visible ones first
};

// May refine `in` (register numbers, thunk).
using Selector = Handler (*)(Insn& in, const DecodedView& view);

struct HandlerEntry {
  uint16_t mnemonic;  // ZydisMnemonic
  Selector select;
};

using HandlerTable = std::span<const HandlerEntry>;

// The tables, each at the foot of its file.
extern const HandlerTable kAluHandlers;       // exec_alu.cc: ADD ... CMP, TEST, INC, NEG ...
extern const HandlerTable kMoveHandlers;      // exec_move.cc: MOV, LEA, CMOV, SETcc, CBW ...
extern const HandlerTable kShiftHandlers;     // exec_shift.cc: shifts and rotates
extern const HandlerTable kMultiplyHandlers;  // exec_multiply.cc: MUL, DIV, BCD
extern const HandlerTable kBitHandlers;       // exec_bit.cc: BT, BSF, POPCNT, CRC32 ...
extern const HandlerTable kAtomicHandlers;    // exec_atomic.cc: XCHG, XADD, CMPXCHG
extern const HandlerTable kControlHandlers;   // exec_control.cc: near branches, hints, flags
extern const HandlerTable kStackHandlers;     // exec_stack.cc: PUSH, POP, ENTER ...
extern const HandlerTable kStringHandlers;    // exec_string.cc
extern const HandlerTable kSystemHandlers;    // sys_*.cc: far, CR, MSR, I/O, tables

// x87, MMX, SSE to SSE4.2, AES, PCLMULQDQ, SHA, AVX and XSAVE are chosen by Zydis' ISA set, not
// by mnemonic (MOVSD and CMPSD are string instructions too): SelectHandler() asks
// IsNative() before it looks into the tables. Null of SelectNative(): #UD, since
// the host lacks it. CRC32 and POPCNT are not native.
bool IsNative(const DecodedView& view);
Handler SelectNative(Insn& in, const DecodedView& view);

// Handler for a decoded instruction, or null (#UD).
Handler SelectHandler(Insn& in, const DecodedView& view);

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_HANDLERS_H_
