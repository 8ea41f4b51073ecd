// SPDX-License-Identifier: Apache-2.0
// Repeated string instructions against a model that does one element after the
// other: any direction, overlap, page that is absent, read-only or has code, and
// address size.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "lib/cpu/soft/testing/guest.h"

namespace atl::cpu::soft {
namespace {

constexpr uint64_t kBase = 0x400000, kBytes = 4 * 4096;

enum Op { kMovs, kStos, kLods, kScas, kCmps, kOps };

// What is mapped how: by page of [kBase, kBase + kBytes).
struct Pages {
  std::array<bool, 4> present, writable;
};

struct Model {
  std::vector<uint8_t> memory;
  Pages pages;
  uint64_t rax, rcx, rsi, rdi;
  bool zero = false;
  bool fault = false;
  uint64_t fault_at = 0;

  bool Check(uint64_t at, unsigned size, bool write) {
    for (uint64_t b = at; b < at + size; ++b) {
      const uint64_t page = (b - kBase) >> 12;
      if (b < kBase || page >= 4 || !pages.present[page] || (write && !pages.writable[page])) {
        fault = true;
        // Of an access on two pages, the first byte that faults.
        fault_at = b;
        return false;
      }
    }
    return true;
  }
  uint64_t Load(uint64_t at, unsigned size) {
    uint64_t v = 0;
    std::memcpy(&v, &memory[at - kBase], size);
    return v;
  }
  void Run(Op op, unsigned size, bool down, bool repne) {
    const uint64_t step = down ? -uint64_t{size} : size;
    const uint64_t mask = size == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * size)) - 1;
    while (rcx != 0) {
      uint64_t a = 0, b = 0;
      const bool reads_source = op == kMovs || op == kLods || op == kCmps;
      if (reads_source) {
        if (!Check(rsi, size, false)) return;
        a = Load(rsi, size);
      } else {
        a = rax & mask;
      }
      if (op == kMovs || op == kStos) {
        if (!Check(rdi, size, true)) return;
        std::memcpy(&memory[rdi - kBase], &a, size);
      } else if (op == kScas || op == kCmps) {
        if (!Check(rdi, size, false)) return;
        b = Load(rdi, size);
      } else if (size == 4) {
        rax = a;
      } else {
        rax = (rax & ~mask) | a;
      }
      if (reads_source) rsi += step;
      if (op != kLods) rdi += step;
      --rcx;
      if (op == kScas || op == kCmps) {
        zero = a == b;
        if (zero == repne) return;
      }
    }
  }
};

// REP STOSD over itself: INC EAX stands where it was when the second element is there.
TEST(StringTest, OneThatOverwritesItselfIsFetchedAnew) {
  for (const bool translate : {false, true}) {
    Guest g(1, CpuModel::kMax, {.on = translate, .heat = 1, .precise = true});
    g.Enter64();
    CpuState& s = g.cpu().s;
    const uint64_t at = Guest::kCode + 0x102;
    g.Write(Guest::kCode + 0x100, {0x90, 0x90, 0xF3, 0xAB, 0xF4, 0xF4, 0xF4, 0xF4, 0xF4});
    s.gpr[kRdi] = Guest::kCode + 0xFC;
    s.gpr[kRcx] = 3;
    s.gpr[kRax] = 0xC0FFF4F4;  // hlt; hlt; inc eax
    s.rip = at;
    g.Run();
    EXPECT_EQ(s.gpr[kRcx], 1u) << translate;
    EXPECT_EQ(s.gpr[kRdi], Guest::kCode + 0x104) << translate;
    EXPECT_EQ(s.gpr[kRax], 0xC0FFF4F5u) << translate;
  }
}

TEST(StringTest, RepeatedOnesAreAsOneAfterTheOther) {
  std::mt19937_64 random(1);
  Guest g;
  unsigned faults = 0;
  for (int i = 0; i < 20000; ++i) {
    g.Enter64();
    CpuState& s = g.cpu().s;
    Model m;
    m.memory.resize(kBytes);
    // Few values, so that compares go on for a while.
    const uint64_t values = random() % 4 == 0 ? ~uint64_t{0} : 0;
    for (size_t at = 0; at < kBytes; at += 8) {
      const uint64_t v = random() & values;
      std::memcpy(&m.memory[at], &v, 8);
    }
    if (random() % 2) m.memory[random() % kBytes] = 1;
    g.Write(kBase, m.memory);
    for (unsigned p = 0; p < 4; ++p) {
      m.pages.present[p] = random() % 8 != 0;
      m.pages.writable[p] = random() % 8 != 0;
      const uint64_t at = kBase + p * 4096;
      g.MapPage(at, m.pages.present[p] ? at | 5 | (m.pages.writable[p] ? 2 : 0) : 0);
      uint32_t version;
      if (random() % 4 == 0) {
        ASSERT_TRUE(g.cpu().vm.WatchCode(at >> 12, random() % 4096, 1, g.cpu(), &version));
      }
    }
    g.MapPage(kBase - 4096, 0);
    g.MapPage(kBase + kBytes, 0);
    s.cr0 |= kCr0Wp;
    g.cpu().mmu.ModeChanged();
    const Op op = static_cast<Op>(random() % kOps);
    const unsigned log = random() % 4, size = 1u << log;
    const bool down = random() % 2, repne = random() % 2;
    m.rax = random() & values;
    m.rsi = kBase + random() % (kBytes - 8);
    m.rdi = random() % 2 ? kBase + random() % (kBytes - 8) : m.rsi + random() % 64 - 32;
    m.rcx = random() % 2 ? random() % 32 : random() % (kBytes / size);
    s.gpr[kRax] = m.rax;
    s.gpr[kRcx] = m.rcx;
    s.gpr[kRsi] = m.rsi;
    s.gpr[kRdi] = m.rdi;
    m.zero = false;
    const bool nothing = m.rcx == 0;
    static constexpr uint8_t kOpcodes[kOps] = {0xA4, 0xAA, 0xAC, 0xAE, 0xA6};
    std::vector<uint8_t> code = {down ? uint8_t{0xFD} : uint8_t{0xFC}};
    if (size == 2) code.push_back(0x66);
    code.push_back(repne ? 0xF2 : 0xF3);
    if (size == 8) code.push_back(0x48);
    code.push_back(kOpcodes[op] | (size > 1 ? 1 : 0));
    code.push_back(0xF4);
    g.Write(Guest::kCode, code);
    g.Run();
    m.Run(op, size, down, repne);
    const auto what = [&] {
      return ::testing::Message() << i << ": op " << op << " size " << size << " down " << down
                                  << " repne " << repne << std::hex << " rsi " << m.rsi << " rdi "
                                  << m.rdi;
    };
    EXPECT_EQ(g.Vector(), m.fault ? 14 : -1) << what();
    if (m.fault) {
      EXPECT_EQ(s.cr2, m.fault_at) << what();
      ++faults;
    }
    EXPECT_EQ(s.gpr[kRcx], m.rcx) << what();
    EXPECT_EQ(s.gpr[kRsi], m.rsi) << what();
    EXPECT_EQ(s.gpr[kRdi], m.rdi) << what();
    EXPECT_EQ(s.gpr[kRax], m.rax) << what();
    if ((op == kScas || op == kCmps) && !nothing && !m.fault) {
      EXPECT_EQ((s.flags_lo & kZf) != 0, m.zero) << what();
    }
    std::vector<uint8_t> now(kBytes);
    ASSERT_TRUE(g.memory->Read(Gpa(kBase), now));
    EXPECT_TRUE(now == m.memory) << what();
    if (HasFailure()) return;
  }
  EXPECT_GT(faults, 1000u);
}

// 16-bit addresses wrap in the middle of a page part, both ways.
TEST(StringTest, SixteenBitAddressesWrap) {
  for (const bool down : {false, true}) {
    Guest g;
    g.EnterReal();
    for (uint32_t i = 0; i < 0x10000; ++i) g.memory->Store<uint8_t>(Gpa(0x20000 + i), 0);
    CpuState& s = g.cpu().s;
    for (SegmentState& seg : s.seg) seg.limit = 0xFFFFFFFF;
    ModeChanged(g.cpu());
    s.gpr[kRax] = 0x55;
    s.gpr[kRcx] = 0x20;
    s.gpr[kRdi] = down ? 0x0F : 0xFFF0;
    g.RunCode({down ? uint8_t{0xFD} : uint8_t{0xFC}, 0xF3, 0xAA});
    EXPECT_EQ(g.Read8(0x20000), 0x55);
    EXPECT_EQ(g.Read8(0x2000F), 0x55);
    EXPECT_EQ(g.Read8(0x20010), 0);
    EXPECT_EQ(g.Read8(0x2FFF0), 0x55);
    EXPECT_EQ(g.Read8(0x2FFFF), 0x55);
    EXPECT_EQ(g.Read8(0x2FFEF), 0);
    EXPECT_EQ(s.gpr[kRdi], down ? 0xFFEFu : 0x10u);
    EXPECT_EQ(s.gpr[kRcx], 0u);
  }
}

}  // namespace
}  // namespace atl::cpu::soft
