// SPDX-License-Identifier: Apache-2.0
// Segment loads, descriptor tables, far transfers and call gates.
#include <cstdint>
#include <initializer_list>

#include "gtest/gtest.h"
#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/testing/guest.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

// A code or data descriptor: access byte, flags (G, D/B, L, AVL).
uint64_t Descriptor(uint32_t base, uint32_t limit, uint8_t access, uint8_t flags) {
  return (limit & 0xFFFF) | static_cast<uint64_t>(base & 0xFFFFFF) << 16 |
         static_cast<uint64_t>(access) << 40 | static_cast<uint64_t>(limit >> 16 & 15) << 48 |
         static_cast<uint64_t>(flags) << 52 | static_cast<uint64_t>(base >> 24) << 56;
}

class SegmentTest : public ::testing::Test {
 protected:
  CpuState& s() { return guest_.cpu().s; }
  void Put(uint16_t selector, uint64_t descriptor) {
    guest_.memory->Store(Gpa(Guest::kGdt + (selector & 0xFFF8u)), descriptor);
    if (s().gdt.limit < (selector | 7)) s().gdt.limit = selector | 7;
  }
  uint8_t Access(uint16_t selector) { return guest_.Read8(Guest::kGdt + (selector & 0xFFF8u) + 5); }
  // MOV DS, AX with `selector`.
  int LoadDs(uint16_t selector) {
    s().rip = Guest::kCode;
    s().gpr[kRsp] = Guest::kStack;
    s().gpr[kRax] = selector;
    guest_.RunCode({0x8E, 0xD8});
    return guest_.Vector();
  }
  uint64_t ErrorCode() { return guest_.memory->Load<uint32_t>(Gpa(s().gpr[kRsp])).value(); }

  Guest guest_;
};

TEST_F(SegmentTest, DataSegments) {
  guest_.Enter32();
  Put(0x40, Descriptor(0x12345678, 0xABCDE, 0x92, 0x4));
  EXPECT_EQ(LoadDs(0x40), -1);
  EXPECT_EQ(s().seg[kDs].base, 0x12345678u);
  EXPECT_EQ(s().seg[kDs].limit, 0xABCDEu);
  EXPECT_EQ(Access(0x40), 0x93);  // accessed
  EXPECT_FALSE(s().seg[kDs].flat_read);
  Put(0x40, Descriptor(0, 0xFFFFF, 0x92, 0xC));
  EXPECT_EQ(LoadDs(0x43), kGp);  // RPL 3 > DPL 0
  EXPECT_EQ(ErrorCode(), 0x40u);
  EXPECT_EQ(Access(0x40), 0x92);
  EXPECT_EQ(LoadDs(0x40), -1);
  EXPECT_EQ(s().seg[kDs].limit, 0xFFFFFFFFu);
  EXPECT_TRUE(s().seg[kDs].flat_write);
  Put(0x40, Descriptor(0, 0xFFFFF, 0x12, 0xC));
  EXPECT_EQ(LoadDs(0x40), kNp);
  EXPECT_EQ(ErrorCode(), 0x40u);
  Put(0x40, Descriptor(0, 0xFFFFF, 0x98, 0xC));  // code, execute only
  EXPECT_EQ(LoadDs(0x40), kGp);
  Put(0x40, Descriptor(0, 0xFFFFF, 0x9A, 0xC));  // code, readable
  EXPECT_EQ(LoadDs(0x40), -1);
  EXPECT_TRUE(s().seg[kDs].flat_read);
  EXPECT_FALSE(s().seg[kDs].flat_write);
  EXPECT_EQ(LoadDs(0x200), kGp);  // beyond the table
  EXPECT_EQ(ErrorCode(), 0x200u);
  EXPECT_EQ(LoadDs(0x44), kGp);  // no LDT
  EXPECT_EQ(LoadDs(3), -1);      // null, any RPL
  EXPECT_TRUE(s().seg[kDs].unusable);
}

TEST_F(SegmentTest, StackSegment) {
  guest_.Enter32();
  Put(0x40, Descriptor(0, 0xFFFFF, 0x90, 0xC));  // read-only
  s().gpr[kRax] = 0x40;
  guest_.RunCode({0x8E, 0xD0});  // MOV SS, AX
  EXPECT_EQ(guest_.Vector(), kGp);
  guest_.Enter32();
  Put(0x40, Descriptor(0, 0xFFFFF, 0x12, 0xC));
  s().gpr[kRax] = 0x40;
  guest_.RunCode({0x8E, 0xD0});
  EXPECT_EQ(guest_.Vector(), kSsFault);
  guest_.Enter32();
  s().gpr[kRax] = 0;
  guest_.RunCode({0x8E, 0xD0});
  EXPECT_EQ(guest_.Vector(), kGp);
  EXPECT_EQ(ErrorCode(), 0u);
  // A 16-bit stack.
  guest_.Enter32();
  Put(0x40, Descriptor(0x200000, 0xFFFF, 0x92, 0));
  s().gpr[kRax] = 0x40;
  s().gpr[kRsp] = 0x12340000;
  guest_.RunCode({0x8E, 0xD0, 0x6A, 0x55});  // PUSH 0x55
  EXPECT_EQ(guest_.Vector(), -1);
  EXPECT_EQ(s().gpr[kRsp], 0x1234FFFCu);
  EXPECT_EQ(guest_.Read8(0x20FFFC), 0x55);
}

TEST_F(SegmentTest, InterruptsWaitForTheInstructionAfterMovSs) {
  guest_.Enter32();
  SetRflags(s(), 0x202);
  s().gpr[kRax] = 0x10;
  guest_.bus.pending = 20;
  guest_.cpu().SetInterruptLine(true);
  s().interrupt_shadow = true;
  s().shadow_rip = s().rip;
  // With the shadow: MOV SS runs first, then the INC too, then the interrupt.
  guest_.RunCode({0x8E, 0xD0, 0x43, 0x43});
  EXPECT_EQ(guest_.Vector(), 20);
  EXPECT_EQ(s().gpr[kRbx], 1u);
}

TEST_F(SegmentTest, UnrealMode) {
  guest_.EnterReal();
  // A 4 GiB limit stays over MOV DS in real mode.
  s().seg[kDs].limit = 0xFFFFFFFF;
  ModeChanged(guest_.cpu());
  s().gpr[kRax] = 0x1234;
  s().gpr[kRbx] = 0x300000;
  // MOV DS, AX; MOV DWORD [EBX], 0x11223344
  guest_.RunCode({0x8E, 0xD8, 0x67, 0x66, 0xC7, 0x03, 0x44, 0x33, 0x22, 0x11});
  EXPECT_EQ(guest_.Vector(), -1);
  EXPECT_EQ(s().seg[kDs].base, 0x12340u);
  EXPECT_EQ(guest_.memory->Load<uint32_t>(Gpa(0x312340)).value(), 0x11223344u);
}

TEST_F(SegmentTest, RealToProtectedToRealMode) {
  guest_.EnterReal();
  s().gdt = {Guest::kGdt, 0x4F};
  Put(0x40, Descriptor(0x10000, 0xFFFF, 0x9A, 0));  // 16-bit code at the same place
  Put(0x48, Descriptor(0, 0xFFFFF, 0x92, 0xC));
  guest_.RunCode({
      0x0F, 0x20, 0xC0,              // MOV EAX, CR0
      0x0C, 0x01,                    // OR AL, 1
      0x0F, 0x22, 0xC0,              // MOV CR0, EAX
      0xEA, 0x0D, 0x00, 0x40, 0x00,  // JMP 0x40:0x0D
      0xB8, 0x48, 0x00,              // MOV AX, 0x48
      0x8E, 0xC0,                    // MOV ES, AX
      0x0F, 0x20, 0xC0,              // MOV EAX, CR0
      0x24, 0xFE,                    // AND AL, 0xFE
      0x0F, 0x22, 0xC0,              // MOV CR0, EAX
      0xEA, 0x1F, 0x00, 0x00, 0x10,  // JMP 0x1000:0x1F
      0xBB, 0x34, 0x12,              // MOV BX, 0x1234
  });
  EXPECT_EQ(guest_.Vector(), -1);
  EXPECT_EQ(s().gpr[kRbx] & 0xFFFF, 0x1234u);
  EXPECT_FALSE(s().protected_mode);
  EXPECT_EQ(s().seg[kCs].selector, 0x1000);
  EXPECT_EQ(s().seg[kEs].limit, 0xFFFFFFFFu);
  EXPECT_TRUE(s().seg[kEs].flat_write);
}

TEST_F(SegmentTest, LarAndLsl) {
  guest_.Enter32();
  Put(0x40, Descriptor(0, 0x12, 0xF3, 0xC));
  s().gpr[kRcx] = 0x40;
  guest_.RunCode({0x0F, 0x02, 0xC1, 0x0F, 0x03, 0xD1});  // LAR EAX, ECX; LSL EDX, ECX
  EXPECT_EQ(s().gpr[kRax] & 0xF0FF00, 0xC0F300u);
  EXPECT_EQ(s().gpr[kRdx], 0x12FFFu);
  EXPECT_NE(GetRflags(s()) & kZf, 0u);
  guest_.Enter32();
  s().gpr[kRcx] = 0x43;
  Put(0x40, Descriptor(0, 0x12, 0x93, 0xC));  // DPL 0 for RPL 3
  s().gpr[kRdx] = 7;
  guest_.RunCode({0x0F, 0x03, 0xD1});
  EXPECT_EQ(s().gpr[kRdx], 7u);
  EXPECT_EQ(GetRflags(s()) & kZf, 0u);
}

TEST_F(SegmentTest, FarCallAndReturnInRealMode) {
  guest_.EnterReal();
  guest_.Write(0x34567, {0x43, 0xCB});  // INC BX; RETF
  guest_.RunCode({0x9A, 0x67, 0x05, 0x00, 0x34});
  EXPECT_EQ(guest_.Vector(), -1);
  EXPECT_EQ(s().gpr[kRbx] & 0xFFFF, 1u);
  EXPECT_EQ(s().seg[kCs].selector, 0x1000);
  EXPECT_EQ(s().gpr[kRsp], 0x8000u);
}

TEST_F(SegmentTest, LongModeFarReturnToCompatibilityAndBack) {
  guest_.Enter64();
  Put(0x30, Descriptor(0, 0xFFFFF, 0x9A, 0xC));  // 32-bit code
  // PUSH 0x30; PUSH kCode2; RETFQ -> 32-bit: MOV EAX, 5; JMP 8:kCode3 -> 64-bit.
  guest_.Write(0x110000, {0xB8, 5, 0, 0, 0, 0xEA, 0x00, 0x20, 0x11, 0x00, 0x08, 0x00});
  guest_.Write(0x112000, {0x48, 0xFF, 0xC0, 0xF4});  // INC RAX
  guest_.RunCode({0x6A, 0x30, 0x68, 0x00, 0x00, 0x11, 0x00, 0x48, 0xCB});
  EXPECT_EQ(guest_.Vector(), -1);
  EXPECT_EQ(s().gpr[kRax], 6u);
  EXPECT_EQ(s().code_size, CodeSize::k64);
  EXPECT_EQ(s().rip, 0x112004u);
}

TEST_F(SegmentTest, CallGateToMorePrivilegeAndReturn) {
  guest_.Enter32();
  Put(0x40, Descriptor(0, 0xFFFFF, 0xFA, 0xC));  // user code
  Put(0x48, Descriptor(0, 0xFFFFF, 0xF2, 0xC));  // user data
  // A gate of DPL 3 to 0x18:0x120000 with two parameters.
  Put(0x50, 0x0012EC0200180000);
  SystemRegs r = guest_.cpu().GetSystemRegs().value();
  for (unsigned i : {kEs, kSs, kDs, kFs, kGs}) {
    r.segment[i].selector = 0x4B;
    r.segment[i].dpl = 3;
  }
  r.segment[kCs].selector = 0x43;
  r.segment[kCs].dpl = 3;
  r.tr.base = Guest::kTss;
  r.tr.limit = 0x67;
  r.tr.type = 11;
  r.tr.s = false;
  ASSERT_TRUE(guest_.cpu().SetSystemRegs(r).ok());
  guest_.memory->Store<uint32_t>(Gpa(Guest::kTss + 4), 0x208000);
  guest_.memory->Store<uint32_t>(Gpa(Guest::kTss + 8), 0x10);
  // At CPL 0: MOV EAX, [ESP+8] (the last parameter); MOV EBX, CS; RETF 8.
  guest_.Write(0x120000, {0x8B, 0x44, 0x24, 0x08, 0x8C, 0xCB, 0xCA, 0x08, 0x00});
  // PUSH 0x11; PUSH 0x22; CALL 0x50:0; UD2 at CPL 3.
  guest_.RunCode({0x6A, 0x11, 0x6A, 0x22, 0x9A, 0, 0, 0, 0, 0x50, 0, 0x0F, 0x0B});
  EXPECT_EQ(guest_.Vector(), kUd);
  EXPECT_EQ(s().gpr[kRax], 0x22u);
  EXPECT_EQ(s().gpr[kRbx], 0x18u);
  // The frame of the UD2: back at CPL 3 with the parameters released.
  EXPECT_EQ(guest_.memory->Load<uint32_t>(Gpa(0x208000 - 8)).value(), Guest::kStack);
  EXPECT_EQ(guest_.memory->Load<uint32_t>(Gpa(0x208000 - 16)).value(), 0x43u);
  EXPECT_EQ(guest_.memory->Load<uint32_t>(Gpa(0x208000 - 20)).value(), Guest::kCode + 11);
}

TEST_F(SegmentTest, LoadTaskRegisterMarksBusy) {
  guest_.Enter64();
  s().gpr[kRax] = 0x20;
  guest_.RunCode({0x0F, 0x00, 0xD8});  // LTR AX
  EXPECT_EQ(guest_.Vector(), -1);
  EXPECT_EQ(Access(0x20), 0x8B);
  guest_.Enter64();
  s().gpr[kRax] = 0x20;
  guest_.RunCode({0x0F, 0x00, 0xD8});  // busy now
  EXPECT_EQ(guest_.Vector(), kGp);
  EXPECT_EQ(ErrorCode(), 0x20u);
}

}  // namespace
}  // namespace atl::cpu::soft
