// SPDX-License-Identifier: Apache-2.0
// Delivery of exceptions and interrupts: the exact frame and state in each mode,
// the return from it, double and triple faults.
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/testing/guest.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

uint64_t Gate(uint16_t selector, uint32_t offset, uint8_t type_and_dpl) {
  return (offset & 0xFFFF) | static_cast<uint64_t>(selector) << 16 |
         static_cast<uint64_t>(0x80 | type_and_dpl) << 40 |
         static_cast<uint64_t>(offset >> 16) << 48;
}
uint64_t Flat(uint8_t access, uint8_t flags) {
  return 0x000F00000000FFFF | static_cast<uint64_t>(access) << 40 |
         static_cast<uint64_t>(flags) << 52;
}

class DeliveryTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kGdtBig = 0x5000, kTss = Guest::kTss, kTss2 = 0x3400;
  static constexpr uint16_t kUserCode64 = 0x30 | 3, kUserData = 0x38 | 3, kUserCode32 = 0x40 | 3;

  CpuState& s() { return guest_.cpu().s; }
  template <typename T>
  T Load(uint64_t at) {
    return guest_.memory->Load<T>(Gpa(at)).value();
  }
  template <typename T>
  void Store(uint64_t at, T v) {
    guest_.memory->Store<T>(Gpa(at), v);
  }

  // The guest's GDT, with user segments behind it.
  void BigGdt() {
    for (unsigned i = 0; i < 6; ++i) {
      Store<uint64_t>(kGdtBig + 8 * i, Load<uint64_t>(Guest::kGdt + 8 * i));
    }
    Store<uint64_t>(kGdtBig + 0x30, Flat(0xFB, 0xA));
    Store<uint64_t>(kGdtBig + 0x38, Flat(0xF3, 0xC));
    Store<uint64_t>(kGdtBig + 0x40, Flat(0xFB, 0xC));
    // 0x48: an available 32-bit TSS at kTss2; 0x50: the current one, busy.
    Store<uint64_t>(kGdtBig + 0x48, 0x0000890000000067 | kTss2 << 16);
    Store<uint64_t>(kGdtBig + 0x50, 0x00008B0000000067 | kTss << 16);
    s().gdt = {kGdtBig, 0x5F};
  }
  void SetCpl3(bool wide) {
    BigGdt();
    SoftVcpu& c = guest_.cpu();
    SystemRegs r = c.GetSystemRegs().value();
    for (unsigned i : {kEs, kSs, kDs, kFs, kGs}) {
      r.segment[i].selector = kUserData;
      r.segment[i].dpl = 3;
    }
    r.segment[kCs].selector = wide ? kUserCode64 : kUserCode32;
    r.segment[kCs].dpl = 3;
    r.tr.base = kTss;
    r.tr.limit = 0x67;
    r.tr.type = 11;
    r.tr.s = false;
    r.tr.selector = 0x50;
    ASSERT_TRUE(c.SetSystemRegs(r).ok());
    ASSERT_EQ(s().cpl, 3);
  }

  Guest guest_;
};

TEST_F(DeliveryTest, RealMode) {
  guest_.EnterReal();
  SetRflags(s(), 0x246 | kTf);
  s().rip = 0x123;
  ASSERT_TRUE(DeliverInterrupt(guest_.cpu(), 8));
  EXPECT_EQ(s().gpr[kRsp], 0x8000u - 6);
  EXPECT_EQ(Load<uint16_t>(0x20000 + 0x7FFA), 0x123);
  EXPECT_EQ(Load<uint16_t>(0x20000 + 0x7FFC), 0x1000);
  EXPECT_EQ(Load<uint16_t>(0x20000 + 0x7FFE), 0x346);
  EXPECT_EQ(s().seg[kCs].selector, 0);
  EXPECT_EQ(s().seg[kCs].base, 0u);
  EXPECT_EQ(s().rip, 0xF080u);
  EXPECT_EQ(GetRflags(s()) & (kIf | kTf), 0u);
  // No error codes in real mode.
  guest_.cpu().Raise(kGp, 0x10);
  ASSERT_TRUE(DeliverFault(guest_.cpu()));
  EXPECT_EQ(s().gpr[kRsp], 0x8000u - 12);
}

TEST_F(DeliveryTest, RealModeBeyondTheTableIsShutdown) {
  guest_.EnterReal();
  s().idt.limit = 3;
  guest_.cpu().Raise(kUd);
  EXPECT_FALSE(DeliverFault(guest_.cpu()));
}

TEST_F(DeliveryTest, LongModeSameLevelAlignsTheStack) {
  guest_.Enter64();
  SetRflags(s(), 0x246);
  s().gpr[kRsp] = Guest::kStack - 3;
  guest_.cpu().fault = {kPfault, true, 6, 0x12345};
  ASSERT_TRUE(DeliverFault(guest_.cpu()));
  const uint64_t frame = Guest::kStack - 16 - 48;
  EXPECT_EQ(s().gpr[kRsp], frame);
  EXPECT_EQ(Load<uint64_t>(frame), 6u);
  EXPECT_EQ(Load<uint64_t>(frame + 8), Guest::kCode);
  EXPECT_EQ(Load<uint64_t>(frame + 16), 8u);
  EXPECT_EQ(Load<uint64_t>(frame + 24), 0x246u | kRf);
  EXPECT_EQ(Load<uint64_t>(frame + 32), Guest::kStack - 3);
  EXPECT_EQ(Load<uint64_t>(frame + 40), 0x10u);
  EXPECT_EQ(s().rip, Guest::kHandler + 16 * kPfault);
  EXPECT_EQ(s().cr2, 0x12345u);
  EXPECT_EQ(GetRflags(s()) & (kIf | kRf), 0u);
}

TEST_F(DeliveryTest, LongModeFromUserTakesRsp0AndReturns) {
  guest_.Enter64();
  SetCpl3(true);
  Store<uint64_t>(kTss + 4, 0x208000);
  SetRflags(s(), 0x202);
  s().gpr[kRsp] = 0x301234;
  ASSERT_TRUE(DeliverInterrupt(guest_.cpu(), 20));
  EXPECT_EQ(s().cpl, 0);
  EXPECT_EQ(s().gpr[kRsp], 0x208000u - 40);
  EXPECT_TRUE(s().seg[kSs].unusable);
  EXPECT_EQ(s().seg[kSs].selector, 0);
  EXPECT_EQ(Load<uint64_t>(0x208000 - 8), kUserData);
  EXPECT_EQ(Load<uint64_t>(0x208000 - 16), 0x301234u);
  EXPECT_EQ(Load<uint64_t>(0x208000 - 24), 0x202u);
  EXPECT_EQ(Load<uint64_t>(0x208000 - 32), kUserCode64);
  EXPECT_EQ(Load<uint64_t>(0x208000 - 40), Guest::kCode);
  // IRETQ at the handler.
  guest_.Write(s().rip, {0x48, 0xCF});
  guest_.Write(Guest::kCode, {0x0F, 0x0B});  // UD2 back in user mode
  guest_.Run();
  EXPECT_EQ(guest_.Vector(), kUd);
  EXPECT_EQ(Load<uint64_t>(0x208000 - 32), kUserCode64);
  EXPECT_EQ(Load<uint64_t>(0x208000 - 16), 0x301234u);
}

TEST_F(DeliveryTest, LongModeIst) {
  guest_.Enter64();
  BigGdt();
  Store<uint64_t>(kTss + 0x24 + 8 * 2, 0x209000);  // IST3
  Store<uint64_t>(Guest::kIdt + 16 * kNmi,
                  Gate(8, Guest::kHandler + 16 * kNmi, 0xE) | uint64_t{3} << 32);
  ASSERT_TRUE(DeliverInterrupt(guest_.cpu(), kNmi));
  EXPECT_EQ(s().gpr[kRsp], 0x209000u - 40);
  EXPECT_EQ(Load<uint64_t>(0x209000 - 16), Guest::kStack);
}

TEST_F(DeliveryTest, SoftwareInterruptsNeedTheGatesPrivilege) {
  guest_.Enter64();
  SetCpl3(true);
  Store<uint64_t>(kTss + 4, 0x208000);
  guest_.RunCode({0xCD, 0x12});  // INT 0x12: DPL 0
  EXPECT_EQ(guest_.Vector(), kGp);
  EXPECT_EQ(Load<uint64_t>(s().gpr[kRsp]), 0x12u * 8 + 2);
  EXPECT_EQ(Load<uint64_t>(s().gpr[kRsp] + 8), Guest::kCode);  // the INT itself
}

TEST_F(DeliveryTest, DoubleFaultOnABadGate) {
  guest_.Enter64();
  Store<uint64_t>(Guest::kIdt + 16 * kGp, 0);  // not a gate
  guest_.cpu().Raise(kGp, 0);
  ASSERT_TRUE(DeliverFault(guest_.cpu()));
  EXPECT_EQ(s().rip, Guest::kHandler + 16 * kDfault);
  EXPECT_EQ(Load<uint64_t>(s().gpr[kRsp]), 0u);
}

TEST_F(DeliveryTest, BenignThenContributoryIsNoDoubleFault) {
  guest_.Enter64();
  Store<uint64_t>(Guest::kIdt + 16 * kUd, 0);
  guest_.cpu().Raise(kUd);
  ASSERT_TRUE(DeliverFault(guest_.cpu()));
  EXPECT_EQ(s().rip, Guest::kHandler + 16 * kGp);
  EXPECT_EQ(Load<uint64_t>(s().gpr[kRsp]), kUd * 8u + 2 + 1);
}

TEST_F(DeliveryTest, PageFaultOnTheStackIsDoubleFaultThenShutdown) {
  guest_.Enter64();
  guest_.MapPage(Guest::kStack - 0x1000, 0);
  guest_.cpu().fault = {kPfault, true, 2, 0x5000};
  EXPECT_FALSE(DeliverFault(guest_.cpu()));
  EXPECT_EQ(s().cr2 & ~uint64_t{0xFFF}, Guest::kStack - 0x1000);
}

TEST_F(DeliveryTest, Protected32FromUser) {
  guest_.Enter32();
  SetCpl3(false);
  Store<uint32_t>(kTss + 4, 0x208000);
  Store<uint32_t>(kTss + 8, 0x10);
  SetRflags(s(), 0x202);
  s().gpr[kRsp] = 0x301234;
  guest_.cpu().Raise(kGp, 0x48);
  ASSERT_TRUE(DeliverFault(guest_.cpu()));
  EXPECT_EQ(s().cpl, 0);
  EXPECT_EQ(s().seg[kSs].selector, 0x10);
  EXPECT_EQ(s().gpr[kRsp], 0x208000u - 24);
  EXPECT_EQ(Load<uint32_t>(0x208000 - 4), kUserData);
  EXPECT_EQ(Load<uint32_t>(0x208000 - 8), 0x301234u);
  EXPECT_EQ(Load<uint32_t>(0x208000 - 12), 0x202u | kRf);
  EXPECT_EQ(Load<uint32_t>(0x208000 - 16), kUserCode32);
  EXPECT_EQ(Load<uint32_t>(0x208000 - 20), Guest::kCode);
  EXPECT_EQ(Load<uint32_t>(0x208000 - 24), 0x48u);
}

TEST_F(DeliveryTest, Protected16BitGatePushesWords) {
  guest_.Enter32();
  Store<uint64_t>(Guest::kIdt + 8 * 20, Gate(0x18, 0x1234, 7));
  SetRflags(s(), 0x246);
  s().rip = 0x105678;
  ASSERT_TRUE(DeliverInterrupt(guest_.cpu(), 20));
  EXPECT_EQ(s().gpr[kRsp], Guest::kStack - 6);
  EXPECT_EQ(Load<uint16_t>(Guest::kStack - 6), 0x5678);
  EXPECT_EQ(Load<uint16_t>(Guest::kStack - 4), 0x18);
  EXPECT_EQ(Load<uint16_t>(Guest::kStack - 2), 0x246);
  EXPECT_EQ(s().rip, 0x1234u);
  EXPECT_NE(GetRflags(s()) & kIf, 0u);  // a trap gate
}

TEST_F(DeliveryTest, Virtual8086AndBack) {
  guest_.Enter32();
  SetCpl3(false);
  Store<uint32_t>(kTss + 4, 0x208000);
  Store<uint32_t>(kTss + 8, 0x10);
  // At CPL 0: IRET to 3000:0100 in virtual-8086 mode.
  SystemRegs r = guest_.cpu().GetSystemRegs().value();
  for (auto& g : r.segment) {
    g.selector = 0x10;
    g.dpl = 0;
  }
  r.segment[kCs].selector = 0x18;
  ASSERT_TRUE(guest_.cpu().SetSystemRegs(r).ok());
  const uint32_t frame[] = {0x100,  0x3000, static_cast<uint32_t>(0x202 | kVm),
                            0xFFF0, 0x3100, 0x3200,
                            0x3300, 0x3400, 0x3500};
  s().gpr[kRsp] = 0x204000;
  for (unsigned i = 0; i < 9; ++i) Store<uint32_t>(0x204000 + 4 * i, frame[i]);
  guest_.Write(Guest::kCode, {0xCF});
  guest_.Write(0x30100, {0xCD, 0x21});  // INT 0x21 with IOPL 0: #GP
  guest_.Run();
  EXPECT_EQ(guest_.Vector(), kGp);
  EXPECT_FALSE(s().v8086);
  EXPECT_EQ(s().cpl, 0);
  EXPECT_EQ(s().gpr[kRsp], 0x208000u - 40);
  const uint32_t want[] = {0,      0x100,  0x3000, static_cast<uint32_t>(0x202 | kVm | kRf),
                           0xFFF0, 0x3100, 0x3200, 0x3300,
                           0x3400, 0x3500};
  for (unsigned i = 0; i < 10; ++i) {
    EXPECT_EQ(Load<uint32_t>(0x208000 - 40 + 4 * i), want[i]) << i;
  }
  for (unsigned i : {kDs, kEs, kFs, kGs}) EXPECT_TRUE(s().seg[i].unusable);
}

TEST_F(DeliveryTest, DoubleFaultByTaskGate) {
  guest_.Enter32();
  SetCpl3(false);
  // A page-fault handler that is not there, and #DF by a task.
  Store<uint64_t>(Guest::kIdt + 8 * kGp, 0);
  Store<uint64_t>(Guest::kIdt + 8 * kDfault, Gate(0x48, 0, 5));
  Store<uint32_t>(kTss2 + 0x20, Guest::kHandler + 16 * kDfault);
  Store<uint32_t>(kTss2 + 0x24, 2);
  Store<uint32_t>(kTss2 + 0x38, 0x20A000);
  for (unsigned i = 0; i < 6; ++i) Store<uint32_t>(kTss2 + 0x48 + 4 * i, i == 1 ? 0x18 : 0x10);
  SetRflags(s(), 0x202);
  s().gpr[kRbx] = 0xABCD;
  guest_.cpu().Raise(kGp, 0);
  ASSERT_TRUE(DeliverFault(guest_.cpu()));
  EXPECT_EQ(s().rip, Guest::kHandler + 16 * kDfault);
  EXPECT_EQ(s().cpl, 0);
  EXPECT_EQ(s().tr.selector, 0x48);
  EXPECT_EQ(s().gpr[kRsp], 0x20A000u - 4);
  EXPECT_EQ(Load<uint32_t>(0x20A000 - 4), 0u);
  EXPECT_NE(GetRflags(s()) & kNt, 0u);
  EXPECT_NE(s().cr0 & kCr0Ts, 0u);
  EXPECT_EQ(Load<uint16_t>(kTss2), 0x50);                // back link
  EXPECT_EQ(Load<uint32_t>(kTss + 0x20), Guest::kCode);  // the old task, saved
  EXPECT_EQ(Load<uint32_t>(kTss + 0x34), 0xABCDu);
  EXPECT_EQ(Load<uint16_t>(kTss + 0x4C), kUserCode32);
  // And back by IRET, to user mode with its registers.
  Store<uint32_t>(kTss + 0x20, Guest::kCode);
  guest_.Write(s().rip, {0xCF});
  guest_.Write(Guest::kCode, {0x0F, 0x0B});
  Store<uint32_t>(kTss + 4, 0x208000);
  Store<uint32_t>(kTss + 8, 0x10);
  s().gpr[kRsp] += 4;
  guest_.Run();
  EXPECT_EQ(guest_.Vector(), kUd);
  EXPECT_EQ(s().gpr[kRbx], 0xABCDu);
  EXPECT_EQ(s().tr.selector, 0x50);
  EXPECT_EQ(Load<uint32_t>(0x208000 - 16), kUserCode32);
}

TEST_F(DeliveryTest, IretToNonCanonicalFaultsBeforeItChangesAnything) {
  guest_.Enter64();
  const uint64_t frame[] = {0x0000800000000000, 8, 0x202, 0x205000, 0x10};
  for (unsigned i = 0; i < 5; ++i) Store<uint64_t>(0x204000 + 8 * i, frame[i]);
  s().gpr[kRsp] = 0x204000;
  guest_.RunCode({0x48, 0xCF});
  EXPECT_EQ(guest_.Vector(), kGp);
  EXPECT_EQ(Load<uint64_t>(s().gpr[kRsp] + 32), 0x204000u);
}

TEST_F(DeliveryTest, IretUnblocksNmis) {
  guest_.Enter64();
  guest_.Write(Guest::kHandler + 16 * kNmi, {0x48, 0xCF});
  guest_.cpu().RaiseNmi();
  guest_.RunCode({0x90});
  EXPECT_FALSE(s().nmi_blocked);
  EXPECT_EQ(s().gpr[kRsp], Guest::kStack);
}

}  // namespace
}  // namespace atl::cpu::soft
