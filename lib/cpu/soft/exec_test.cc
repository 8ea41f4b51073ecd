// SPDX-License-Identifier: Apache-2.0
// What running the same bytes on the host cannot show: faults and what they
// leave, page crossings, restarts, 16-bit addressing, limits.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "lib/cpu/soft/testing/guest.h"

namespace atl::cpu::soft {
namespace {

constexpr uint64_t kPage = 0x1000;

TEST(ExecTest, LoadsAndStoresAcrossAPageOfOtherMemory) {
  Guest g;
  g.Enter64();
  // The second page lies elsewhere: bytes come from and go to both.
  g.MapPage(Guest::kData + kPage, 0x500007);
  g.Write(Guest::kData + 0xFFC, {1, 2, 3, 4});
  g.Write(0x500000, {5, 6, 7, 8});
  g.cpu().s.gpr[kRdi] = Guest::kData + 0xFFC;
  // mov rax, [rdi]; not qword [rdi]; lock inc qword [rdi]
  g.RunCode({0x48, 0x8B, 0x07, 0x48, 0xF7, 0x17, 0xF0, 0x48, 0xFF, 0x07});
  EXPECT_EQ(g.cpu().s.gpr[kRax], 0x0807060504030201u);
  EXPECT_EQ(g.Read8(Guest::kData + 0xFFC), 0xFF);
  EXPECT_EQ(g.Read8(0x500003), static_cast<uint8_t>(~8));
}

TEST(ExecTest, AStoreThatFaultsOnItsSecondPageWritesNothing) {
  Guest g;
  g.Enter64();
  g.MapPage(Guest::kData + kPage, 0);
  g.cpu().s.gpr[kRdi] = Guest::kData + 0xFFC;
  g.cpu().s.gpr[kRax] = ~uint64_t{0};
  g.RunCode({0x90, 0x48, 0x89, 0x07});  // nop; mov [rdi], rax
  EXPECT_EQ(g.Vector(), 14);
  EXPECT_EQ(g.cpu().s.cr2, Guest::kData + kPage);
  EXPECT_EQ(g.Read64(Guest::kData + 0xFF8), 0u);
  EXPECT_EQ(g.Read64(g.cpu().s.gpr[kRsp] + 8), Guest::kCode + 1);  // the store's rip
}

TEST(ExecTest, APushThatFaultsKeepsTheStackPointer) {
  Guest g;
  g.Enter64();
  g.MapPage(Guest::kStack - kPage, 0);
  g.cpu().s.gpr[kRbx] = Guest::kStack;
  // push rax with the page below gone: the handler's frame cannot be pushed
  // either, so this ends in a triple fault with rsp where it was.
  const Exit exit = g.RunCode({0x50});
  EXPECT_EQ(exit.reason, ExitReason::kShutdown);
  EXPECT_NE(exit.detail.find("100000"), std::string::npos) << exit.detail;
  EXPECT_EQ(g.cpu().s.gpr[kRsp], Guest::kStack);
}

TEST(ExecTest, FlagsOfAFaultingReadModifyWriteStay) {
  Guest g;
  g.Enter64();
  g.MapPage(Guest::kData, 5);  // present, read-only, at 0 ... user
  g.MapPage(Guest::kData, Guest::kData | 5);
  g.cpu().s.gpr[kRdi] = Guest::kData;
  g.RunCode({0xF9, 0x48, 0x83, 0x07, 0x01});  // stc; add qword [rdi], 1
  EXPECT_EQ(g.Vector(), 14);
  EXPECT_EQ(g.Read64(g.cpu().s.gpr[kRsp]), 3u);  // error code: write, present
  EXPECT_TRUE(g.Read64(g.cpu().s.gpr[kRsp] + 24) & kCf);
}

TEST(ExecTest, RepMovsStopsAtTheFaultAndGoesOn) {
  Guest g;
  g.Enter64();
  for (uint64_t i = 0; i < 0x3000; i += 8) g.memory->Store<uint64_t>(Gpa(Guest::kData + i), i + 1);
  const uint64_t to = 0x600000;
  g.MapPage(to + 2 * kPage, 0);
  g.cpu().s.gpr[kRsi] = Guest::kData;
  g.cpu().s.gpr[kRdi] = to + 4;
  g.cpu().s.gpr[kRcx] = 0x2800;
  g.RunCode({0xF3, 0xA4});  // rep movsb
  EXPECT_EQ(g.Vector(), 14);
  EXPECT_EQ(g.cpu().s.cr2, to + 2 * kPage);
  EXPECT_EQ(g.cpu().s.gpr[kRdi], to + 2 * kPage);
  EXPECT_EQ(g.cpu().s.gpr[kRsi], Guest::kData + 2 * kPage - 4);
  EXPECT_EQ(g.cpu().s.gpr[kRcx], 0x2800u - (2 * kPage - 4));
  EXPECT_EQ(g.Read64(g.cpu().s.gpr[kRsp] + 8), Guest::kCode);
  g.MapPage(to + 2 * kPage, (to + 2 * kPage) | 7);
  g.cpu().s.rip = Guest::kCode;
  g.Run();
  EXPECT_EQ(g.Vector(), -1);
  EXPECT_EQ(g.cpu().s.gpr[kRcx], 0u);
  for (uint64_t i = 0; i < 0x2800; ++i)
    ASSERT_EQ(g.Read8(to + 4 + i), g.Read8(Guest::kData + i)) << i;
}

TEST(ExecTest, RepMovsRepeatsAPatternForwardsAndBackwards) {
  Guest g;
  g.Enter64();
  g.Write(Guest::kData, {1, 2, 3});
  g.cpu().s.gpr[kRsi] = Guest::kData;
  g.cpu().s.gpr[kRdi] = Guest::kData + 3;
  g.cpu().s.gpr[kRcx] = 9;
  g.RunCode({0xF3, 0xA4});
  for (unsigned i = 0; i < 12; ++i) EXPECT_EQ(g.Read8(Guest::kData + i), 1 + i % 3);

  Guest h;
  h.Enter64();
  for (uint64_t i = 0; i < 16; ++i) h.memory->Store<uint8_t>(Gpa(Guest::kData + i), i);
  h.cpu().s.gpr[kRsi] = Guest::kData + 7;
  h.cpu().s.gpr[kRdi] = Guest::kData + 9;
  h.cpu().s.gpr[kRcx] = 8;
  h.RunCode({0xFD, 0xF3, 0xA4, 0xFC});  // std; rep movsb; cld
  for (uint64_t i = 0; i < 8; ++i) EXPECT_EQ(h.Read8(Guest::kData + 2 + i), i);
  EXPECT_EQ(h.cpu().s.gpr[kRdi], Guest::kData + 1);
}

TEST(ExecTest, RepStosFillsPagesAndScasFindsItsByte) {
  Guest g;
  g.Enter64();
  g.cpu().s.gpr[kRdi] = Guest::kData + 3;
  g.cpu().s.gpr[kRcx] = 0x1234;
  g.cpu().s.gpr[kRax] = 0x0102030405060708;
  g.RunCode({0xF3, 0x48, 0xAB});  // rep stosq
  EXPECT_EQ(g.Read64(Guest::kData + 3 + 8 * 0x1233), 0x0102030405060708u);
  EXPECT_EQ(g.Read64(Guest::kData + 3 + 8 * 0x1234), 0u);

  g.cpu().s.gpr[kRdi] = Guest::kData + 3;
  g.cpu().s.gpr[kRcx] = ~uint64_t{0};
  g.cpu().s.gpr[kRax] = 0;
  g.cpu().s.rip = Guest::kCode;
  g.RunCode({0xF2, 0xAE});  // repne scasb
  EXPECT_EQ(g.cpu().s.gpr[kRdi], Guest::kData + 3 + 8 * 0x1234 + 1);
  EXPECT_TRUE(GetRflags(g.cpu().s) & kZf);
}

TEST(ExecTest, MmioSeesTheAccessSizesOfTheInstruction) {
  Guest g;
  g.Enter64();
  g.MapPage(0x700000, 0xFEC00007);
  g.cpu().s.gpr[kRdi] = 0x700010;
  // mov eax, [rdi]; mov word [rdi], 0x1234; add byte [rdi], 1
  g.RunCode({0x8B, 0x07, 0x66, 0xC7, 0x07, 0x34, 0x12, 0x80, 0x07, 0x01});
  EXPECT_EQ(g.cpu().s.gpr[kRax], 0x55667788u);
  const std::vector<std::pair<uint64_t, uint64_t>> reads = {{0xFEC00010, 4}, {0xFEC00010, 1}};
  EXPECT_EQ(g.bus.mmio_reads, reads);
  ASSERT_EQ(g.bus.mmio_writes.size(), 2u);
  EXPECT_EQ(g.bus.mmio_writes[0].second & 0xFFFF, 0x1234u);
  EXPECT_EQ(g.bus.mmio_writes[1].second & 0xFF, 0x89u);
}

TEST(ExecTest, BitOffsetsReachBeyondTheOperand) {
  Guest g;
  g.Enter64();
  g.cpu().s.gpr[kRdi] = Guest::kData + 64;
  g.cpu().s.gpr[kRax] = static_cast<uint64_t>(-9);
  g.cpu().s.gpr[kRbx] = 1000;
  // bts [rdi], rax; lock bts [rdi], ebx
  g.RunCode({0x48, 0x0F, 0xAB, 0x07, 0xF0, 0x0F, 0xAB, 0x1F});
  EXPECT_EQ(g.Read8(Guest::kData + 62), 0x80);
  EXPECT_EQ(g.Read8(Guest::kData + 64 + 125), 1);
}

TEST(ExecTest, SixteenBitAddressesWrapInTheirSegment) {
  Guest g;
  g.EnterReal();
  g.Write(0x20000 + 0x0010, {0x5A});
  g.cpu().s.gpr[kRbx] = 0xFFF0;
  g.cpu().s.gpr[kRsi] = 0x20;
  g.RunCode({0x8A, 0x00});  // mov al, [bx+si]
  EXPECT_EQ(g.cpu().s.gpr[kRax], 0x5Au);
}

TEST(ExecTest, AWordAtTheEndOfARealModeSegmentIsGp) {
  Guest g;
  g.EnterReal();
  g.cpu().s.gpr[kRbx] = 0xFFFF;
  g.RunCode({0x8B, 0x07});  // mov ax, [bx]
  EXPECT_EQ(g.Vector(), 13);
}

TEST(ExecTest, RealModeStringsUseSixteenBitRegisters) {
  Guest g;
  g.EnterReal();
  for (unsigned i = 0; i < 16; ++i) g.memory->Store<uint8_t>(Gpa(0x2FFF8 + i), 0x40 + i);
  g.cpu().s.gpr[kRsi] = 0xABCD0000FFF8;
  g.cpu().s.gpr[kRdi] = 0x0100;
  g.cpu().s.gpr[kRcx] = 0xFFFF0008;
  g.RunCode({0xF3, 0xA4});
  EXPECT_EQ(g.cpu().s.gpr[kRsi], 0xABCD00000000u);
  EXPECT_EQ(g.cpu().s.gpr[kRcx], 0xFFFF0000u);
  for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(g.Read8(0x20100 + i), 0x40 + i);
}

TEST(ExecTest, AJumpBeyondTheCodeLimitIsGpAtTheJump) {
  Guest g;
  g.Enter32();
  g.cpu().s.seg[kCs].limit = Guest::kCode + 0xFFF;
  g.RunCode({0x90, 0xE9, 0xFB, 0x0F, 0x00, 0x00});  // nop; jmp kCode+0x1001
  EXPECT_EQ(g.Vector(), 13);
  EXPECT_EQ(g.memory->Load<uint32_t>(Gpa(g.cpu().s.gpr[kRsp] + 4)).value(), Guest::kCode + 1);
}

TEST(ExecTest, ExpandDownSegmentsAreChecked) {
  Guest g;
  g.Enter32();
  SegmentState& ds = g.cpu().s.seg[kDs];
  ds.attributes = 0xC097;  // data, expand-down, writable, 32-bit
  ds.limit = Guest::kData - 1;
  ds.flat_read = ds.flat_write = false;
  g.Write(Guest::kCode, {0xA1, 0x00, 0x00, 0x30, 0x00,    // mov eax, [kData]
                         0xA1, 0xFF, 0xFF, 0x2F, 0x00});  // mov eax, [kData-1]
  g.Run();
  EXPECT_EQ(g.Vector(), 13);
  EXPECT_EQ(g.memory->Load<uint32_t>(Gpa(g.cpu().s.gpr[kRsp] + 4)).value(), Guest::kCode + 5);
}

TEST(ExecTest, DivideErrorsArePreciseAndChangeNothing) {
  Guest g;
  g.Enter64();
  g.cpu().s.gpr[kRax] = 0;
  g.cpu().s.gpr[kRdx] = uint64_t{1} << 63;
  g.cpu().s.gpr[kRbx] = ~uint64_t{0};
  g.RunCode({0x90, 0x48, 0xF7, 0xFB});  // idiv rbx: -2^127 / -1
  EXPECT_EQ(g.Vector(), 0);
  EXPECT_EQ(g.cpu().s.gpr[kRdx], uint64_t{1} << 63);
  EXPECT_EQ(g.Read64(g.cpu().s.gpr[kRsp]), Guest::kCode + 1);
}

TEST(ExecTest, NonCanonicalAddressesAreGpOrSs) {
  Guest g;
  g.Enter64();
  g.cpu().s.gpr[kRdi] = 0x8000000000000000;
  g.RunCode({0x8A, 0x07});
  EXPECT_EQ(g.Vector(), 13);

  Guest h;
  h.Enter64();
  h.cpu().s.gpr[kRbp] = 0x8000000000000000;
  h.RunCode({0x8A, 0x45, 0x00});  // mov al, [rbp]
  EXPECT_EQ(h.Vector(), 12);

  Guest i;
  i.Enter64();
  i.cpu().s.gpr[kRax] = 0x8000000000000000;
  i.RunCode({0xFF, 0xE0});  // jmp rax: faults at the jump
  EXPECT_EQ(i.Vector(), 13);
  EXPECT_EQ(i.Read64(i.cpu().s.gpr[kRsp] + 8), Guest::kCode);
}

TEST(ExecTest, PopToMemoryAddressesWithTheNewStackPointer) {
  Guest g;
  g.Enter64();
  g.memory->Store<uint64_t>(Gpa(Guest::kStack), 0x1234);
  g.RunCode({0x8F, 0x04, 0x24});  // pop qword [rsp]
  EXPECT_EQ(g.Read64(Guest::kStack + 8), 0x1234u);
  EXPECT_EQ(g.cpu().s.gpr[kRsp], Guest::kStack + 8);
}

TEST(ExecTest, Enter16BytesOfNestedFrames) {
  Guest g;
  g.Enter64();
  g.cpu().s.gpr[kRbp] = Guest::kStack + 0x100;
  g.memory->Store<uint64_t>(Gpa(Guest::kStack + 0xF8), 0xAAAA);
  g.RunCode({0xC8, 0x20, 0x00, 0x02});  // enter 0x20, 2
  EXPECT_EQ(g.cpu().s.gpr[kRbp], Guest::kStack - 8);
  EXPECT_EQ(g.Read64(Guest::kStack - 8), Guest::kStack + 0x100);
  EXPECT_EQ(g.Read64(Guest::kStack - 16), 0xAAAAu);
  EXPECT_EQ(g.Read64(Guest::kStack - 24), Guest::kStack - 8);
  EXPECT_EQ(g.cpu().s.gpr[kRsp], Guest::kStack - 24 - 0x20);
}

}  // namespace
}  // namespace atl::cpu::soft
