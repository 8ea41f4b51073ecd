// SPDX-License-Identifier: Apache-2.0
// What tests/cpu cannot see from user mode: the control bits that gate x87, MMX
// and SSE, pending errors, image formats outside 64-bit mode, and that nothing of
// the guest's settings stays in the host's units.
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "gtest/gtest.h"
#include "lib/cpu/exit.h"
#include "lib/cpu/soft/native_thunk.h"
#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/testing/guest.h"
#include "lib/cpu/soft/vcpu.h"
#include "lib/mem/address.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::soft {
namespace {

constexpr int kNone = -1;

class NativeTest : public ::testing::Test {
 protected:
  CpuState& s() { return guest_.cpu().s; }
  template <typename T>
  T Image(unsigned at) {
    T v;
    memcpy(&v, s().fpu.image + at, sizeof v);
    return v;
  }
  template <typename T>
  void SetImage(unsigned at, T v) {
    memcpy(s().fpu.image + at, &v, sizeof v);
  }
  template <typename T>
  T Load(uint64_t at) {
    return guest_.memory->Load<T>(Gpa(at)).value();
  }
  template <typename T>
  void Store(uint64_t at, T v) {
    guest_.memory->Store<T>(Gpa(at), v);
  }
  unsigned Top() { return Image<uint16_t>(FpuState::kFsw) >> 11 & 7; }

  // 64-bit mode with RSI at the data, x87 and SSE as after FNINIT.
  void Enter64() {
    guest_.Enter64();
    Fresh();
  }
  void Fresh() {
    s().gpr[kRsi] = Guest::kData;
    SetImage<uint16_t>(FpuState::kFcw, 0x37F);
    SetImage<uint16_t>(FpuState::kFsw, 0);
    s().fpu.image[FpuState::kFtw] = 0;
    SetImage<uint32_t>(FpuState::kMxcsr, 0x1F80);
  }
  // The exception's vector, or kNone where the code ran to its end.
  int Run(std::initializer_list<uint8_t> code) {
    const Exit exit = guest_.RunCode(code);
    EXPECT_EQ(exit.reason, ExitReason::kHalted) << exit.detail;
    return guest_.Vector();
  }

  Guest guest_;
};

struct Sample {
  const char* name;
  std::vector<uint8_t> code;
  int task_switched;  // the vector with CR0.TS set
  int emulation;      // with CR0.EM
  int no_osfxsr;      // without CR4.OSFXSR
};

const Sample kSamples[] = {
    {"fld1", {0xD9, 0xE8}, kNm, kNm, kNone},
    {"fnstsw ax", {0xDF, 0xE0}, kNm, kNm, kNone},
    {"fninit", {0xDB, 0xE3}, kNm, kNm, kNone},
    {"fwait", {0x9B}, kNm, kNone, kNone},
    {"fxsave [rsi]", {0x0F, 0xAE, 0x06}, kNm, kNm, kNone},
    {"paddb mm0, mm0", {0x0F, 0xFC, 0xC0}, kNm, kUd, kNone},
    {"emms", {0x0F, 0x77}, kNm, kUd, kNone},
    {"cvtps2pi mm0, xmm0", {0x0F, 0x2D, 0xC0}, kNm, kUd, kUd},
    {"addps xmm0, xmm0", {0x0F, 0x58, 0xC0}, kNm, kUd, kUd},
    {"addps xmm0, [rsi]", {0x0F, 0x58, 0x06}, kNm, kUd, kUd},
    {"pxor xmm0, xmm0", {0x66, 0x0F, 0xEF, 0xC0}, kNm, kUd, kUd},
    {"movups xmm0, [rsi]", {0x0F, 0x10, 0x06}, kNm, kUd, kUd},
    {"movd eax, xmm0", {0x66, 0x0F, 0x7E, 0xC0}, kNm, kUd, kUd},
    {"pmovmskb eax, xmm0", {0x66, 0x0F, 0xD7, 0xC0}, kNm, kUd, kUd},
    {"ptest xmm0, xmm0", {0x66, 0x0F, 0x38, 0x17, 0xC0}, kNm, kUd, kUd},
    {"ldmxcsr [rsi]", {0x0F, 0xAE, 0x16}, kNm, kUd, kUd},
    {"movnti [rsi], eax", {0x0F, 0xC3, 0x06}, kNone, kNone, kNone},
    {"sfence", {0x0F, 0xAE, 0xF8}, kNone, kNone, kNone},
};

TEST_F(NativeTest, ControlBitsGate) {
  for (const Sample& sample : kSamples) {
    SCOPED_TRACE(sample.name);
    struct {
      uint64_t cr0_set, cr4_clear;
      int vector;
    } cases[] = {{0, 0, kNone},
                 {kCr0Ts, 0, sample.task_switched},
                 {kCr0Em, 0, sample.emulation},
                 {0, kCr4Osfxsr, sample.no_osfxsr}};
    for (const auto& c : cases) {
      Enter64();
      s().cr0 |= c.cr0_set;
      s().cr4 &= ~c.cr4_clear;
      guest_.Write(Guest::kCode, sample.code);
      Store<uint8_t>(Guest::kCode + sample.code.size(), 0xF4);
      EXPECT_EQ(guest_.Run().reason, ExitReason::kHalted);
      EXPECT_EQ(guest_.Vector(), c.vector) << std::hex << c.cr0_set << " " << c.cr4_clear;
    }
  }
}

TEST_F(NativeTest, FwaitIsTrappedOnlyWithMonitorCoprocessor) {
  Enter64();
  s().cr0 = (s().cr0 | kCr0Ts) & ~kCr0Mp;
  EXPECT_EQ(Run({0x9B}), kNone);
}

TEST_F(NativeTest, UnmaskedSseExceptionLeavesTheDestination) {
  for (bool offered : {true, false}) {
    Enter64();
    if (!offered) s().cr4 &= ~kCr4Osxmmexcpt;
    SetImage<uint32_t>(FpuState::kMxcsr, 0x1F80 & ~0x200);  // zero divide
    for (unsigned i : {0, 8}) {
      SetImage<uint64_t>(FpuState::kXmm + i, 0x3F8000003F800000);
      SetImage<uint64_t>(FpuState::kXmm + 16 + i, 0);
    }
    EXPECT_EQ(Run({0x0F, 0x5E, 0xC1}), offered ? kXm : kUd);  // divps xmm0, xmm1
    EXPECT_EQ(Image<uint64_t>(FpuState::kXmm), 0x3F8000003F800000u);
    EXPECT_EQ(Image<uint32_t>(FpuState::kMxcsr), 0x1D84u);
  }
}

TEST_F(NativeTest, X87ErrorIsRaisedByTheNextWaitingInstruction) {
  Enter64();
  Store<uint16_t>(Guest::kData, 0x37B);  // zero divide unmasked
  // fldcw [rsi]; fld1; fldz; fdivp; fnstsw ax; nop; fwait
  EXPECT_EQ(Run({0xD9, 0x2E, 0xD9, 0xE8, 0xD9, 0xEE, 0xDE, 0xF9, 0xDF, 0xE0, 0x90, 0x9B}), kMf);
  EXPECT_EQ(Load<uint64_t>(s().gpr[kRsp]), Guest::kCode + 11);
  EXPECT_EQ(s().gpr[kRax] & 0xFF, 0x84u);
  EXPECT_EQ(Image<uint64_t>(FpuState::kFip), Guest::kCode + 6);
  EXPECT_EQ(Image<uint16_t>(FpuState::kFop), 0x6F9);

  // The host has none of it.
  uint16_t fcw, fsw;
  asm volatile("fnstcw %0" : "=m"(fcw));
  asm volatile("fnstsw %0" : "=m"(fsw));
  EXPECT_EQ(fcw, 0x37F);
  EXPECT_EQ(fsw & 0x80, 0);
  volatile long double third = 1.0L;
  third = third / 3;
  EXPECT_EQ(third, 1.0L / 3);
}

TEST_F(NativeTest, GuestRoundingIsNotTheHosts) {
  Enter64();
  SetImage<uint32_t>(FpuState::kMxcsr, 0xFF80);  // towards zero, flush to zero
  SetImage<uint16_t>(FpuState::kFcw, 0xC7F);     // single precision, towards zero
  EXPECT_EQ(Run({0x0F, 0x58, 0xC0, 0xD9, 0xE8, 0x0F, 0x77, 0x0F, 0xFC, 0xC0}), kNone);
  uint32_t mxcsr;
  asm volatile("stmxcsr %0" : "=m"(mxcsr));
  EXPECT_EQ(mxcsr & ~0x3Fu, kHostMxcsr);
  uint16_t fcw;
  asm volatile("fnstcw %0" : "=m"(fcw));
  EXPECT_EQ(fcw, 0x37F);
  // All eight registers can be pushed: the tags are empty.
  long double sum = 0;
  asm volatile(
      "fld1; fld1; fld1; fld1; fld1; fld1; fld1; fld1;"
      "faddp; faddp; faddp; faddp; faddp; faddp; faddp; fstpt %0"
      : "=m"(sum));
  EXPECT_EQ(sum, 8.0L);
}

TEST_F(NativeTest, FaultingStoreDoesNotPop) {
  Enter64();
  guest_.MapPage(Guest::kData, 0);
  EXPECT_EQ(Run({0xD9, 0xE8, 0xDD, 0x1E}), kPfault);  // fld1; fstp qword [rsi]
  EXPECT_EQ(s().cr2, Guest::kData);
  EXPECT_EQ(Top(), 7u);
  EXPECT_EQ(s().fpu.image[FpuState::kFtw], 0x80);
}

TEST_F(NativeTest, StoreWithUnmaskedErrorStoresNothing) {
  Enter64();
  Store<uint16_t>(Guest::kData, 0x37E);                    // invalid operation unmasked
  Store<uint64_t>(Guest::kData + 16, 0x7E37E43C8800759C);  // 1e300
  Store<uint32_t>(Guest::kData + 32, 0xAAAAAAAA);
  // fldcw [rsi]; fld qword [rsi+16]; fistp dword [rsi+32]
  EXPECT_EQ(Run({0xD9, 0x2E, 0xDD, 0x46, 0x10, 0xDB, 0x5E, 0x20}), kNone);
  EXPECT_EQ(Load<uint32_t>(Guest::kData + 32), 0xAAAAAAAAu);
  EXPECT_EQ(Top(), 7u);
  EXPECT_EQ(Image<uint16_t>(FpuState::kFsw) & 0x81, 0x81);
  EXPECT_EQ(Image<uint64_t>(FpuState::kFdp), Guest::kData + 32);
}

TEST_F(NativeTest, EnvironmentIn32BitMode) {
  guest_.Enter32();
  Fresh();
  // fninit; fld1; fstp dword [esi+64]; fnstenv [esi]
  EXPECT_EQ(Run({0xDB, 0xE3, 0xD9, 0xE8, 0xD9, 0x5E, 0x40, 0xD9, 0x36}), kNone);
  const uint32_t expected[] = {0xFFFF037F, 0xFFFF0000,        0xFFFFFFFF, Guest::kCode + 4,
                               0x15E0000,  Guest::kData + 64, 0xFFFF0000};
  for (unsigned i = 0; i < 7; i++) {
    EXPECT_EQ(Load<uint32_t>(Guest::kData + 4 * i), expected[i]) << i;
  }
  EXPECT_EQ(Load<uint32_t>(Guest::kData + 64), 0x3F800000u);
}

TEST_F(NativeTest, SaveAndRestoreInRealMode) {
  guest_.EnterReal();
  Fresh();
  s().gpr[kRsi] = 0x100;
  const uint64_t at = 0x20100;
  Store<uint16_t>(at + 94, 0xAAAA);
  EXPECT_EQ(Run({0xDB, 0xE3, 0xD9, 0xE8, 0xDD, 0x34}), kNone);  // fninit; fld1; fnsave [si]
  EXPECT_EQ(Load<uint16_t>(at), 0x37F);
  EXPECT_EQ(Load<uint16_t>(at + 2), 0x3800);
  EXPECT_EQ(Load<uint16_t>(at + 4), 0x3FFF);
  EXPECT_EQ(Load<uint16_t>(at + 6), 2);  // the offset of fld1
  EXPECT_EQ(Load<uint64_t>(at + 14), 0x8000000000000000u);
  EXPECT_EQ(Load<uint16_t>(at + 22), 0x3FFF);
  EXPECT_EQ(Load<uint16_t>(at + 94), 0xAAAA);
  EXPECT_EQ(Top(), 0u);
  EXPECT_EQ(s().fpu.image[FpuState::kFtw], 0);

  guest_.EnterReal();
  s().gpr[kRsi] = 0x100;
  EXPECT_EQ(Run({0xDD, 0x24}), kNone);  // frstor [si]
  EXPECT_EQ(Top(), 7u);
  EXPECT_EQ(s().fpu.image[FpuState::kFtw], 0x80);
  EXPECT_EQ(Image<uint16_t>(FpuState::kSt + 8), 0x3FFF);
}

TEST_F(NativeTest, FxsaveMovesWhatTheModeHas) {
  for (bool osfxsr : {true, false}) {
    guest_.Enter32();
    Fresh();
    if (osfxsr) s().cr4 |= kCr4Osfxsr;
    for (unsigned i = 0; i < 16; i++) SetImage<uint64_t>(FpuState::kXmm + 16 * i, 0x1100 + i);
    for (unsigned i = 0; i < 512; i += 8) Store<uint64_t>(Guest::kData + i, ~uint64_t{0});
    EXPECT_EQ(Run({0x0F, 0xAE, 0x06}), kNone);  // fxsave [esi]
    EXPECT_EQ(Load<uint16_t>(Guest::kData), 0x37F);
    EXPECT_EQ(Load<uint64_t>(Guest::kData + 160 + 16 * 7), osfxsr ? 0x1107u : ~uint64_t{0});
    EXPECT_EQ(Load<uint64_t>(Guest::kData + 160 + 16 * 8), ~uint64_t{0});
  }
}

TEST_F(NativeTest, ReservedBitsOfMxcsr) {
  Enter64();
  Store<uint32_t>(Guest::kData, 0x11F80);
  EXPECT_EQ(Run({0x0F, 0xAE, 0x16}), kGp);  // ldmxcsr [rsi]
  EXPECT_EQ(Image<uint32_t>(FpuState::kMxcsr), 0x1F80u);
  Enter64();
  Store<uint32_t>(Guest::kData + 24, 0x11F80);
  EXPECT_EQ(Run({0x0F, 0xAE, 0x0E}), kGp);  // fxrstor [rsi]
}

TEST_F(NativeTest, AStoreIntoItsOwnBlockTakesEffect) {
  Enter64();
  s().gpr[kRsi] = Guest::kCode + 3;
  memset(s().fpu.image + FpuState::kXmm, 0x90, 16);
  std::vector<uint8_t> code = {0x0F, 0x11, 0x06};  // movups [rsi], xmm0
  code.insert(code.end(), 16, 0xCC);               // INT3, until it is NOP
  code.push_back(0xF4);
  guest_.Write(Guest::kCode, code);
  EXPECT_EQ(guest_.Run().reason, ExitReason::kHalted);
  EXPECT_EQ(guest_.Vector(), kNone);
  EXPECT_EQ(s().rip, Guest::kCode + 20);
}

TEST_F(NativeTest, AlignmentAndPageEnds) {
  Enter64();
  s().gpr[kRsi] = Guest::kData + 8;
  EXPECT_EQ(Run({0x0F, 0x28, 0x06}), kGp);  // movaps xmm0, [rsi]
  Enter64();
  s().gpr[kRsi] = Guest::kData + 8;
  EXPECT_EQ(Run({0x0F, 0x58, 0x06}), kGp);  // addps xmm0, [rsi]
  Enter64();
  guest_.MapPage(Guest::kData + 0x1000, 0);
  s().gpr[kRsi] = Guest::kData + 0xFF8;
  Store<uint64_t>(Guest::kData + 0xFF8, 7);
  EXPECT_EQ(Run({0x0F, 0x11, 0x06}), kPfault);  // movups [rsi], xmm0
  EXPECT_EQ(s().cr2, Guest::kData + 0x1000);
  EXPECT_EQ(Load<uint64_t>(Guest::kData + 0xFF8), 7u);
}

}  // namespace
}  // namespace atl::cpu::soft
