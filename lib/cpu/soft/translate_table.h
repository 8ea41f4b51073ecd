// SPDX-License-Identifier: Apache-2.0
// How the translator takes each instruction: an instruction's bytes taken apart,
// and a table from opcode to what the host instruction of the same opcode reads
// and writes. What the table does not name is left to the interpreter.
#ifndef LIB_CPU_SOFT_TRANSLATE_TABLE_H_
#define LIB_CPU_SOFT_TRANSLATE_TABLE_H_

#include <cstdint>

#include "lib/cpu/soft/insn.h"

namespace atl::cpu::soft {

enum class Form : uint8_t {
  kInterpret,  // by its handler
  kNothing,    // no effect: NOP, ENDBR, prefetches
  kVerbatim,   // no ModRM, only RAX and RDX: the bytes as they are
  kModrm,      // ModRM with registers in new places and memory checked
  kShiftCl,    // the same with the count in CL
  kDivide,     // DIV
  kDivideSigned,
  kLea,
  kMoveImm,  // B8+r
  kMoveImm8,
  kExchange,  // 90+r
  kSwapBytes,
  kPush,  // 50+r
  kPop,
  kPushImm,
  kPushRm,
  kLeaveFrame,
  kJump,  // relative
  kJumpRm,
  kBranch,  // Jcc
  kCall,
  kCallRm,
  kReturn,
  kCompare16,  // CMPXCHG8B and 16B
};

// Arithmetic flags at their places in RFLAGS.
inline constexpr uint16_t kNoFlags = 0, kAllFlags = 0x8D5, kCarryFlag = 1, kOverflowFlag = 0x800,
                          kZeroFlag = 0x40;

enum Use : uint8_t { kUnused = 0, kRead = 1, kWrite = 2, kReadWrite = 3 };
enum class File : uint8_t { kNone, kGpr, kVector };

struct OpInfo {
  Form form = Form::kInterpret;
  File reg_file = File::kNone, rm_file = File::kNone;  // of ModRM's fields
  Use reg = kUnused, rm = kUnused;
  bool reg_byte = false, rm_byte = false;  // 8-bit registers
  bool bit_string = false;                 // with memory it reaches beyond the operand
  uint8_t align = 1;                       // that the memory operand must have
  bool vector = false;                     // needs the vector registers in the host's
  bool x87 = false;                        // needs the x87 state there
  bool whole_register = false;             // writes more of a register than of memory
  Use vvvv = kUnused;                      // VEX.vvvv as a general register
  bool rm16 = false;                       // MOVZX, MOVSX from 16 bits
  uint16_t reads = 0, writes = 0;          // arithmetic flags
  uint16_t undefined = 0;                  // of `writes`; may depend on what was there
};

// An instruction's bytes taken apart (vol. 2, 2.1).
struct Parsed {
  uint8_t rex = 0;     // 0: none
  uint8_t prefix = 0;  // F2 or F3, 0: none
  bool size16 = false, lock = false;
  uint8_t map = 0;  // 0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A
  uint8_t opcode = 0;
  uint8_t modrm = 0;
  bool has_modrm = false;
  bool vex = false, vex_l = false;
  uint8_t vex_pp = 0, vex_vvvv = 0;
  uint8_t imm_at = 0, imm_size = 0;  // the immediate in the bytes

  unsigned reg() const { return (modrm >> 3 & 7) | (rex & 4 ? 8 : 0); }
  unsigned rm() const { return (modrm & 7) | (rex & 1 ? 8 : 0); }
  bool wide() const { return rex & 8; }
};

// False: not an encoding that the table knows anything of.
bool Parse(const Insn& in, Parsed* out);
OpInfo Classify(const Insn& in, const Parsed& p);
// Of x87, SSE, AVX and BMI, for Classify().
OpInfo ClassifyX87(const Parsed& p);
OpInfo ClassifyVector(const Insn& in, const Parsed& p);

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_TRANSLATE_TABLE_H_
