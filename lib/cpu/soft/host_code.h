// SPDX-License-Identifier: Apache-2.0
// Code memory of the translator and what writes it. The memory is mapped twice,
// writable and executable, never both at one address. Xbyak writes what is made
// anew; Rewrite() writes a guest's instruction with its operands in new places.
#ifndef LIB_CPU_SOFT_HOST_CODE_H_
#define LIB_CPU_SOFT_HOST_CODE_H_

#include <xbyak/xbyak.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "lib/cpu/soft/translate_table.h"

namespace atl::cpu::soft {

// A memory operand of the host: base + index + disp.
struct HostMem {
  int base = -1, index = -1;  // register numbers; -1: none. `index` is not RSP
  unsigned scale = 1;
  int32_t disp = 0;
};

// ModRM's r/m: a register or memory.
struct HostRm {
  int reg = -1;
  HostMem mem;
  bool is_reg() const { return reg >= 0; }
  static HostRm Reg(int r) { return {r, {}}; }
  static HostRm Mem(const HostMem& m) { return {-1, m}; }
};

class CodeMemory {
 public:
  CodeMemory() = default;
  ~CodeMemory();
  CodeMemory(const CodeMemory&) = delete;
  CodeMemory& operator=(const CodeMemory&) = delete;
  absl::Status Map(size_t bytes);
  // Huge pages for the huge page that `at` lies in, where the system has them.
  void MakeHuge(size_t at);

  uint8_t* writable() const { return write_; }
  size_t size() const { return size_; }
  const uint8_t* Executable(const uint8_t* writable) const { return run_ + (writable - write_); }

 private:
  uint8_t* write_ = nullptr;
  uint8_t* run_ = nullptr;
  size_t size_ = 0;
  size_t huge_ = 0;  // from the start
  int fd_ = -1;
};

class HostCode : public Xbyak::CodeGenerator {
 public:
  explicit HostCode(const CodeMemory& memory)
      : Xbyak::CodeGenerator(memory.size(), memory.writable()), memory_(memory) {}

  const uint8_t* Here() const { return getCurr(); }
  const uint8_t* HereRun() const { return memory_.Executable(getCurr()); }
  void Seek(size_t to) { setSize(to); }

  // The guest's instruction `p` of `bytes` with ModRM's fields as given.
  // `byte_regs`: an 8-bit register above BL is among them, which needs a REX prefix.
  // `lock` keeps a LOCK prefix.
  void Rewrite(const Parsed& p, const uint8_t* bytes, int reg, const HostRm& rm, bool byte_regs,
               bool lock);

  // jcc and jmp with a distance patched later; give the place of the distance.
  uint8_t* Jcc(unsigned cc);
  uint8_t* Jmp();
  // `at` is a distance's place, `target` in the writable mapping.
  static void Patch(uint8_t* at, const uint8_t* target);
  void PatchHere(uint8_t* at) { Patch(at, getCurr()); }
  void JmpTo(const uint8_t* target);
  void CallTo(const uint8_t* target);

 private:
  const CodeMemory& memory_;
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_HOST_CODE_H_
