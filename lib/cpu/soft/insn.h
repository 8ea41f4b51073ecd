// SPDX-License-Identifier: Apache-2.0
// A decoded instruction: everything that executing it needs, in one cache line,
// made once by the decoder (decode.h) and kept in the code cache. The
// interpreter calls `run`; the translator reads the fields.
#ifndef LIB_CPU_SOFT_INSN_H_
#define LIB_CPU_SOFT_INSN_H_

#include <cstdint>

#include "lib/cpu/regs.h"

namespace atl::cpu::soft {

class SoftVcpu;
struct Insn;

// How an instruction ended.
enum class Step : uint8_t {
  // Done; the loop adds the length to rip and goes on in the block.
  kNext,
  // rip was set by the instruction (a taken branch; or left unchanged to run
  // the same instruction again after looking at interrupts, for REP).
  kBranch,
  // Done as kNext, but what blocks rest on may have changed (mode, paging,
  // segments, interrupt flag, code bytes): leave the block, look at events.
  kLeave,
  // The exception in SoftVcpu::fault; rip is still this instruction's and
  // nothing architectural has changed but what the manual says has.
  kFault,
  // Leave Run() with SoftVcpu::exit after adding the length to rip.
  kExit,
};

using Handler = Step (*)(SoftVcpu& c, const Insn& in);

// Register numbers in Insn: 0-15 are Gpr; kHigh8 + n is AH, CH, DH, BH.
inline constexpr uint8_t kNoReg = 0xFF;
inline constexpr uint8_t kRipReg = 0x10;
inline constexpr uint8_t kHigh8 = 0x20;

// CpuState's slot, counted from gpr[0], that always reads zero.
inline constexpr uint8_t kZeroSlot = 0x11;

// How a block goes on after its last instruction.
enum class Flow : uint8_t {
  kStraight,  // no branch, or one after which events are looked at (far, REP, system)
  kDirect,    // a near branch to rip + length + imm, perhaps conditional
  kIndirect,  // a near branch to an address in a register or memory
};

struct alignas(64) Insn {
  Handler run = nullptr;
  uint64_t imm = 0;  // sign-extended to 64 bits; branches: the displacement
  // Of the memory operand (moffs: the address; far pointers: the selector).
  // RIP-relative: counted from the instruction's first byte, so that `rip`
  // while it runs is the base.
  int64_t disp = 0;
  uint16_t mnemonic = 0;     // ZydisMnemonic
  uint8_t length = 0;        // bytes, 1 to 15
  uint8_t operand_size = 4;  // bytes: 1, 2, 4, 8 of the main operands
  uint8_t address_size = 4;  // bytes: 2, 4, 8
  // Operands that are general registers, in the order of the manual's operand
  // list; a memory operand leaves its place kNoReg. The selectors of native_*.cc
  // put the numbers of vector registers here too.
  uint8_t reg0 = kNoReg, reg1 = kNoReg, reg2 = kNoReg;
  // Memory operand: base + index * scale + disp in segment `seg`.
  uint8_t base = kNoReg, index = kNoReg, scale = 1, seg = kDs;
  uint8_t mem_size = 0;  // bytes of the memory operand where <= 64, else 0
  bool has_mem : 1 = false, lock : 1 = false, rep : 1 = false, repne : 1 = false;
  uint8_t imm2 = 0;  // ENTER's level, EXTRQ's and the like
  // Where ModRM lies in `bytes` (0: none), for re-encoding by native.h.
  uint8_t modrm_at = 0;
  uint8_t bytes[15] = {};
  Flow flow = Flow::kStraight;
  // The same memory operand as slots of CpuState: Gpr, kRipReg or kZeroSlot.
  uint8_t base_slot = kZeroSlot, index_slot = kZeroSlot, scale_shift = 0;
  uint32_t thunk = 0;  // native_*.cc: which host code; set by the selector
};
static_assert(sizeof(Insn) == 64);

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_INSN_H_
