// SPDX-License-Identifier: Apache-2.0
// The comparison itself, with another interpreter that errs where it is told to
// in place of the translator.
#include "lib/cpu/soft/verify.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "lib/cpu/soft/code_cache.h"
#include "lib/cpu/soft/testing/guest.h"

namespace atl::cpu::soft {
namespace {

class VerifyTest : public testing::Test {
 protected:
  void SetUp() override {
    guest_.Enter64();
    cpu().s.gpr[kRdi] = Guest::kData;
    cpu().s.gpr[kRax] = 0x1111;
  }
  SoftVcpu& cpu() { return guest_.cpu(); }

  // Runs the block of `code`; `err` is called after it was run the other way.
  Verifier::Result Run(
      std::vector<uint8_t> code, std::function<void()> err = [] {}) {
    code.push_back(0xEB);  // a jump ends the block
    code.push_back(0x00);
    guest_.Write(Guest::kCode, code);
    cpu().s.rip = Guest::kCode;
    Block* b = nullptr;
    EXPECT_EQ(cpu().code->Find(&b), CodeCache::Result::kBlock);
    return verifier_.Run(
        *b,
        [&] {
          ++others_;
          CpuState& s = cpu().s;
          Step step = Step::kNext;
          for (unsigned i = 0; i < b->count; ++i) {
            const Insn& in = b->insns()[i];
            step = in.run(cpu(), in);
            if (step == Step::kFault) break;
            if (step != Step::kBranch) s.rip += in.length;
            if (step != Step::kNext) break;
          }
          err();
          return step;
        },
        &step_);
  }
  bool Reports(const char* text) { return verifier_.report().find(text) != std::string::npos; }

  Guest guest_;
  Verifier verifier_{cpu(), true};
  Step step_ = Step::kNext;
  unsigned others_ = 0;
};

// inc rax; mov [rdi], rax; add qword [rdi + 8], 5; push rax
const std::vector<uint8_t> kCode = {0x48, 0xFF, 0xC0, 0x48, 0x89, 0x07,
                                    0x48, 0x83, 0x47, 0x08, 0x05, 0x50};

TEST_F(VerifyTest, TheSameIsDoneOnce) {
  guest_.memory->Store<uint64_t>(Gpa(Guest::kData + 8), 10);
  EXPECT_EQ(Run(kCode), Verifier::Result::kSame) << verifier_.report();
  EXPECT_EQ(step_, Step::kBranch);
  EXPECT_EQ(cpu().s.rip, Guest::kCode + kCode.size() + 2);
  EXPECT_EQ(cpu().s.gpr[kRax], 0x1112u);
  EXPECT_EQ(guest_.Read64(Guest::kData), 0x1112u);
  EXPECT_EQ(guest_.Read64(Guest::kData + 8), 15u);
  EXPECT_EQ(guest_.Read64(cpu().s.gpr[kRsp]), 0x1112u);
  EXPECT_EQ(others_, 1u);
  EXPECT_EQ(verifier_.compared(), 1u);
}

TEST_F(VerifyTest, ReportsARegister) {
  EXPECT_EQ(Run(kCode, [&] { cpu().s.gpr[kRbx] ^= 4; }), Verifier::Result::kDiffers);
  EXPECT_TRUE(Reports("rbx: 4, not 0")) << verifier_.report();
  EXPECT_TRUE(Reports("100000: inc rax")) << verifier_.report();
}

TEST_F(VerifyTest, ReportsAFlag) {
  EXPECT_EQ(Run(kCode, [&] { cpu().s.flags_lo ^= kZf; }), Verifier::Result::kDiffers);
  EXPECT_TRUE(Reports("rflags:")) << verifier_.report();
}

TEST_F(VerifyTest, ReportsAVectorRegister) {
  EXPECT_EQ(Run(kCode, [&] { cpu().s.fpu.image[FpuState::kXmm + 16 * 3] ^= 1; }),
            Verifier::Result::kDiffers);
  EXPECT_TRUE(Reports("xmm3:")) << verifier_.report();
}

TEST_F(VerifyTest, ReportsOtherState) {
  EXPECT_EQ(Run(kCode, [&] { cpu().s.seg[kGs].base = 7; }), Verifier::Result::kDiffers);
  EXPECT_TRUE(Reports("of the state")) << verifier_.report();
}

TEST_F(VerifyTest, ReportsMemory) {
  EXPECT_EQ(Run(kCode, [&] { guest_.memory->Store<uint8_t>(Gpa(Guest::kData + 9), 1); }),
            Verifier::Result::kDiffers);
  EXPECT_TRUE(Reports("memory (store 2 of 3, of 8 bytes)")) << verifier_.report();
}

TEST_F(VerifyTest, ReportsAnotherWayOut) {
  EXPECT_EQ(Run(kCode, [&] { cpu().s.rip += 2; }), Verifier::Result::kDiffers);
  EXPECT_TRUE(Reports("rip:")) << verifier_.report();
}

TEST_F(VerifyTest, FaultsAreCompared) {
  cpu().s.gpr[kRdi] = 0x40000000;  // not mapped
  EXPECT_EQ(Run(kCode), Verifier::Result::kSame) << verifier_.report();
  EXPECT_EQ(step_, Step::kFault);
  EXPECT_EQ(cpu().fault.vector, kPfault);
  EXPECT_EQ(cpu().s.rip, Guest::kCode + 3);
  EXPECT_EQ(Run(kCode, [&] { cpu().fault.error_code ^= 2; }), Verifier::Result::kDiffers);
  EXPECT_TRUE(Reports("error code")) << verifier_.report();
}

TEST_F(VerifyTest, DevicesAreReachedOnce) {
  guest_.MapPage(Guest::kData, 0xF0000007);
  EXPECT_EQ(Run(kCode), Verifier::Result::kInterpreted);
  EXPECT_EQ(others_, 0u);
  EXPECT_EQ(guest_.bus.mmio_writes.size(), 2u);
  EXPECT_EQ(guest_.bus.mmio_reads.size(), 1u);
  EXPECT_EQ(cpu().s.gpr[kRax], 0x1112u);
}

TEST_F(VerifyTest, InstructionsWithAnotherResultEachTimeAreRunOnce) {
  const uint64_t before = guest_.bus.now;
  EXPECT_EQ(Run({0x0F, 0x31}), Verifier::Result::kInterpreted);
  EXPECT_EQ(others_, 0u);
  EXPECT_EQ(guest_.bus.now - before, 10u);
}

TEST_F(VerifyTest, StoresToCodeAreTheInterpretersOnly) {
  cpu().s.gpr[kRdi] = Guest::kCode + 0x800;
  EXPECT_EQ(Run(kCode), Verifier::Result::kInterpreted);
  EXPECT_EQ(others_, 0u);
  EXPECT_EQ(guest_.Read64(Guest::kCode + 0x800), 0x1112u);
}

TEST_F(VerifyTest, MemoryThatADeviceChangedInBetweenIsNoDifference) {
  // add rax, [rdi]; mov [rdi + 8], rax; the value comes between the two runs.
  const std::vector<uint8_t> code = {0x48, 0x03, 0x07, 0x48, 0x89, 0x47, 0x08};
  guest_.Write(Guest::kCode, code);
  bool changed = false;
  Block* b = nullptr;
  cpu().s.rip = Guest::kCode;
  ASSERT_EQ(cpu().code->Find(&b), CodeCache::Result::kBlock);
  const Verifier::Result result = verifier_.Run(
      *b,
      [&] {
        if (!changed) guest_.memory->Store<uint64_t>(Gpa(Guest::kData), 0x2222);
        changed = true;
        for (unsigned i = 0; i < 2; ++i) {
          EXPECT_EQ(b->insns()[i].run(cpu(), b->insns()[i]), Step::kNext);
          cpu().s.rip += b->insns()[i].length;
        }
        return Step::kLeave;  // before the block's end
      },
      &step_);
  EXPECT_EQ(result, Verifier::Result::kSame) << verifier_.report();
  EXPECT_EQ(cpu().s.gpr[kRax], 0x3333u);
  EXPECT_EQ(cpu().s.rip, Guest::kCode + code.size());
  EXPECT_EQ(guest_.Read64(Guest::kData + 8), 0x3333u);
}

}  // namespace
}  // namespace atl::cpu::soft
