// SPDX-License-Identifier: GPL-2.0-only
// The emulator beside this processor: random registers, flags and memory, each
// form of each instruction of the table, in 64-bit mode, executed by both.
#include <stdlib.h>
#include <sys/mman.h>

#include <cstring>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

extern "C" {
#include "kmod/emul.h"
}

namespace {

constexpr u64 kArithmetic = 0x8D5;  // CF PF AF ZF SF OF
constexpr u64 kAuxiliary = 0x10, kDirection = 0x400;
constexpr int kBase = 3;    // rbx: the memory operand is 16(%rbx)
constexpr int kState = 15;  // r15: the native side's own
constexpr size_t kMemory = 1 << 15;

struct State {
  u64 reg[15];  // rsp is not loaded
  u64 flags;
};

// Loads the registers, executes `code`, stores the registers.
class Native {
 public:
  Native()
      : page_(static_cast<u8*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {}
  ~Native() { munmap(page_, 4096); }
  bool ok() const { return page_ != MAP_FAILED; }
  void Run(const std::vector<u8>& code, State* state) {
    std::vector<u8> out = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57,  // push
                           0x49, 0x89, 0xFF,                                            // r15 = rdi
                           0x41, 0xFF, 0x77, 0x78, 0x9D};                               // flags
    Moves(&out, 0x8B);
    out.insert(out.end(), code.begin(), code.end());
    Moves(&out, 0x89);
    for (u8 b : {0x9C, 0x41, 0x8F, 0x47, 0x78, 0xFC,  // flags, cld
                 0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3}) {
      out.push_back(static_cast<u8>(b));
    }
    memcpy(page_, out.data(), out.size());
    reinterpret_cast<void (*)(State*)>(page_)(state);
  }

 private:
  // mov 8*n(%r15), %n, or back.
  static void Moves(std::vector<u8>* out, u8 opcode) {
    for (int n = 0; n < kState; ++n) {
      if (n == 4) continue;
      out->insert(out->end(), {static_cast<u8>(0x49 | (n >> 3) << 2), opcode,
                               static_cast<u8>(0x40 | (n & 7) << 3 | 7), static_cast<u8>(8 * n)});
    }
  }
  u8* page_;
};

int Read(atl_emul*, u64 linear, void* data, unsigned len) {
  memcpy(data, reinterpret_cast<const void*>(linear), len);
  return ATL_EMUL_OK;
}
int Write(atl_emul*, u64 linear, const void* data, unsigned len) {
  memcpy(reinterpret_cast<void*>(linear), data, len);
  return ATL_EMUL_OK;
}

struct Form {
  const char* name;
  std::vector<u8> opcode;
  int digit = -1;  // of ModRM, or any register
  enum Immediate { kNone, kByte, kSize } immediate = kNone;
  bool byte = false;  // the operand is a byte
  u64 undefined = 0;  // flags that the manual leaves open
  enum Kind { kPlain, kBits, kString, kNoOpsize } kind = kPlain;
};

std::vector<Form> Forms() {
  std::vector<Form> out;
  for (u8 op = 0; op < 8; ++op) {
    const u64 undefined = op == 1 || op == 4 || op == 6 ? kAuxiliary : 0;
    const u8 base = static_cast<u8>(op * 8);
    out.push_back(
        {"alu to memory", {static_cast<u8>(base + 1)}, -1, Form::kNone, false, undefined});
    out.push_back({"alu of bytes", {base}, -1, Form::kNone, true, undefined});
    out.push_back(
        {"alu from memory", {static_cast<u8>(base + 3)}, -1, Form::kNone, false, undefined});
    out.push_back({"alu from byte", {static_cast<u8>(base + 2)}, -1, Form::kNone, true, undefined});
    out.push_back({"alu with immediate", {0x81}, op, Form::kSize, false, undefined});
    out.push_back({"alu with short immediate", {0x83}, op, Form::kByte, false, undefined});
    out.push_back({"alu byte with immediate", {0x80}, op, Form::kByte, true, undefined});
  }
  const std::initializer_list<Form> more = {
      {"mov to memory", {0x89}},
      {"mov byte to memory", {0x88}, -1, Form::kNone, true},
      {"mov from memory", {0x8B}},
      {"mov byte from memory", {0x8A}, -1, Form::kNone, true},
      {"mov immediate", {0xC7}, 0, Form::kSize},
      {"mov byte immediate", {0xC6}, 0, Form::kByte, true},
      {"movsxd", {0x63}},
      {"movzx byte", {0x0F, 0xB6}},
      {"movzx word", {0x0F, 0xB7}},
      {"movsx byte", {0x0F, 0xBE}},
      {"movsx word", {0x0F, 0xBF}},
      {"movnti", {0x0F, 0xC3}, -1, Form::kNone, false, 0, Form::kNoOpsize},
      {"test", {0x85}, -1, Form::kNone, false, kAuxiliary},
      {"test byte", {0x84}, -1, Form::kNone, true, kAuxiliary},
      {"test immediate", {0xF7}, 0, Form::kSize, false, kAuxiliary},
      {"test byte immediate", {0xF6}, 0, Form::kByte, true, kAuxiliary},
      {"not", {0xF7}, 2},
      {"not byte", {0xF6}, 2, Form::kNone, true},
      {"neg", {0xF7}, 3},
      {"neg byte", {0xF6}, 3, Form::kNone, true},
      {"inc", {0xFF}, 0},
      {"dec", {0xFF}, 1},
      {"inc byte", {0xFE}, 0, Form::kNone, true},
      {"dec byte", {0xFE}, 1, Form::kNone, true},
      {"xchg", {0x87}},
      {"xchg byte", {0x86}, -1, Form::kNone, true},
      {"lock xchg", {0xF0, 0x87}, -1, Form::kNone, false, 0, Form::kNoOpsize},
      {"cmpxchg", {0x0F, 0xB1}},
      {"cmpxchg byte", {0x0F, 0xB0}, -1, Form::kNone, true},
      {"xadd", {0x0F, 0xC1}},
      {"xadd byte", {0x0F, 0xC0}, -1, Form::kNone, true},
      {"bt", {0x0F, 0xA3}, -1, Form::kNone, false, kArithmetic & ~1, Form::kBits},
      {"bts", {0x0F, 0xAB}, -1, Form::kNone, false, kArithmetic & ~1, Form::kBits},
      {"btr", {0x0F, 0xB3}, -1, Form::kNone, false, kArithmetic & ~1, Form::kBits},
      {"btc", {0x0F, 0xBB}, -1, Form::kNone, false, kArithmetic & ~1, Form::kBits},
      {"bt immediate", {0x0F, 0xBA}, 4, Form::kByte, false, kArithmetic & ~1},
      {"bts immediate", {0x0F, 0xBA}, 5, Form::kByte, false, kArithmetic & ~1},
      {"btr immediate", {0x0F, 0xBA}, 6, Form::kByte, false, kArithmetic & ~1},
      {"btc immediate", {0x0F, 0xBA}, 7, Form::kByte, false, kArithmetic & ~1},
      {"movsb", {0xA4}, -1, Form::kNone, true, 0, Form::kString},
      {"movs", {0xA5}, -1, Form::kNone, false, 0, Form::kString},
      {"cmpsb", {0xA6}, -1, Form::kNone, true, 0, Form::kString},
      {"cmps", {0xA7}, -1, Form::kNone, false, 0, Form::kString},
      {"stosb", {0xAA}, -1, Form::kNone, true, 0, Form::kString},
      {"stos", {0xAB}, -1, Form::kNone, false, 0, Form::kString},
      {"lodsb", {0xAC}, -1, Form::kNone, true, 0, Form::kString},
      {"lods", {0xAD}, -1, Form::kNone, false, 0, Form::kString},
      {"scasb", {0xAE}, -1, Form::kNone, true, 0, Form::kString},
      {"scas", {0xAF}, -1, Form::kNone, false, 0, Form::kString},
  };
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

class EmulTest : public testing::Test {
 protected:
  EmulTest() : memory_(kMemory), other_(kMemory) {}

  std::vector<u8> Encode(const Form& f, State* s) {
    std::vector<u8> code;
    const bool opsize = f.kind != Form::kNoOpsize && random_() % 3 == 0;
    bool w = random_() % 3 == 0;
    int reg = static_cast<int>(random_() % 15);
    if (f.digit >= 0) reg = f.digit;
    if (reg == 4 && f.digit < 0) reg = 5;
    const bool string = f.kind == Form::kString;
    if (opsize) code.push_back(0x66);
    if (string && random_() % 2) code.push_back(random_() % 2 ? 0xF3 : 0xF2);
    size_t at = 0;
    if (f.opcode[0] == 0xF0) code.push_back(f.opcode[at++]);
    if (w || reg > 7 || random_() % 2) {
      code.push_back(static_cast<u8>(0x40 | w << 3 | (reg > 7 && !string) << 2));
    } else {
      w = false;
    }
    code.insert(code.end(), f.opcode.begin() + static_cast<long>(at), f.opcode.end());
    if (string) {
      s->reg[1] = random_() % 20;
      for (int n : {6, 7}) s->reg[n] = Middle() + random_() % 2000;
      return code;
    }
    code.push_back(static_cast<u8>(0x40 | (reg & 7) << 3 | kBase));
    code.push_back(16);
    const int bytes = f.immediate == Form::kNone   ? 0
                      : f.immediate == Form::kByte ? 1
                      : w || !opsize               ? 4
                                                   : 2;
    for (int i = 0; i < bytes; ++i) code.push_back(static_cast<u8>(random_()));
    s->reg[kBase] = Middle();
    if (f.kind == Form::kBits && reg != kBase) {
      s->reg[reg] = static_cast<u64>(static_cast<s64>(random_() % 200000) - 100000);
    }
    // A base that is a register operand too is no bit number within reach.
    if (f.kind == Form::kBits && reg == kBase) code.clear();
    return code;
  }
  u64 Middle() { return reinterpret_cast<u64>(memory_.data()) + kMemory / 2; }

  std::mt19937_64 random_{20261123};
  std::vector<u8> memory_, other_;
  Native native_;
};

TEST_F(EmulTest, DoesWhatTheProcessorDoes) {
  ASSERT_TRUE(native_.ok());
  size_t compared = 0;
  for (const Form& f : Forms()) {
    for (int turn = 0; turn < 200; ++turn) {
      State start;
      for (u64& r : start.reg) r = random_() >> (random_() % 4 * 16);
      start.flags = 2 | (random_() & (kArithmetic | (f.kind == Form::kString ? kDirection : 0)));
      const std::vector<u8> code = Encode(f, &start);
      if (code.empty()) continue;
      // Only the middle is reached.
      for (size_t i = kMemory / 2 - 64; i < kMemory / 2 + 64; ++i) {
        memory_[i] = static_cast<u8>(random_());
      }
      // CMPXCHG that finds what it compares, now and then.
      if (turn % 2 && f.kind == Form::kPlain) memcpy(&start.reg[0], &memory_[kMemory / 2 + 16], 8);
      other_ = memory_;

      State native = start;
      native_.Run(code, &native);
      const std::vector<u8> after = memory_;
      memory_ = other_;  // in place: addresses in registers stay good

      atl_emul e{};
      memcpy(e.reg, start.reg, sizeof start.reg);
      e.rflags = start.flags;
      e.rip = 0x1000;
      e.mode = 8;
      e.protected_mode = true;
      e.read = Read;
      e.write = Write;
      memcpy(e.insn.bytes, code.data(), code.size());
      e.insn.nbytes = static_cast<u8>(code.size());
      ASSERT_EQ(atl_decode(&e), ATL_EMUL_OK) << f.name;
      ASSERT_EQ(e.insn.len, code.size()) << f.name;
      int turns = 0;
      do {
        ASSERT_EQ(atl_execute(&e), ATL_EMUL_OK) << f.name;
      } while (e.rip == 0x1000 && ++turns < 100);
      ASSERT_EQ(e.rip, 0x1000 + code.size()) << f.name;
      for (int n = 0; n < kState; ++n) {
        if (n == 4) continue;
        ASSERT_EQ(e.reg[n], native.reg[n]) << f.name << " register " << n;
      }
      const u64 flags = kArithmetic & ~f.undefined;
      ASSERT_EQ(e.rflags & flags, native.flags & flags) << f.name;
      ASSERT_TRUE(memory_ == after) << f.name;
      ++compared;
    }
  }
  EXPECT_GT(compared, 15000u);
}

// What has no operand in memory, or is not of the table, is not executed.
TEST_F(EmulTest, RefusesTheRest) {
  const std::vector<u8> cases[] = {
      {0x89, 0xC8},              // mov %ecx, %eax
      {0x0F, 0xA2},              // cpuid
      {0xF7, 0x23},              // mul (%rbx)
      {0xF0, 0x89, 0x03},        // lock mov
      {0x66, 0x0F, 0x6F, 0x03},  // movdqa
      {0xC4, 0xE1, 0x79, 0x6F, 0x03},
      {0xFF, 0x3B},  // no instruction
  };
  for (const std::vector<u8>& code : cases) {
    atl_emul e{};
    e.mode = 8;
    e.protected_mode = true;
    e.read = Read;
    e.write = Write;
    e.reg[kBase] = Middle();
    memcpy(e.insn.bytes, code.data(), code.size());
    e.insn.nbytes = static_cast<u8>(code.size());
    ASSERT_EQ(atl_decode(&e), ATL_EMUL_OK);
    EXPECT_EQ(e.insn.len, code.size());
    EXPECT_EQ(atl_execute(&e), ATL_EMUL_UNKNOWN);
  }
}

TEST_F(EmulTest, SaysWhenBytesAreMissing) {
  const u8 code[] = {0x66, 0x48, 0x81, 0x84, 0x8B, 1, 2, 3, 4, 5, 6, 7, 8};
  for (u8 n = 0; n <= sizeof code; ++n) {
    atl_emul e{};
    e.mode = 8;
    memcpy(e.insn.bytes, code, n);
    e.insn.nbytes = n;
    EXPECT_EQ(atl_decode(&e), n < sizeof code ? ATL_EMUL_SHORT : ATL_EMUL_OK) << int{n};
  }
}

}  // namespace
