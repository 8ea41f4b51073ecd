// SPDX-License-Identifier: Apache-2.0
// Makes the cases of the differential tester: all instruction forms that a
// filter admits, found by decoding every opcode under every prefix, and random
// instances of a form with registers and memory that suit it.
#ifndef TESTS_CPU_GENERATOR_H_
#define TESTS_CPU_GENERATOR_H_

#include <Zydis/Zydis.h>

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/cpu/machine_state.h"

namespace atl::cpu::test {

// splitmix64: the same cases from the same seed on every host.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>((Next() >> 32) * n >> 32); }
  bool Percent(unsigned p) { return Below(100) < p; }

 private:
  uint64_t state_;
};

struct Decoded {
  ZydisDecodedInstruction insn;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

// A mnemonic with operand kinds and sizes and its prefixes of meaning.
struct Form {
  std::string name;  // "add mem32 gpr32", "rep movsb"
  ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;
  // Encodings, up to and with ModRM, that decode to it.
  std::vector<std::vector<uint8_t>> encodings;
  bool vex = false;
  unsigned runs = 0;
};

// Admits an instruction into the test.
using Filter = std::function<bool(const Decoded&)>;

class Generator {
 public:
  Generator(uint64_t seed, Filter filter);

  std::vector<Form>& forms() { return forms_; }
  bool Decode(const std::vector<uint8_t>& code, Decoded* out) const;

  // One instruction of `form`. The data pages stay as they are until the next call.
  Case MakeOne(const Form& form);
  // `count` instructions of random forms, none of them a branch.
  Case MakeBlock(unsigned count);

 private:
  struct Key;
  void FindForms();
  void FindVexForms();
  // Files what `code` decodes to, with some bytes behind it, under its form. True
  // where it did and the instruction ends before the last byte, having no ModRM.
  bool AddEncoding(std::vector<uint8_t> code, size_t head_size);
  // Other registers in a VEX prefix.
  void VaryVex(const Decoded& d, std::vector<uint8_t>* head);
  // For what names the components in EDX:EAX; false where those are its address.
  bool PrepareXsave(const Decoded& d, Case* c);
  void WriteXsaveHeader(uint64_t area_at);
  unsigned AlignmentOf(const Decoded& d);
  bool AimGather(const Decoded& d, Case* c);
  // Appends an instance; false where none was found in some tries. `aimed`: Aim()
  // follows.
  bool Append(const Form& form, bool aimed, Case* c, Decoded* out);
  // Makes `d`'s memory operand point to somewhere of interest; false where it
  // cannot be made to as it must.
  bool Aim(const Decoded& d, size_t at, Case* c);
  // `align`: 0 or a power of two. `edge`: near where a page ends.
  uint64_t TargetAddress(unsigned align, bool edge = false);
  void RandomRegisters(Registers* r);
  void RandomFpu(uint8_t* fx);
  uint64_t RandomWord();
  void RefreshData();

  Random random_;
  Filter filter_;
  ZydisDecoder decoder_;
  std::vector<Form> forms_;
  std::vector<size_t> straight_;                   // of forms_: fit for blocks
  std::unordered_map<std::string, size_t> known_;  // forms_ by name
  DataPages data_;
  uint64_t fs_base_;
};

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_GENERATOR_H_
