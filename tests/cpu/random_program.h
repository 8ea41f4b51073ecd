// SPDX-License-Identifier: Apache-2.0
// Random programs: not single instructions but what instructions do to each
// other: loops, calls, branches through registers and tables, flags used far
// from where they were made, stores to code, pages mapped anew, single steps.
//
// A program is a list of pieces, mostly one instruction each, that name each
// other by number, so that a failing one can be made smaller by leaving pieces
// out. It ends at its last piece, an INT3. Loops are bounded by counters that
// nothing but a stray store or a fault changes.
#ifndef TESTS_CPU_RANDOM_PROGRAM_H_
#define TESTS_CPU_RANDOM_PROGRAM_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/cpu/generator.h"
#include "tests/cpu/machine_state.h"

namespace atl::cpu::test {

struct Piece {
  // Four of its bytes that depend on where things lie. Relative is to its end.
  struct Fix {
    enum Kind : uint8_t {
      kRelative,  // to byte `offset` of piece `target`, plus `add`
      kToPlace,   // to the linear address `target`
      kAbsolute,  // the linear address of piece `target`
    };
    Kind kind = kRelative;
    uint8_t at = 0;
    uint8_t offset = 0;
    uint64_t target = 0;
    uint64_t add = 0;
  };
  std::vector<uint8_t> bytes;
  std::optional<Fix> fix;
  bool may_be_short = false;  // JMP or Jcc: takes its short form where that reaches
  // After a fault here go on at Program::recovery, not at the next piece.
  bool recover = false;
  bool dropped = false;
};

struct Program {
  enum Kind : uint8_t {
    kUser,
    kKernel,
    kHost,  // user mode, and nothing that the host's processor could not do alike
  };
  // Eight bytes of memory that hold a piece's address.
  struct Pointer {
    uint64_t at;
    size_t piece;
  };

  Kind kind = kUser;
  // No instruction reads flags that the one before leaves undefined.
  bool defined_flags = true;
  uint64_t offset = 0;  // of the code in its pages
  std::vector<Piece> pieces;
  std::vector<Pointer> pointers;
  size_t entry = 0, recovery = 0;
  Registers start;  // but for rip, which is where the entry lies
  DataPages data;
};

// A program's bytes, placed.
struct Assembled {
  std::vector<uint8_t> code;  // from kCodeAt + Program::offset
  std::vector<uint64_t> at;   // linear address of each piece
};
// Nothing where it does not fit its pages.
std::optional<Assembled> Assemble(const Program& program);

std::string Disassemble(const Program& program, const Assembled& assembled);

class ProgramGenerator {
 public:
  // `general`: only what every x86-64 has, on general registers, and no prefixes or
  // opcodes that are without meaning: emulated hosts decode those as they like.
  explicit ProgramGenerator(uint64_t seed, bool general = false);
  Program Make(Program::Kind kind);
  const Generator& instructions() const { return generator_; }

 private:
  // Of forms: what they are used for.
  enum Group : unsigned { kInteger, kIntegerMemory, kVector, kX87, kString, kGroups };

  void Statements(unsigned count, unsigned depth);
  void Statement(unsigned depth);
  void Straight();
  bool InstructionOf(Group group);
  bool PrepareOperands(const Decoded& d, Case* c);
  void FlagsFarApart(unsigned depth);
  void If(unsigned depth);
  void Loop(unsigned depth);
  void Stack(unsigned depth);
  void Call();
  void Switch(unsigned depth);
  void StoreToCode(bool later);
  void SingleSteps(unsigned depth);
  void Remap();
  void Fault();
  void SystemCall();
  void StringCopy();
  void Oddity(unsigned depth);

  // Append; give the piece's number.
  size_t Emit(std::vector<uint8_t> bytes);
  size_t EmitFixed(std::vector<uint8_t> bytes, Piece::Fix fix);  // at the last 4 bytes
  size_t EmitPlace(std::vector<uint8_t> bytes, uint64_t place);  // 4 bytes follow
  // JMP (0xE9) or Jcc (0x80 to 0x8F) to a piece; Land() where it comes later.
  size_t EmitBranch(uint8_t opcode, size_t to = 0);
  void Land(size_t branch);  // at the next piece
  size_t EmitPatchable();
  void MoveImmediate(unsigned reg, uint64_t value);
  void LeaCode(unsigned reg, size_t piece);
  void Join() { known_.fill(std::nullopt); }  // control comes here from elsewhere
  unsigned FreeRegister();
  uint64_t SomeData(unsigned size);

  Random random_;
  Generator generator_;
  std::vector<size_t> groups_[kGroups];
  Program* p_ = nullptr;
  // Registers whose values are known in straight code, and those that must stay.
  std::array<std::optional<uint64_t>, 16> known_;
  unsigned kept_ = 0;
  uint64_t counters_ = 0, tables_ = 0;
  std::vector<size_t> functions_;  // their first pieces
  // Pieces with a 32-bit immediate, and where in them.
  std::vector<std::pair<size_t, uint8_t>> patchable_;
};

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_RANDOM_PROGRAM_H_
