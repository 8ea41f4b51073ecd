// SPDX-License-Identifier: Apache-2.0
// What comes between instructions.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "lib/cpu/soft/testing/guest.h"

namespace atl::cpu::soft {
namespace {

constexpr uint8_t kVector = 20;  // an interrupt that the IDT of Guest leads on

TEST(EventsTest, HltEndsWithAnInterrupt) {
  Guest g;
  g.Enter64();
  const Exit exit = g.RunCode({0xFB});  // sti; hlt
  EXPECT_EQ(exit.reason, ExitReason::kHalted);
  EXPECT_TRUE(g.cpu().s.halted);
  EXPECT_EQ(g.cpu().s.rip, Guest::kCode + 2);
  // Nothing pending: halted again, at the same place.
  EXPECT_EQ(g.cpu().Run()->reason, ExitReason::kHalted);
  EXPECT_EQ(g.cpu().s.rip, Guest::kCode + 2);
  g.bus.pending = kVector;
  g.cpu().SetInterruptLine(true);
  g.cpu().WaitForWork();
  g.cpu().Run().value();
  EXPECT_EQ(g.Vector(), kVector);
  EXPECT_EQ(g.Read64(g.cpu().s.gpr[kRsp]), Guest::kCode + 2);
}

TEST(EventsTest, NoInterruptWhileIfIsClearNorDirectlyAfterSti) {
  Guest g;
  g.Enter64();
  g.bus.pending = kVector;
  g.cpu().SetInterruptLine(true);
  // inc eax; inc eax; sti; inc eax; inc eax
  g.RunCode({0xFF, 0xC0, 0xFF, 0xC0, 0xFB, 0xFF, 0xC0, 0xFF, 0xC0});
  EXPECT_EQ(g.Vector(), kVector);
  EXPECT_EQ(g.cpu().s.gpr[kRax], 3u);
  EXPECT_EQ(g.Read64(g.cpu().s.gpr[kRsp]), Guest::kCode + 7);
  EXPECT_FALSE(g.cpu().s.rflags_rest & kIf);
}

TEST(EventsTest, PopfThatSetsIfTakesTheInterruptNext) {
  Guest g;
  g.Enter64();
  g.bus.pending = kVector;
  g.cpu().SetInterruptLine(true);
  g.RunCode({0x68, 0x02, 0x02, 0x00, 0x00, 0x9D, 0xFF, 0xC0});  // push 0x202; popf; inc eax
  EXPECT_EQ(g.Vector(), kVector);
  EXPECT_EQ(g.cpu().s.gpr[kRax], 0u);
}

TEST(EventsTest, AnInterruptEndsARepeatedStringBetweenElements) {
  Guest g;
  g.Enter64();
  g.cpu().s.rflags_rest |= kIf;
  g.cpu().s.gpr[kRdi] = Guest::kData;
  g.cpu().s.gpr[kRcx] = 0x10000;
  g.bus.pending = kVector;
  std::thread later([&] { g.cpu().SetInterruptLine(true); });
  g.RunCode({0xF3, 0xAA});  // rep stosb
  later.join();
  if (g.Vector() == kVector) {
    const uint64_t rip = g.Read64(g.cpu().s.gpr[kRsp]);
    EXPECT_EQ(rip, g.cpu().s.gpr[kRcx] != 0 ? Guest::kCode : rip);
    EXPECT_EQ(g.cpu().s.gpr[kRdi] - Guest::kData + g.cpu().s.gpr[kRcx], 0x10000u);
  }
}

TEST(EventsTest, NmiIsTakenWithIfClearAndBlocksTheNext) {
  Guest g;
  g.Enter64();
  g.cpu().RaiseNmi();
  g.RunCode({0xFF, 0xC0});
  EXPECT_EQ(g.Vector(), 2);
  EXPECT_TRUE(g.cpu().s.nmi_blocked);
  g.cpu().RaiseNmi();
  EXPECT_EQ(g.cpu().Run()->reason, ExitReason::kHalted);
  EXPECT_EQ(g.Vector(), 2);
}

TEST(EventsTest, TheTrapFlagStopsAfterEachInstruction) {
  Guest g;
  g.Enter64();
  // push 0x102; popf; inc eax; inc eax
  g.RunCode({0x68, 0x02, 0x01, 0x00, 0x00, 0x9D, 0xFF, 0xC0, 0xFF, 0xC0});
  EXPECT_EQ(g.Vector(), 1);
  EXPECT_EQ(g.cpu().s.gpr[kRax], 1u);  // one after POPF
  EXPECT_EQ(g.Read64(g.cpu().s.gpr[kRsp]), Guest::kCode + 8);
  EXPECT_TRUE(g.cpu().s.dr[6] & (1 << 14));
}

TEST(EventsTest, CodeBreakpointsComeBeforeTheInstruction) {
  Guest g;
  g.Enter64();
  g.cpu().s.dr[0] = Guest::kCode + 2;
  g.cpu().s.dr[7] = 0x402;
  g.RunCode({0xFF, 0xC0, 0xFF, 0xC0});
  EXPECT_EQ(g.Vector(), 1);
  EXPECT_EQ(g.cpu().s.gpr[kRax], 1u);
  EXPECT_EQ(g.Read64(g.cpu().s.gpr[kRsp]), Guest::kCode + 2);
  EXPECT_TRUE(g.cpu().s.dr[6] & 1);
}

TEST(EventsTest, AKickEndsAnEndlessLoop) {
  Guest g;
  g.Enter64();
  g.Write(Guest::kCode, {0xEB, 0xFE});  // jmp $
  std::atomic<bool> ended{false};
  std::thread runner([&] {
    EXPECT_EQ(g.cpu().Run()->reason, ExitReason::kKicked);
    ended = true;
  });
  // The first few are interpreted, and so counted.
  while (g.cpu().instructions() < 2) std::this_thread::yield();
  g.cpu().Kick();
  runner.join();
  EXPECT_TRUE(ended);
}

TEST(EventsTest, AKickWakesAHaltedVcpu) {
  Guest g;
  g.Enter64();
  g.RunCode({});
  std::thread waiter([&] { g.cpu().WaitForWork(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  g.cpu().Kick();
  waiter.join();
  EXPECT_EQ(g.cpu().Run()->reason, ExitReason::kKicked);
}

TEST(EventsTest, TripleFaultSaysWhere) {
  Guest g;
  g.Enter64();
  g.cpu().s.idt.limit = 0;
  const Exit exit = g.RunCode({0x0F, 0x0B});
  EXPECT_EQ(exit.reason, ExitReason::kShutdown);
  EXPECT_NE(exit.detail.find("100000"), std::string::npos) << exit.detail;
}

TEST(EventsTest, AVcpuWaitsForSipi) {
  Guest g(2);
  EXPECT_EQ(g.cpu(1).Run()->reason, ExitReason::kHalted);
  g.Write(0x8000, {0xB0, 0x42, 0xF4});  // mov al, 0x42; hlt
  g.cpu(1).SendInit();
  g.cpu(1).SendSipi(8);
  g.cpu(1).WaitForWork();
  EXPECT_EQ(g.cpu(1).Run()->reason, ExitReason::kHalted);
  EXPECT_EQ(g.cpu(1).s.gpr[kRax] & 0xFF, 0x42u);
  EXPECT_EQ(g.cpu(1).s.seg[kCs].selector, 0x800);
  // Not waiting: ignored.
  g.cpu(1).SendSipi(9);
  EXPECT_EQ(g.cpu(1).Run()->reason, ExitReason::kHalted);
  EXPECT_EQ(g.cpu(1).s.seg[kCs].selector, 0x800);
}

TEST(EventsTest, InstructionsAreCounted) {
  Guest g;
  g.Enter64();
  g.cpu().s.gpr[kRcx] = 100;
  g.RunCode({0xFF, 0xC9, 0x75, 0xFC});  // dec ecx; jnz
  EXPECT_EQ(g.cpu().instructions(), 201u);
}

}  // namespace
}  // namespace atl::cpu::soft
