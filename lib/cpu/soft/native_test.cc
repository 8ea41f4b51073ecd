// SPDX-License-Identifier: Apache-2.0
// What tests/cpu cannot see from user mode: the control bits that gate x87, MMX, SSE
// and AVX, what XSAVE says is in use, XCR0, pending errors, image formats outside 64-bit mode, and
// that nothing of the guest's settings stays in the host's units.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "lib/cpu/exit.h"
#include "lib/cpu/soft/cpuid.h"
#include "lib/cpu/soft/decode.h"
#include "lib/cpu/soft/insn.h"
#include "lib/cpu/soft/model.h"
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

// Whether the instruction before was translated must not be seen.
TEST_F(NativeTest, PointersAreZeroWhereAllIsMasked) {
  Enter64();
  // fninit; fld1; fst dword [rsi+64]; fnstenv [rsi]
  EXPECT_EQ(Run({0xDB, 0xE3, 0xD9, 0xE8, 0xD9, 0x56, 0x40, 0xD9, 0x36}), kNone);
  EXPECT_EQ(Load<uint32_t>(Guest::kData + 12), 0u);
  EXPECT_EQ(Load<uint32_t>(Guest::kData + 20), 0u);
}

TEST_F(NativeTest, PointersAreRightWhereAnExceptionIsUnmasked) {
  Enter64();
  Store<uint16_t>(Guest::kData + 128, 0x37E);  // invalid operation unmasked
  // fninit; fldcw [rsi+128]; fld1; fst dword [rsi+64]; fnstenv [rsi]
  EXPECT_EQ(Run({0xDB, 0xE3, 0xD9, 0xAE, 0x80, 0, 0, 0, 0xD9, 0xE8, 0xD9, 0x56, 0x40, 0xD9, 0x36}),
            kNone);
  EXPECT_EQ(Load<uint32_t>(Guest::kData + 12), Guest::kCode + 10);
  EXPECT_EQ(Load<uint32_t>(Guest::kData + 20), Guest::kData + 64);
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

// ---- AVX and XSAVE ----

class XsaveTest : public NativeTest {
 protected:
  static constexpr uint64_t kArea = Guest::kData + 64, kBv = kArea + 512, kComp = kArea + 520;

  void SetUp() override {
    if (SupportedXcr0(CpuModel::kMax) != 7) FAIL() << "the host has no AVX";
    Enable();
  }
  void Enable() {
    Enter64();
    s().cr4 |= kCr4Osxsave;
    s().xcr0 = 7;
    s().gpr[kRsi] = kArea;
    s().gpr[kRax] = 7;
    s().gpr[kRdx] = 0;
    for (unsigned i = 0; i < 832; i += 8) Store<uint64_t>(kArea + i, 0);
  }
  // Everything as after reset and FNINIT.
  void Initial() {
    memset(s().fpu.image, 0, 512);
    memset(s().fpu.ymm_high, 0, sizeof s().fpu.ymm_high);
    SetImage<uint16_t>(FpuState::kFcw, 0x37F);
    SetImage<uint32_t>(FpuState::kMxcsr, 0x1F80);
  }
  // From the start, whatever ran before.
  int Again(std::initializer_list<uint8_t> code) {
    s().rip = Guest::kCode;
    return Run(code);
  }
  int Xsave() { return Again({0x48, 0x0F, 0xAE, 0x26}); }
  int Xsaveopt() { return Again({0x48, 0x0F, 0xAE, 0x36}); }
  int Xsavec() { return Again({0x48, 0x0F, 0xC7, 0x26}); }
  int Xrstor() { return Again({0x48, 0x0F, 0xAE, 0x2E}); }
  int Xgetbv(uint32_t which) {
    s().gpr[kRcx] = which;
    return Again({0x0F, 0x01, 0xD0});
  }
  int Xsetbv(uint64_t value, uint32_t which = 0) {
    s().gpr[kRcx] = which;
    s().gpr[kRax] = static_cast<uint32_t>(value);
    s().gpr[kRdx] = value >> 32;
    return Again({0x0F, 0x01, 0xD1});
  }
};

TEST_F(XsaveTest, ControlBitsGate) {
  const std::vector<uint8_t> kVex = {0xC5, 0xFC, 0x58, 0xC0};         // vaddps ymm0, ymm0, ymm0
  const std::vector<uint8_t> kVexLoad = {0xC5, 0xF8, 0x10, 0x06};     // vmovups xmm0, [rsi]
  const std::vector<uint8_t> kXsave = {0x0F, 0xAE, 0x26};             // xsave [rsi]
  const std::vector<uint8_t> kXrstor = {0x0F, 0xAE, 0x2E};            // xrstor [rsi]
  const std::vector<uint8_t> kAndn = {0xC4, 0xE2, 0x78, 0xF2, 0xC1};  // andn eax, eax, ecx
  const std::vector<uint8_t> kZero = {0xC5, 0xF8, 0x77};              // vzeroupper
  struct {
    uint64_t cr0_set, cr4_clear, xcr0;
    int vex, xsave, andn;
  } const cases[] = {{0, 0, 7, kNone, kNone, kNone},      {kCr0Ts, 0, 7, kNm, kNm, kNone},
                     {kCr0Em, 0, 7, kNone, kNone, kNone}, {0, kCr4Osfxsr, 7, kNone, kNone, kNone},
                     {kCr0Ts, 0, 3, kUd, kNm, kNone},     {0, kCr4Osxsave, 7, kUd, kUd, kNone},
                     {0, 0, 3, kUd, kNone, kNone},        {0, 0, 1, kUd, kNone, kNone}};
  for (const auto& c : cases) {
    for (const auto& [code, vector] :
         std::initializer_list<std::pair<std::vector<uint8_t>, int>>{{kVex, c.vex},
                                                                     {kVexLoad, c.vex},
                                                                     {kZero, c.vex},
                                                                     {kXsave, c.xsave},
                                                                     {kXrstor, c.xsave},
                                                                     {kAndn, c.andn}}) {
      Enable();
      s().cr0 |= c.cr0_set;
      s().cr4 &= ~c.cr4_clear;
      s().xcr0 = c.xcr0;
      guest_.Write(Guest::kCode, code);
      Store<uint8_t>(Guest::kCode + code.size(), 0xF4);
      EXPECT_EQ(guest_.Run().reason, ExitReason::kHalted);
      EXPECT_EQ(guest_.Vector(), vector)
          << std::hex << unsigned{code[0]} << " " << unsigned{code[1]} << " cr0 " << c.cr0_set
          << " cr4 without " << c.cr4_clear << " xcr0 " << c.xcr0;
    }
  }
}

TEST_F(XsaveTest, VexIsUndefinedInRealMode) {
  guest_.EnterReal();
  s().cr4 |= kCr4Osxsave;
  s().xcr0 = 7;
  EXPECT_EQ(Run({0xC5, 0xF8, 0x58, 0xC0}), kUd);  // vaddps
  guest_.EnterReal();
  EXPECT_EQ(Run({0xC4, 0xE2, 0x78, 0xF2, 0xC1}), kUd);  // andn
  guest_.EnterReal();
  EXPECT_EQ(Run({0xC4, 0xE2, 0x73, 0xF6, 0xC1}), kUd);  // mulx
}

TEST_F(XsaveTest, Xcr0) {
  EXPECT_EQ(Xsetbv(7), kNone);
  EXPECT_EQ(s().xcr0, 7u);
  EXPECT_EQ(Xsetbv(1), kNone);
  EXPECT_EQ(Xsetbv(3), kNone);
  EXPECT_EQ(s().xcr0, 3u);
  for (uint64_t bad : {uint64_t{0}, uint64_t{2}, uint64_t{5}, uint64_t{0xF}, uint64_t{0xE7},
                       uint64_t{1} << 63 | 7}) {
    Enable();
    EXPECT_EQ(Xsetbv(bad), kGp) << std::hex << bad;
    EXPECT_EQ(s().xcr0, 7u);
  }
  Enable();
  EXPECT_EQ(Xsetbv(7, 1), kGp);
  Enable();
  EXPECT_EQ(Xgetbv(2), kGp);
  Enable();
  Initial();
  s().gpr[kRdx] = 5;
  EXPECT_EQ(Xgetbv(0), kNone);
  EXPECT_EQ(s().gpr[kRax], 7u);
  EXPECT_EQ(s().gpr[kRdx], 0u);
  EXPECT_EQ(Xgetbv(1), kNone);
  EXPECT_EQ(s().gpr[kRax], 0u);
  s().fpu.ymm_high[15][15] = 1;
  EXPECT_EQ(Xgetbv(1), kNone);
  EXPECT_EQ(s().gpr[kRax], 4u);
  Enable();
  s().cr4 &= ~kCr4Osxsave;
  EXPECT_EQ(Xgetbv(0), kUd);
  Enable();
  s().cr4 &= ~kCr4Osxsave;
  EXPECT_EQ(Xsetbv(7), kUd);
}

TEST_F(XsaveTest, HeaderSaysWhatIsInUse) {
  for (unsigned used = 0; used < 8; used++) {
    for (unsigned asked = 0; asked < 8; asked++) {
      SCOPED_TRACE(testing::Message() << "in use " << used << ", asked for " << asked);
      const auto set = [&] {
        Enable();
        Initial();
        if (used & 1) SetImage<uint64_t>(FpuState::kSt + 112, 0xAAAA);
        if (used & 2) SetImage<uint64_t>(FpuState::kXmm + 240, 0xBBBB);
        if (used & 4) s().fpu.ymm_high[15][0] = 0xCC;
        s().gpr[kRax] = asked;
        Store<uint64_t>(kBv, 0xF8 | (~used & 7));
        Store<uint64_t>(kComp, 0x55);
        Store<uint64_t>(kArea + 32 + 112, ~uint64_t{0});
        Store<uint64_t>(kArea + 160 + 240, ~uint64_t{0});
        Store<uint64_t>(kArea + 576 + 240, ~uint64_t{0});
      };
      const uint64_t merged = 0xF8 | (~used & 7 & ~asked) | (used & asked);
      const auto x87 = [&] { return Load<uint64_t>(kArea + 32 + 112); };
      const auto sse = [&] { return Load<uint64_t>(kArea + 160 + 240); };
      const auto avx = [&] { return Load<uint64_t>(kArea + 576 + 240); };
      const uint64_t v[] = {used & 1 ? 0xAAAAu : 0, used & 2 ? 0xBBBBu : 0, used & 4 ? 0xCCu : 0};

      set();
      EXPECT_EQ(Xsave(), kNone);
      EXPECT_EQ(Load<uint64_t>(kBv), merged);
      EXPECT_EQ(Load<uint64_t>(kComp), 0x55u);
      EXPECT_EQ(x87(), asked & 1 ? v[0] : ~uint64_t{0});
      EXPECT_EQ(sse(), asked & 2 ? v[1] : ~uint64_t{0});
      EXPECT_EQ(avx(), asked & 4 ? v[2] : ~uint64_t{0});
      EXPECT_EQ(Load<uint32_t>(kArea + 24), asked & 6 ? 0x1F80u : 0);

      set();
      EXPECT_EQ(Xsaveopt(), kNone);
      EXPECT_EQ(Load<uint64_t>(kBv), merged);
      EXPECT_EQ(x87(), asked & used & 1 ? v[0] : ~uint64_t{0});
      EXPECT_EQ(sse(), asked & used & 2 ? v[1] : ~uint64_t{0});
      EXPECT_EQ(avx(), asked & used & 4 ? v[2] : ~uint64_t{0});

      set();
      EXPECT_EQ(Xsavec(), kNone);
      EXPECT_EQ(Load<uint64_t>(kBv), asked & used);
      EXPECT_EQ(Load<uint64_t>(kComp), uint64_t{1} << 63 | asked);
      EXPECT_EQ(x87(), asked & used & 1 ? v[0] : ~uint64_t{0});
      EXPECT_EQ(sse(), asked & used & 2 ? v[1] : ~uint64_t{0});
      EXPECT_EQ(avx(), asked & used & 4 ? v[2] : ~uint64_t{0});
      EXPECT_EQ(Load<uint32_t>(kArea + 24), asked & used & 2 ? 0x1F80u : 0);
    }
  }
}

TEST_F(XsaveTest, WhatIsSavedComesBack) {
  for (bool compact : {false, true}) {
    for (uint64_t at : {kArea, Guest::kData + 0x1000 - 64}) {  // and across a page's end
      Enable();
      s().gpr[kRsi] = at;
      for (unsigned i = 0; i < 512; i++) s().fpu.image[i] = static_cast<uint8_t>(i * 7);
      SetImage<uint16_t>(FpuState::kFcw, 0x37F);
      SetImage<uint16_t>(FpuState::kFsw, 0x3800);
      SetImage<uint16_t>(FpuState::kFop, 0x123);
      s().fpu.image[5] = 0;
      for (unsigned i = 0; i < 8; i++) memset(s().fpu.image + 32 + 16 * i + 10, 0, 6);
      SetImage<uint32_t>(FpuState::kMxcsr, 0x1FA0);
      for (unsigned i = 0; i < 256; i++)
        s().fpu.ymm_high[i / 16][i % 16] = static_cast<uint8_t>(~i);
      const FpuState saved = s().fpu;
      for (unsigned i = 512; i < 576; i += 8) Store<uint64_t>(at + i, 0);
      EXPECT_EQ(compact ? Xsavec() : Xsave(), kNone);
      Initial();
      EXPECT_EQ(Xrstor(), kNone);
      EXPECT_EQ(memcmp(saved.image, s().fpu.image, 28), 0);
      EXPECT_EQ(memcmp(saved.image + 32, s().fpu.image + 32, 384), 0);
      EXPECT_EQ(memcmp(saved.ymm_high, s().fpu.ymm_high, 256), 0);

      // With nothing in XSTATE_BV all goes to its initial configuration, but MXCSR,
      // which the standard form loads always.
      Store<uint64_t>(at + 512, 0);
      EXPECT_EQ(Xrstor(), kNone);
      const uint32_t mxcsr = Image<uint32_t>(FpuState::kMxcsr);
      EXPECT_EQ(mxcsr, compact ? 0x1F80u : 0x1FA0u);
      const FpuState now = s().fpu;
      Initial();
      EXPECT_EQ(memcmp(now.image, s().fpu.image, 24), 0);
      EXPECT_EQ(memcmp(now.image + 32, s().fpu.image + 32, 384), 0);
      EXPECT_EQ(memcmp(now.ymm_high, s().fpu.ymm_high, 256), 0);
    }
  }
}

TEST_F(XsaveTest, XrstorRefusesReservedBits) {
  struct {
    unsigned at;
    uint64_t value;
  } const cases[] = {{512, 8},                      // beyond XCR0
                     {512, uint64_t{1} << 63},      //
                     {520, 1},                      // XCOMP_BV without the compact bit
                     {520, uint64_t{1} << 63 | 8},  // a component that is not there
                     {528, 1}};                     // reserved
  for (const auto& c : cases) {
    Enable();
    Store<uint64_t>(kArea + c.at, c.value);
    EXPECT_EQ(Xrstor(), kGp) << c.at << " " << std::hex << c.value;
  }
  Enable();
  Store<uint32_t>(kArea + 24, 0x10000);
  EXPECT_EQ(Xrstor(), kGp);
  Enable();
  Store<uint64_t>(kBv, 4);
  Store<uint64_t>(kComp, uint64_t{1} << 63 | 3);  // AVX is not in the format
  EXPECT_EQ(Xrstor(), kGp);
  for (unsigned i = 1; i < 64; i += 21) {
    Enable();
    s().gpr[kRsi] = kArea + i;
    EXPECT_EQ(Xrstor(), kGp);
    Enable();
    s().gpr[kRsi] = kArea + i;
    EXPECT_EQ(Xsave(), kGp);
  }
}

TEST_F(XsaveTest, In32BitModeEightRegisters) {
  guest_.Enter32();
  Fresh();
  s().cr4 |= kCr4Osfxsr | kCr4Osxsave;
  s().xcr0 = 7;
  s().gpr[kRsi] = kArea;
  s().gpr[kRax] = 7;
  s().gpr[kRdx] = 0;
  for (unsigned i = 0; i < 832; i += 8) Store<uint64_t>(kArea + i, ~uint64_t{0});
  memset(s().fpu.ymm_high, 0x11, 256);
  memset(s().fpu.image + FpuState::kXmm, 0x22, 256);
  EXPECT_EQ(Run({0x0F, 0xAE, 0x26, 0xC5, 0xFC, 0x77}), kNone);  // xsave [esi]; vzeroall
  EXPECT_EQ(Load<uint64_t>(kArea + 160 + 7 * 16), 0x2222222222222222u);
  EXPECT_EQ(Load<uint64_t>(kArea + 160 + 8 * 16), ~uint64_t{0});
  EXPECT_EQ(Load<uint64_t>(kArea + 576 + 7 * 16), 0x1111111111111111u);
  EXPECT_EQ(Load<uint64_t>(kArea + 576 + 8 * 16), ~uint64_t{0});
  EXPECT_EQ(s().fpu.ymm_high[7][0], 0);
  EXPECT_EQ(s().fpu.ymm_high[8][0], 0x11);
  EXPECT_EQ(Image<uint8_t>(FpuState::kXmm + 7 * 16), 0);
  EXPECT_EQ(Image<uint8_t>(FpuState::kXmm + 8 * 16), 0x22);
}

TEST_F(XsaveTest, VexWidthCountsForNothingIn32BitMode) {
  guest_.Enter32();
  Fresh();
  s().cr4 |= kCr4Osfxsr | kCr4Osxsave;
  s().xcr0 = 7;
  s().gpr[kRax] = 0x1122334455667788;
  EXPECT_EQ(Run({0xC4, 0xE1, 0xF9, 0x6E, 0xC8}), kNone);  // vmovd xmm1, eax with W
  EXPECT_EQ(Image<uint64_t>(FpuState::kXmm + 16), 0x55667788u);
  Store<uint64_t>(Guest::kData, 0x0102030405060708);
  EXPECT_EQ(Again({0xC4, 0xE1, 0xF9, 0x6E, 0x0E}), kNone);  // vmovd xmm1, [esi] with W
  EXPECT_EQ(Image<uint64_t>(FpuState::kXmm + 16), 0x05060708u);
}

TEST_F(XsaveTest, AGatherStopsAtItsFaultAndGoesOn) {
  guest_.MapPage(Guest::kData + 0x1000, 0);
  for (unsigned i = 0; i < 8; i++) {
    const int32_t index = i == 5 ? 0x1000 / 4 : static_cast<int32_t>(i);
    memcpy(i < 4 ? s().fpu.image + FpuState::kXmm + 16 + 4 * i : s().fpu.ymm_high[1] + 4 * (i - 4),
           &index, 4);
    Store<uint32_t>(Guest::kData + 4 * i, 0x100 + i);
  }
  s().gpr[kRsi] = Guest::kData;
  memset(s().fpu.image + FpuState::kXmm, 0, 16);
  memset(s().fpu.ymm_high[0], 0, 16);
  memset(s().fpu.image + FpuState::kXmm + 32, 0xFF, 16);  // the mask, all but element 2
  memset(s().fpu.ymm_high[2], 0xFF, 16);
  SetImage<uint32_t>(FpuState::kXmm + 32 + 8, 0x7FFFFFFF);
  // vpgatherdd ymm0, [rsi + ymm1 * 4], ymm2
  EXPECT_EQ(Run({0xC4, 0xE2, 0x6D, 0x90, 0x04, 0x8E}), kPfault);
  EXPECT_EQ(s().cr2, Guest::kData + 0x1000);
  EXPECT_EQ(Image<uint32_t>(FpuState::kXmm + 0), 0x100u);
  EXPECT_EQ(Image<uint32_t>(FpuState::kXmm + 8), 0u);
  uint32_t mask[4], to[4];
  memcpy(mask, s().fpu.ymm_high[2], 16);
  memcpy(to, s().fpu.ymm_high[0], 16);
  EXPECT_EQ(to[0], 0x104u);
  EXPECT_EQ(mask[0], 0u);
  EXPECT_EQ(mask[1], ~0u);
  EXPECT_EQ(mask[2], ~0u);
  EXPECT_EQ(Image<uint64_t>(FpuState::kXmm + 32), 0u);
  EXPECT_EQ(Image<uint64_t>(FpuState::kXmm + 40), 0u);
}

TEST_F(XsaveTest, LegacySseKeepsUpperHalvesAndVexClearsThem) {
  memset(s().fpu.ymm_high, 0x77, 256);
  EXPECT_EQ(Run({0x0F, 0x58, 0xC1}), kNone);  // addps xmm0, xmm1
  EXPECT_EQ(s().fpu.ymm_high[0][5], 0x77);
  EXPECT_EQ(Again({0xC5, 0xF8, 0x58, 0xC1}), kNone);  // vaddps xmm0, xmm0, xmm1
  EXPECT_EQ(s().fpu.ymm_high[0][5], 0);
  EXPECT_EQ(s().fpu.ymm_high[1][5], 0x77);
}

// A guest that tries them all cannot use up what thunks are made in: none is
// refused to another instruction.
TEST(ThunkTest, AllEncodingsFit) {
  std::set<uint32_t> thunks;
  uint64_t native = 0;
  const auto decode_all = [&](const std::vector<uint8_t>& head) {
    for (unsigned modrm = 1; modrm < 256; modrm += 8) {
      if (modrm >= 0x40 && modrm < 0xC0) continue;
      uint8_t code[15] = {};
      memcpy(code, head.data(), head.size());
      code[head.size()] = static_cast<uint8_t>(modrm);
      uint8_t& imm = code[head.size() + 1];
      Insn in;
      bool ends;
      do {
        ASSERT_EQ(Decode(code, sizeof code, CodeSize::k64, CpuModel::kMax, &in, &ends),
                  DecodeResult::kOk);
        if (in.thunk == 0) break;
        native++;
        thunks.insert(in.thunk);
      } while (in.length == head.size() + 2 && ++imm != 0);
    }
  };
  for (unsigned opcode = 0; opcode < 256; opcode++) {
    const uint8_t op = static_cast<uint8_t>(opcode);
    for (const std::vector<uint8_t>& prefix :
         {std::vector<uint8_t>{}, {0x66}, {0xF2}, {0xF3}, {0x66, 0xF2}, {0x66, 0xF3}}) {
      for (bool wide : {false, true}) {
        std::vector<uint8_t> head = prefix;
        if (wide) head.push_back(0x48);
        for (const std::vector<uint8_t>& map :
             {std::vector<uint8_t>{0x0F}, {0x0F, 0x38}, {0x0F, 0x3A}}) {
          std::vector<uint8_t> all = head;
          all.insert(all.end(), map.begin(), map.end());
          all.push_back(op);
          decode_all(all);
        }
      }
    }
    if (op >= 0xD8 && op <= 0xDF) decode_all({op});
    for (unsigned map = 1; map <= 3; map++) {
      for (unsigned bits = 0; bits < 16; bits++) {
        decode_all({0xC4, static_cast<uint8_t>(0xE0 | map),
                    static_cast<uint8_t>((bits >> 3) << 7 | 0x78 | (bits & 7)), op});
      }
    }
  }
  printf("%zu thunks for %" PRIu64 " encodings\n", thunks.size(), native);
  // One more, that nothing above asked for.
  ThunkSpec spec;
  spec.map = 1;
  spec.opcode = 0x58;
  spec.modrm = 0xCA;
  spec.thunk.a = spec.thunk.b = ThunkOperand::kXmm;
  spec.thunk.mem_size = 99;
  EXPECT_NE(FindThunk(spec), 0u);
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
