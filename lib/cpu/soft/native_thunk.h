// SPDX-License-Identifier: Apache-2.0
// Host code for guest instructions of x87, MMX, SSE and AVX: guest and host have the
// same instruction set, so the host executes them on the guest's state.
//
// A thunk is the guest's instruction re-encoded with fixed operands (vector
// registers 1 and 2, RAX and RCX, memory at [RDI] or [RSI]) between loads and
// stores of what it uses. VEX encodings have up to four operands: number n is
// vector register n + 1, or RAX, or memory at the n-th of [RDI], [RSI], [RDX] and
// [RCX]. A thunk depends on opcode, immediate and operand kinds only, never on the
// guest's register numbers or addresses: so a hostile guest cannot make more of
// them than there are encodings (some 115,000), and they are kept for the life of
// the process, shared by all vCPUs.
//
// Code memory is a memfd mapped twice, writable and executable.
//
// Thread rule: Find() from any thread; running a thunk, any.
#ifndef LIB_CPU_SOFT_NATIVE_THUNK_H_
#define LIB_CPU_SOFT_NATIVE_THUNK_H_

#include <cstdint>

#include "absl/status/status.h"

namespace atl::cpu::soft {

// The host's MXCSR outside thunks: C's default.
inline constexpr uint32_t kHostMxcsr = 0x1F80;

// What a thunk exchanges beside its two operands; emitted code knows the offsets.
struct ThunkFrame {
  uint32_t mxcsr_in;   // kFp: guest's control bits, masked, no flags
  uint32_t mxcsr_out;  // kFp: with the flags raised
  uint32_t mxcsr_host = kHostMxcsr;
  uint32_t unused = 0;
  uint64_t rax, rdx;  // kLengths: string lengths
  uint64_t rcx;       // kEcxOut
  // kEflagsIn, kEflagsOut: as CpuState's flags_of and flags_lo.
  uint8_t flags_of, flags_lo;
  uint8_t pad[6];
  alignas(16) uint8_t xmm0[16];  // kXmm0In, kXmm0Out
};

enum class ThunkOperand : uint8_t { kNone, kXmm, kMmx, kGpr, kMemory, kYmm };

enum ThunkFlag : uint16_t {
  kAligned = 1 << 0,      // 16-byte memory operand must be aligned
  kFp = 1 << 1,           // uses MXCSR
  kEflagsOut = 1 << 2,    // writes the arithmetic flags
  kEflagsIn = 1 << 3,     // reads them
  kXmm0In = 1 << 4,       // implicit XMM0
  kXmm0Out = 1 << 5,      //
  kLengths = 1 << 6,      // reads RAX and RDX
  kEcxOut = 1 << 7,       // writes ECX
  kX87 = 1 << 8,          // on the whole x87 state: `a` is the FXSAVE image
  kNeedsXmm = 1 << 9,     // #UD where CR4.OSFXSR is 0
  kWritesMem = 1 << 10,   // kX87: the memory operand is the destination
  kVexReadsA = 1 << 11,   // VEX: operand `a` is loaded before
  kVexWritesA = 1 << 12,  // VEX: and stored afterwards
  kHalves = 1 << 13,      // VEX: the result is of half precision
};

struct Thunk {
  // The operands' bytes (XMM 16, MMX 8, GPR 8, memory as it is). Operand `a` is
  // read and written where it is a vector register, else written.
  // VEX: bytes 16 to 31 of a vector register lie FpuState::kYmmHighFromXmm behind
  // the first; they are written (zero, with 128-bit forms) wherever the first are.
  using Code = void (*)(void* a, const void* b, const void* c, const void* d, ThunkFrame* frame);
  Code code = nullptr;
  uint16_t flags = 0;  // ThunkFlag
  ThunkOperand a = ThunkOperand::kNone, b = ThunkOperand::kNone;
  ThunkOperand c = ThunkOperand::kNone, d = ThunkOperand::kNone;  // VEX
  uint8_t mem_size = 0;  // bytes of the memory operand, 0: none
};

// What to build: the instruction's parts as it will be encoded.
struct ThunkSpec {
  uint8_t prefix = 0;  // mandatory prefix, 0: none
  bool rex_w = false;
  uint8_t map = 0;  // 0: one-byte opcode, 1: 0F, 2: 0F 38, 3: 0F 3A
  uint8_t opcode = 0;
  uint8_t modrm = 0;  // with the fixed registers in place
  bool has_imm = false;
  uint8_t imm = 0;
  bool vex = false;      // `prefix`: 0, 66, F3 or F2, as VEX.pp; `rex_w`: VEX.W
  bool vex_l = false;    // VEX.L
  uint8_t vex_vvvv = 0;  // a register's number
  Thunk thunk;           // all but `code`
};

// Makes the code memory; once, early, before the process gives up the right to.
// Find() does it too where nobody has.
absl::Status PrepareThunks();

// The thunk's number, for ThunkAt(); built at the first call. 0: no code memory.
uint32_t FindThunk(const ThunkSpec& spec);

// All thunks, by number.
extern const Thunk* const kThunks;
inline const Thunk& ThunkAt(uint32_t number) { return kThunks[number]; }

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_NATIVE_THUNK_H_
