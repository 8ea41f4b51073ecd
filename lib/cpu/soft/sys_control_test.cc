// SPDX-License-Identifier: Apache-2.0
// Control registers, MSRs, CPUID, fast system calls, port rights.
#include <cstdint>
#include <initializer_list>
#include <set>
#include <string>
#include <tuple>

#include "gtest/gtest.h"
#include "lib/cpu/soft/cpuid.h"
#include "lib/cpu/soft/msr.h"
#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/sys_state.h"
#include "lib/cpu/soft/testing/guest.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

class ControlTest : public ::testing::Test {
 protected:
  CpuState& s() { return guest_.cpu().s; }
  void SetCpl3() {
    SystemRegs r = guest_.cpu().GetSystemRegs().value();
    for (auto& g : r.segment) {
      g.selector |= 3;
      g.dpl = 3;
    }
    ASSERT_TRUE(guest_.cpu().SetSystemRegs(r).ok());
    guest_.memory->Store<uint64_t>(Gpa(Guest::kTss + 4), 0x208000);
    guest_.memory->Store<uint16_t>(Gpa(Guest::kTss + 0x66), 0x68);  // no I/O bitmap
  }
  // The vector that `bytes` in 64-bit mode end with.
  int Run64(std::initializer_list<uint8_t> bytes, uint64_t rax = 0, uint64_t rcx = 0,
            uint64_t rdx = 0) {
    guest_.Enter64();
    s().gpr[kRax] = rax;
    s().gpr[kRcx] = rcx;
    s().gpr[kRdx] = rdx;
    guest_.RunCode(bytes);
    return guest_.Vector();
  }
  int WriteCr0(uint64_t v) { return Run64({0x0F, 0x22, 0xC0}, v); }
  int WriteCr3(uint64_t v) { return Run64({0x0F, 0x22, 0xD8}, v); }
  int WriteCr4(uint64_t v) { return Run64({0x0F, 0x22, 0xE0}, v); }

  Guest guest_;
};

TEST_F(ControlTest, ControlRegistersRefuseWhatTheManualForbids) {
  EXPECT_EQ(WriteCr0(0x80010033), -1);
  EXPECT_EQ(WriteCr0(0x80010032), kGp);   // PG without PE
  EXPECT_EQ(WriteCr0(0x00010033), kGp);   // paging off in 64-bit mode
  EXPECT_EQ(WriteCr0(0xA0010033), kGp);   // NW without CD
  EXPECT_EQ(WriteCr0(0x180010033), kGp);  // beyond 32 bits
  EXPECT_EQ(WriteCr3(0x10000), -1);
  EXPECT_EQ(WriteCr3(uint64_t{1} << 46), kGp);            // MAXPHYADDR
  EXPECT_EQ(WriteCr3(uint64_t{1} << 63 | 0x10000), kGp);  // without PCIDE
  EXPECT_EQ(WriteCr4(0x6A0), -1);
  EXPECT_EQ(WriteCr4(0x680), kGp);  // PAE off in long mode
  EXPECT_EQ(WriteCr4(0x6A0 | kCr4Pcide), -1);
  EXPECT_EQ(WriteCr4(0x6A0 | kCr4Osxsave), -1);
  EXPECT_EQ(WriteCr4(0x6A0 | 1 << 12), kGp);  // LA57
}

TEST_F(ControlTest, NothingPrivilegedFromUserMode) {
  const std::initializer_list<uint8_t> kPrivileged[] = {{0x0F, 0x20, 0xC0},
                                                        {0x0F, 0x22, 0xD8},
                                                        {0x0F, 0x21, 0xC0},
                                                        {0x0F, 0x23, 0xF8},
                                                        {0x0F, 0x30},
                                                        {0x0F, 0x32},
                                                        {0x0F, 0x06},
                                                        {0x0F, 0x08},
                                                        {0x0F, 0x09},
                                                        {0xF4},
                                                        {0xFA},
                                                        {0xFB},
                                                        {0x0F, 0x01, 0x38},
                                                        {0x0F, 0x01, 0x10},
                                                        {0x0F, 0x01, 0x18},
                                                        {0x0F, 0x00, 0xD0},
                                                        {0x0F, 0x00, 0xD8},
                                                        {0xE4, 0x60},
                                                        {0xEE},
                                                        {0x6E},
                                                        {0x0F, 0x01, 0xF8},
                                                        {0x0F, 0x01, 0xF0},
                                                        {0x0F, 0x07},
                                                        {0x0F, 0x35},
                                                        {0x0F, 0x33}};
  for (const auto& bytes : kPrivileged) {
    guest_.Enter64();
    SetCpl3();
    s().gpr[kRax] = s().gpr[kRsi] = Guest::kData;
    guest_.RunCode(bytes);
    EXPECT_EQ(guest_.Vector(), kGp) << std::hex << static_cast<int>(*bytes.begin()) << " "
                                    << static_cast<int>(*(bytes.begin() + bytes.size() - 1));
  }
  EXPECT_TRUE(guest_.bus.outs.empty());
}

TEST_F(ControlTest, UmipHidesTheTables) {
  guest_.Enter64();
  SetCpl3();
  s().gpr[kRax] = Guest::kData;
  guest_.RunCode({0x0F, 0x01, 0x00, 0x0F, 0x0B});  // SGDT [RAX]; UD2
  EXPECT_EQ(guest_.Vector(), kUd);
  guest_.Enter64();
  SetCpl3();
  s().cr4 |= kCr4Umip;
  for (std::initializer_list<uint8_t> bytes : {std::initializer_list<uint8_t>{0x0F, 0x01, 0x00},
                                               {0x0F, 0x01, 0x08},
                                               {0x0F, 0x00, 0xC0},
                                               {0x0F, 0x00, 0xC8},
                                               {0x0F, 0x01, 0xE0}}) {
    s().rip = Guest::kCode;
    guest_.RunCode(bytes);
    EXPECT_EQ(guest_.Vector(), kGp);
    guest_.Enter64();
    SetCpl3();
    s().cr4 |= kCr4Umip;
  }
}

TEST_F(ControlTest, SmapInstructionsNeedCpl0) {
  EXPECT_EQ(Run64({0x0F, 0x01, 0xCB}), -1);  // STAC
  EXPECT_NE(GetRflags(s()) & kAc, 0u);
  EXPECT_EQ(Run64({0x0F, 0x01, 0xCB, 0x0F, 0x01, 0xCA}), -1);  // CLAC
  EXPECT_EQ(GetRflags(s()) & kAc, 0u);
  guest_.Enter64();
  SetCpl3();
  guest_.RunCode({0x0F, 0x01, 0xCB});
  EXPECT_EQ(guest_.Vector(), kUd);
}

TEST_F(ControlTest, PaePagingChecksItsPointers) {
  guest_.Enter32();
  for (unsigned i = 0; i < 4; ++i) guest_.memory->Store<uint64_t>(Gpa(0x14000 + 8 * i), 0x12001);
  // MOV CR3, EAX; MOV CR4, EBX; MOV CR0, ECX
  const auto enter = [&] {
    s().gpr[kRax] = 0x14000;
    s().gpr[kRbx] = 0x620;
    s().gpr[kRcx] = 0x80010033;
    guest_.RunCode({0x0F, 0x22, 0xD8, 0x0F, 0x22, 0xE3, 0x0F, 0x22, 0xC1});
    return guest_.Vector();
  };
  EXPECT_EQ(enter(), -1);
  EXPECT_TRUE(s().paging);
  guest_.Enter32();
  guest_.memory->Store<uint64_t>(Gpa(0x14000), 0x12003);  // a reserved bit
  EXPECT_EQ(enter(), kGp);
  EXPECT_FALSE(s().paging);
}

TEST_F(ControlTest, SyscallAndSysret) {
  guest_.Enter64();
  s().star = uint64_t{0x23} << 48 | uint64_t{0x08} << 32;
  s().lstar = 0x110000;
  s().sfmask = kIf | kDf;
  SetRflags(s(), 0x602);
  guest_.RunCode({0x0F, 0x05});
  // The handler at LSTAR is zeros: ADD [RAX], AL; stop before by looking at what
  // SYSCALL saved.
  EXPECT_EQ(s().gpr[kRcx], Guest::kCode + 2);
  EXPECT_EQ(s().gpr[kR11] & 0xFFF, 0x602u);
  guest_.Enter64();
  s().star = uint64_t{0x23} << 48 | uint64_t{0x08} << 32;
  s().gpr[kRcx] = 0x110000;
  s().gpr[kR11] = 0x202;
  guest_.memory->Store<uint64_t>(Gpa(Guest::kTss + 4), 0x208000);
  guest_.Write(0x110000, {0x0F, 0x0B});
  guest_.RunCode({0x48, 0x0F, 0x07});
  EXPECT_EQ(guest_.Vector(), kUd);
  EXPECT_EQ(guest_.Read64(0x208000 - 8), 0x2Bu);   // SS
  EXPECT_EQ(guest_.Read64(0x208000 - 32), 0x33u);  // CS
  EXPECT_EQ(guest_.Read64(0x208000 - 40), 0x110000u);
  EXPECT_EQ(Run64({0x48, 0x0F, 0x07}, 0, 0x0000800000000000), kGp);
  guest_.Enter64();
  s().efer &= ~kEferSce;
  guest_.RunCode({0x0F, 0x05});
  EXPECT_EQ(guest_.Vector(), kUd);
}

TEST_F(ControlTest, IoBitmap) {
  guest_.Enter64();
  SetCpl3();
  s().tr.limit = 0x68 + 0x10;
  guest_.memory->Store<uint16_t>(Gpa(Guest::kTss + 0x66), 0x68);
  for (unsigned i = 0; i < 17; ++i)
    guest_.memory->Store<uint8_t>(Gpa(Guest::kTss + 0x68 + i), 0xFF);
  guest_.memory->Store<uint8_t>(Gpa(Guest::kTss + 0x68 + 4), 0xFC);  // ports 0x20 and 0x21
  guest_.RunCode({0xE6, 0x21, 0xE6, 0x22});
  EXPECT_EQ(guest_.Vector(), kGp);
  ASSERT_EQ(guest_.bus.outs.size(), 1u);
  EXPECT_EQ(guest_.bus.outs[0].first, 0x21);
  guest_.Enter64();
  SetCpl3();
  guest_.RunCode({0x66, 0xE7, 0x21});  // a word: 0x22 too
  EXPECT_EQ(guest_.Vector(), kGp);
  EXPECT_EQ(guest_.bus.outs.size(), 1u);
}

TEST_F(ControlTest, RepOutsAndIns) {
  guest_.Enter64();
  guest_.Write(Guest::kData, {1, 2, 3, 4});
  s().gpr[kRsi] = Guest::kData;
  s().gpr[kRdi] = Guest::kData + 0x100;
  s().gpr[kRcx] = 600;
  s().gpr[kRdx] = 0x80;
  guest_.RunCode({0xF3, 0x6E});
  EXPECT_EQ(guest_.bus.outs.size(), 600u);
  EXPECT_EQ(guest_.bus.outs[2], (std::pair<uint16_t, uint32_t>{0x80, 3}));
  EXPECT_EQ(s().gpr[kRcx], 0u);
  EXPECT_EQ(s().gpr[kRsi], Guest::kData + 600);
  guest_.Enter64();
  s().gpr[kRdi] = Guest::kData + 0xFFE;
  s().gpr[kRcx] = 4;
  guest_.MapPage(Guest::kData + 0x1000, 0);
  guest_.RunCode({0xF3, 0x66, 0x6D});  // REP INSW into a page that is not there
  EXPECT_EQ(guest_.Vector(), kPfault);
  EXPECT_EQ(s().gpr[kRcx], 3u);
  EXPECT_EQ(s().gpr[kRdi], Guest::kData + 0x1000);
}

// ---- MSRs ----

TEST_F(ControlTest, MsrTableIsSortedAndNamed) {
  uint64_t after = 0;
  for (const MsrEntry& e : MsrTable()) {
    EXPECT_GE(e.first, after) << e.name;
    EXPECT_LE(e.first, e.last);
    EXPECT_FALSE(e.name.empty());
    EXPECT_TRUE(e.read != nullptr || e.write != nullptr);
    after = uint64_t{e.last} + 1;
  }
}

TEST_F(ControlTest, MsrsReadBack) {
  guest_.Enter64();
  for (uint32_t msr : {0x174u, 0x175u, 0x176u, 0xC0000081u, 0xC0000082u, 0xC0000100u, 0xC0000101u,
                       0xC0000102u, 0xC0000103u, 0x200u, 0x250u, 0x26Fu}) {
    ASSERT_TRUE(WriteMsr(guest_.cpu(), msr, 0x12345000)) << std::hex << msr;
    uint64_t v = 0;
    ASSERT_TRUE(ReadMsr(guest_.cpu(), msr, &v)) << std::hex << msr;
    EXPECT_EQ(v, 0x12345000u) << std::hex << msr;
  }
  for (uint32_t msr : {0xC0000082u, 0xC0000100u, 0xC0000101u, 0xC0000102u, 0x175u, 0x176u}) {
    EXPECT_FALSE(WriteMsr(guest_.cpu(), msr, 0x0000800000000000)) << std::hex << msr;
  }
  uint64_t v;
  EXPECT_FALSE(ReadMsr(guest_.cpu(), 0x12345678, &v));
  EXPECT_FALSE(WriteMsr(guest_.cpu(), 0x277, 0x0202020202020202));
  EXPECT_EQ(Run64({0x0F, 0x32}, 0, 0xDEAD), kGp);
  EXPECT_EQ(Run64({0x0F, 0x30}, 0xD01 ^ 0x100, 0xC0000080), kGp);  // LME while paging
}

TEST_F(ControlTest, TscIsTheClockAndCanBeSet) {
  guest_.Enter64();
  ASSERT_TRUE(WriteMsr(guest_.cpu(), 0x10, 1000000));
  uint64_t v;
  ASSERT_TRUE(ReadMsr(guest_.cpu(), 0x10, &v));
  EXPECT_GE(v, 1000000u);
  EXPECT_LT(v, 1001000u);
}

TEST_F(ControlTest, KvmclockPage) {
  guest_.Enter64();
  ASSERT_TRUE(WriteMsr(guest_.cpu(), 0x4B564D01, 0x300041));
  const uint64_t tsc = guest_.Read64(0x300048), ns = guest_.Read64(0x300050);
  EXPECT_EQ(tsc, ns);  // one tick a nanosecond, no offset
  EXPECT_EQ(guest_.memory->Load<uint32_t>(Gpa(0x300058)).value(), 0x80000000u);
  EXPECT_EQ(guest_.Read8(0x30005C), 1);
  EXPECT_EQ(guest_.Read8(0x30005D), 1);
  // Outside memory: nothing happens.
  EXPECT_TRUE(WriteMsr(guest_.cpu(), 0x4B564D01, 0xFFFFFFFFFF001));
}

// ---- CPUID ----

class CpuidModelTest : public ::testing::TestWithParam<CpuModel> {};

TEST_P(CpuidModelTest, EveryBitIsInTheTable) {
  const CpuModel model = GetParam();
  std::set<std::tuple<uint32_t, uint32_t, CpuidRegister, unsigned>> known;
  for (const CpuidFeature& f : CpuidFeatures()) {
    EXPECT_FALSE(f.name.empty());
    EXPECT_FALSE(f.why.empty()) << f.name;
    EXPECT_TRUE(known.insert({f.leaf, f.subleaf, f.reg, f.bit}).second) << f.name << " twice";
    const CpuidResult r = Cpuid({0, 1, model}, f.leaf, f.subleaf);
    const uint32_t v[] = {r.eax, r.ebx, r.ecx, r.edx};
    EXPECT_EQ(v[static_cast<unsigned>(f.reg)] >> f.bit & 1, Offered(f, model) ? 1u : 0u) << f.name;
  }
  const auto check = [&](uint32_t leaf, uint32_t subleaf, CpuidRegister reg, uint32_t value) {
    for (unsigned bit = 0; bit < 32; ++bit) {
      if (value >> bit & 1) {
        EXPECT_TRUE(known.count({leaf, subleaf, reg, bit}))
            << std::hex << leaf << " register " << static_cast<int>(reg) << " bit " << std::dec
            << bit;
      }
    }
  };
  const CpuidResult one = Cpuid({0, 1, model}, 1, 0), seven = Cpuid({0, 1, model}, 7, 0),
                    seven2 = Cpuid({0, 1, model}, 7, 2), xsave = Cpuid({0, 1, model}, 0xD, 1),
                    ext = Cpuid({0, 1, model}, 0x80000001, 0);
  check(1, 0, CpuidRegister::kEcx, one.ecx);
  check(1, 0, CpuidRegister::kEdx, one.edx);
  check(7, 0, CpuidRegister::kEbx, seven.ebx);
  check(7, 0, CpuidRegister::kEcx, seven.ecx);
  check(7, 0, CpuidRegister::kEdx, seven.edx);
  check(7, 2, CpuidRegister::kEdx, seven2.edx);
  check(0x80000001, 0, CpuidRegister::kEcx, ext.ecx);
  check(0x80000001, 0, CpuidRegister::kEdx, ext.edx);
  check(0xD, 1, CpuidRegister::kEax, xsave.eax);
  // What must not be there: VMX, MONITOR; TSX, AVX-512; PKU, CET; XSAVES.
  EXPECT_EQ(one.ecx & (1 << 5 | 1 << 3), 0u);
  EXPECT_EQ(seven.ebx & (1 << 4 | 1 << 11 | 1 << 16), 0u);
  EXPECT_EQ(seven.ecx & (1 << 3 | 1 << 7), 0u);
  EXPECT_EQ(xsave.eax & 1 << 3, 0u);
  // The base model has no XSAVE and nothing that rests on it.
  if (model == CpuModel::kBase) {
    EXPECT_EQ(one.ecx & (1 << 26 | 1 << 28 | 1 << 12 | 1 << 29), 0u);
    EXPECT_EQ(seven.ebx & (1 << 3 | 1 << 5 | 1 << 8), 0u);
    EXPECT_EQ(Cpuid({0, 1, model}, 0xD, 0).ecx, 0u);
  }
}
INSTANTIATE_TEST_SUITE_P(Models, CpuidModelTest,
                         ::testing::Values(CpuModel::kBase, CpuModel::kMax));

TEST(CpuidTest, XsaveLeafFollowsXcr0) {
  const uint64_t supported = SupportedXcr0(CpuModel::kMax);
  ASSERT_EQ(supported & 3, 3u);
  const bool avx = supported & 4;
  EXPECT_EQ(Cpuid({0, 1}, 1, 0).ecx >> 27 & 1, 0u);
  EXPECT_EQ(Cpuid({0, 1, CpuModel::kMax, true}, 1, 0).ecx >> 27 & 1, 1u);
  const CpuidResult little = Cpuid({0, 1, CpuModel::kMax, true, 3}, 0xD, 0);
  EXPECT_EQ(little.eax, supported);
  EXPECT_EQ(little.ebx, 576u);
  EXPECT_EQ(little.ecx, avx ? 832u : 576u);
  const CpuidResult all = Cpuid({0, 1, CpuModel::kMax, true, supported}, 0xD, 0);
  EXPECT_EQ(all.ebx, all.ecx);
  EXPECT_EQ(Cpuid({0, 1, CpuModel::kMax, true, supported}, 0xD, 1).ebx, all.ecx);
  const CpuidResult component = Cpuid({0, 1}, 0xD, 2);
  EXPECT_EQ(component.eax, avx ? 256u : 0u);
  EXPECT_EQ(component.ebx, avx ? 576u : 0u);
  EXPECT_EQ(Cpuid({0, 1}, 0xD, 3).eax, 0u);
}

TEST(CpuidTest, Topology) {
  for (unsigned count : {1u, 2u, 3u, 8u, 64u, 255u}) {
    for (unsigned index : {0u, count - 1}) {
      const CpuidResult cores = Cpuid({index, count}, 0xB, 1);
      EXPECT_EQ(cores.ebx, count);
      EXPECT_EQ(cores.edx, index);
      EXPECT_EQ(index >> cores.eax, 0u);  // one package
      EXPECT_EQ(Cpuid({index, count}, 1, 0).ebx >> 24, index);
    }
  }
  EXPECT_EQ(Cpuid({0, 1}, 1, 0).edx >> 28 & 1, 0u);
  EXPECT_EQ(Cpuid({0, 2}, 1, 0).edx >> 28 & 1, 1u);
}

TEST(CpuidTest, FrequenciesAgree) {
  const CpuidResult tsc = Cpuid({0, 1}, 0x15, 0), kvm = Cpuid({0, 1}, 0x40000010, 0);
  EXPECT_EQ(uint64_t{tsc.ecx} * tsc.ebx / tsc.eax, kTscHz);
  EXPECT_EQ(uint64_t{kvm.eax} * 1000, kTscHz);
}

}  // namespace
}  // namespace atl::cpu::soft
