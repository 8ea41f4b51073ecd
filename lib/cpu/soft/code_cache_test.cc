// SPDX-License-Identifier: Apache-2.0
// Code that changes, moves, lies on two pages, or is none.
#include "lib/cpu/soft/code_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "lib/cpu/soft/model.h"
#include "lib/cpu/soft/testing/guest.h"

namespace atl::cpu::soft {
namespace {

constexpr uint64_t kPage = 0x1000;

TEST(CodeCacheTest, AStoreIntoTheRunningBlockTakesEffectAtOnce) {
  Guest g;
  g.Enter64();
  g.cpu().s.gpr[kRdi] = Guest::kCode + 4;
  // mov byte [rdi], 0x42 -> mov al, 1's immediate ... the instruction after it
  g.RunCode({0xC6, 0x07, 0x42,  // mov byte [rdi], 0x42
             0xB0, 0x01,        // mov al, 1  ->  mov al, 0x42
             0x90});
  EXPECT_EQ(g.cpu().s.gpr[kRax], 0x42u);
}

TEST(CodeCacheTest, ALoopThatChangesItselfEveryTime) {
  Guest g;
  g.Enter64();
  g.cpu().s.gpr[kRcx] = 1000;
  g.cpu().s.gpr[kRdi] = Guest::kCode + 3;
  // 0: add eax, 1   <- its immediate is incremented, an int8
  // 3: (imm is the byte at +2)
  g.cpu().s.gpr[kRdi] = Guest::kCode + 2;
  g.RunCode({0x83, 0xC0, 0x00,  // add eax, imm8
             0xFE, 0x07,        // inc byte [rdi]
             0x80, 0x27, 0x0F,  // and byte [rdi], 15
             0xFF, 0xC9,        // dec ecx
             0x75, 0xF4});      // jnz -12
  uint64_t want = 0;
  for (unsigned i = 0; i < 1000; ++i) want += i & 15;
  EXPECT_EQ(g.cpu().s.gpr[kRax], want);
}

TEST(CodeCacheTest, AFullArenaIsEmptiedAndTheGuestGoesOn) {
  Guest g;
  g.Enter64();
  g.cpu().s.gpr[kRcx] = 400'000;
  g.cpu().s.gpr[kRdi] = Guest::kCode + 2;
  g.RunCode({0x83, 0xC0, 0x00,  // add eax, imm8
             0xFE, 0x07,        // inc byte [rdi]
             0xFF, 0xC9,        // dec ecx
             0x75, 0xF7});      // jnz -9
  int32_t want = 0;
  for (unsigned i = 0; i < 400'000; ++i) want += static_cast<int8_t>(i);
  EXPECT_EQ(static_cast<int32_t>(g.cpu().s.gpr[kRax]), want);
  EXPECT_GT(g.cpu().code->clears(), 0u);
}

TEST(CodeCacheTest, DataBesideCodeDecodesOnce) {
  Guest g;
  g.Enter64();
  g.cpu().s.gpr[kRcx] = 1000;
  g.cpu().s.gpr[kRdi] = Guest::kCode + 0x800;
  g.RunCode({0xFF, 0x07, 0xFF, 0xC9, 0x75, 0xFA});  // inc dword [rdi]; dec ecx; jnz
  EXPECT_EQ(g.memory->Load<uint32_t>(Gpa(Guest::kCode + 0x800)).value(), 1000u);
  EXPECT_LT(g.cpu().code->decoded(), 40u);
}

TEST(CodeCacheTest, RepStringsChangeCode) {
  Guest g;
  g.Enter64();
  g.Write(Guest::kData, {0xB0, 0x07, 0xC3});          // mov al, 7; ret
  g.Write(Guest::kCode + 0x100, {0xB0, 0x01, 0xC3});  // mov al, 1; ret
  g.cpu().s.gpr[kRsi] = Guest::kData;
  g.cpu().s.gpr[kRdi] = Guest::kCode + 0x100;
  g.cpu().s.gpr[kRcx] = 3;
  g.RunCode({0xE8, 0xFB, 0x00, 0x00, 0x00,    // call +0x100
             0x88, 0xC3,                      // mov bl, al
             0xF3, 0xA4,                      // rep movsb
             0xE8, 0xF2, 0x00, 0x00, 0x00});  // call +0x100
  EXPECT_EQ(g.cpu().s.gpr[kRbx], 1u);
  EXPECT_EQ(g.cpu().s.gpr[kRax], 7u);
}

TEST(CodeCacheTest, DeviceWritesChangeCode) {
  Guest g;
  g.Enter64();
  g.RunCode({0xB0, 0x01});
  EXPECT_EQ(g.cpu().s.gpr[kRax], 1u);
  g.Write(Guest::kCode + 1, {0x99});
  g.cpu().s.rip = Guest::kCode;
  g.Run();
  EXPECT_EQ(g.cpu().s.gpr[kRax], 0x99u);
}

TEST(CodeCacheTest, AnInstructionOnTwoPagesFollowsBoth) {
  Guest g;
  g.Enter64();
  const uint64_t at = Guest::kCode + kPage - 2;
  g.Write(at, {0xB8, 0x01, 0x02, 0x03, 0x04, 0xF4});  // mov eax, imm32; hlt
  g.cpu().s.rip = at;
  g.Run();
  EXPECT_EQ(g.cpu().s.gpr[kRax], 0x04030201u);
  // Other bytes on the second page, by a store and by another mapping.
  g.memory->Store<uint8_t>(Gpa(Guest::kCode + kPage), 0x77);
  g.cpu().s.rip = at;
  g.Run();
  EXPECT_EQ(g.cpu().s.gpr[kRax], 0x04037701u);
  g.Write(0x500000, {0xAA, 0xBB, 0xCC, 0xF4});
  g.MapPage(Guest::kCode + kPage, 0x500007);
  g.cpu().s.rip = at;
  g.Run();
  EXPECT_EQ(g.cpu().s.gpr[kRax], 0xCCBBAA01u);
}

TEST(CodeCacheTest, ASecondPageIsLeftAloneByWhatTheFirstHasNow) {
  Guest g;
  g.Enter64();
  const uint64_t at = Guest::kCode + kPage - 1, second = Guest::kCode + kPage;
  g.Write(at, {0xB0, 0x01, 0xF4});  // mov al, 1; hlt
  for (int i = 0; i < 10; ++i) {
    g.cpu().s.rip = at;
    g.Run();
  }
  EXPECT_EQ(g.cpu().s.gpr[kRax] & 0xFF, 1u);
  g.Write(at, {0xF4});
  g.MapPage(second, second | 7);
  g.cpu().s.rip = at;
  g.Run();
  EXPECT_EQ(g.cpu().s.rip, second);
  EXPECT_EQ(g.Read64(Guest::kPageTable + 8 * (second >> 12)) & 0x20, 0u);
}

TEST(CodeCacheTest, AMissingSecondPageFaultsWhenTheInstructionIsReached) {
  Guest g;
  g.Enter64();
  g.MapPage(Guest::kCode + kPage, 0);
  const uint64_t at = Guest::kCode + kPage - 4;
  g.Write(at, {0xB3, 0x05, 0xB8, 0x01});  // mov bl, 5; mov eax, ...
  g.cpu().s.rip = at;
  g.Run();
  EXPECT_EQ(g.Vector(), 14);
  EXPECT_EQ(g.cpu().s.cr2, Guest::kCode + kPage);
  EXPECT_EQ(g.cpu().s.gpr[kRbx], 5u);
  EXPECT_EQ(g.Read64(g.cpu().s.gpr[kRsp] + 8), at + 2);
}

TEST(CodeCacheTest, ARemappedPageRunsItsNewCode) {
  Guest g;
  g.Enter64();
  const uint64_t there = 0x400000;
  g.Write(there, {0xB0, 0x01, 0xC3});
  g.Write(0x500000, {0xB0, 0x02, 0xC3});
  // call there; mov bl, al; mov [PTE], new; invlpg; call there
  g.cpu().s.gpr[kRsi] = there;
  g.cpu().s.gpr[kRdi] = Guest::kPageTable + 8 * (there >> 12);
  g.cpu().s.gpr[kRdx] = 0x500007;
  g.RunCode({0xFF, 0xD6, 0x88, 0xC3, 0x48, 0x89, 0x17, 0x0F, 0x01, 0x3E, 0xFF, 0xD6});
  EXPECT_EQ(g.cpu().s.gpr[kRbx], 1u);
  EXPECT_EQ(g.cpu().s.gpr[kRax], 2u);
}

// Two address spaces with a function each at one address, taken turns with by
// CR3 writes that flush nothing; then one is changed and told so.
TEST(CodeCacheTest, AddressSpacesKeepTheirCode) {
  Guest g;
  g.Enter64();
  g.cpu().s.cr4 |= kCr4Pcide;
  ModeChanged(g.cpu());
  g.cpu().mmu.FlushAll();
  // The second space: other tables, the first 2 MiB and the page tables shared.
  const uint64_t there = 0x400000, pml4 = 0x800000, pt = 0x803000;
  g.memory->Store<uint64_t>(Gpa(pml4), 0x801007);
  g.memory->Store<uint64_t>(Gpa(0x801000), 0x802007);
  for (uint64_t i = 0; i < 8; ++i) {
    g.memory->Store<uint64_t>(Gpa(0x802000 + 8 * i),
                              i == 2 ? pt | 7 : (Guest::kPageTable + 0x1000 * i) | 7);
  }
  g.memory->Store<uint64_t>(Gpa(pt), 0x500007);
  g.Write(0x400000, {0x83, 0xC6, 0x01, 0xC3});  // add esi, 1; ret
  g.Write(0x500000, {0x83, 0xC6, 0x64, 0xC3});  // add esi, 100; ret
  g.Write(0x600000, {0x83, 0xC5, 0x01, 0xC3});  // add ebp, 1; ret
  constexpr uint64_t kKeep = uint64_t{1} << 63;
  CpuState& s = g.cpu().s;
  s.gpr[kRdi] = there;
  s.gpr[kR8] = 0x10000 | kKeep;
  s.gpr[kR9] = pml4 | 5 | kKeep;
  s.gpr[kRcx] = 100;
  const std::vector<uint8_t> loop = {0xFF, 0xD7,              //  0: call rdi
                                     0x41, 0x0F, 0x22, 0xD9,  //  2: mov cr3, r9
                                     0xFF, 0xD7,              //  6: call rdi
                                     0x41, 0x0F, 0x22, 0xD8,  //  8: mov cr3, r8
                                     0xFF, 0xC9,              // 12: dec ecx
                                     0x75, 0xF0,              // 14: jnz 0
                                     0xF4};
  g.Write(Guest::kCode, loop);
  g.Run();
  EXPECT_EQ(s.gpr[kRsi], 10100u);
  // The space that is not there, by INVPCID of an address and of all.
  for (const uint8_t type : {0, 1}) {
    g.memory->Store<uint64_t>(Gpa(pt), type == 0 ? 0x600007 : 0x500007);
    g.memory->Store<uint64_t>(Gpa(Guest::kData), 5);
    g.memory->Store<uint64_t>(Gpa(Guest::kData + 8), there);
    s.gpr[kRdx] = Guest::kData;
    s.gpr[kRax] = type;
    s.gpr[kRcx] = 100;
    s.gpr[kRsi] = s.gpr[kRbp] = 0;
    s.rip = Guest::kCode + 0x100;
    g.Write(Guest::kCode + 0x100, {0x66, 0x0F, 0x38, 0x82, 0x02,    // invpcid rax, [rdx]
                                   0xE9, 0xF6, 0xFE, 0xFF, 0xFF});  // jmp kCode
    g.Run();
    EXPECT_EQ(s.gpr[kRsi], type == 0 ? 100u : 10100u);
    EXPECT_EQ(s.gpr[kRbp], type == 0 ? 100u : 0u);
  }
}

TEST(CodeCacheTest, InstructionsOfMoreThan15BytesAreGp) {
  Guest g;
  g.Enter64();
  std::vector<uint8_t> code(15, 0x66);
  code.push_back(0x90);
  g.Write(Guest::kCode, code);
  g.Run();
  EXPECT_EQ(g.Vector(), 13);
}

TEST(CodeCacheTest, HiddenFeaturesAreUndefinedAndTheirPrefixesMeanNothing) {
  const std::vector<std::vector<uint8_t>> undefined = {
      {0xC5, 0xF8, 0x28, 0xC1},        // vmovaps
      {0xC4, 0xE2, 0x78, 0xF2, 0xC1},  // andn
      {0xF0, 0x90},                    // lock nop
      {0xF0, 0x01, 0xC0},              // lock add eax, eax
      {0x0F, 0x0B},                    // ud2
      {0x0F, 0x01, 0xD0},              // xgetbv
      {0x06},                          // push es, in 64-bit mode
  };
  for (const auto& code : undefined) {
    Guest g(1, CpuModel::kBase);
    g.Enter64();
    g.Write(Guest::kCode, code);
    g.Run();
    EXPECT_EQ(g.Vector(), 6) << std::hex << unsigned{code[0]};
  }
  Guest g(1, CpuModel::kBase);
  g.Enter64();
  g.cpu().s.gpr[kRax] = 0x1234;
  g.RunCode({0xF3, 0x0F, 0xBC, 0xC3});  // tzcnt eax, ebx with ebx 0: BSF keeps eax
  EXPECT_EQ(g.cpu().s.gpr[kRax] & 0xFFFF, 0x1234u);
}

TEST(CodeCacheTest, NoMemoryIsAnErrorThatNamesThePlace) {
  Guest g;
  g.Enter64();
  g.MapPage(0x700000, 0xFED00007);
  g.cpu().s.rip = 0x700000;
  const Exit exit = g.Run();
  EXPECT_EQ(exit.reason, ExitReason::kError);
  EXPECT_NE(exit.detail.find("700000"), std::string::npos) << exit.detail;
}

// One vCPU runs a function over and over while another patches it.
TEST(CodeCacheTest, AnotherVcpusStoresReachRunningCode) {
  Guest g(2);
  g.Enter64(0);
  g.Enter64(1);
  const uint64_t function = 0x400000;
  g.Write(function, {0xB8, 0x01, 0x00, 0x00, 0x00, 0xC3});  // mov eax, 1; ret
  // vCPU 0: until the function says 2.
  g.Write(Guest::kCode, {0xE8, 0xFB, 0xFF, 0x2F, 0x00,  // call function
                         0x83, 0xF8, 0x02,              // cmp eax, 2
                         0x75, 0xF6,                    // jne
                         0xF4});
  // vCPU 1: its page is in the TLB for writing before the other decodes from it.
  g.cpu(1).s.rip = Guest::kCode + 0x100;
  g.cpu(1).s.gpr[kRcx] = 1'000'000;
  g.cpu(1).s.gpr[kRdi] = function;
  g.Write(Guest::kCode + 0x100, {0xC6, 0x47, 0x20, 0x00,  // mov byte [rdi+0x20], 0
                                 0xFF, 0xC9,              // dec ecx
                                 0x75, 0xF8,              // jnz
                                 0xC6, 0x47, 0x01, 0x02,  // mov byte [rdi+1], 2
                                 0xF4});
  std::atomic<bool> done{false};
  std::thread other([&] { g.Run(1); });
  std::thread one([&] {
    g.Run(0);
    done = true;
  });
  other.join();
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!done && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(done);
  if (!done) g.cpu(0).s.gpr[kRax] = 0;
  if (!done) g.cpu(0).SendInit();  // ends the loop
  one.join();
  EXPECT_EQ(g.cpu(0).s.gpr[kRax], 2u);
}

// A page that is written so often that it counts as data, and run in between.
TEST(CodeCacheTest, PagesGoFromCodeToDataAndBack) {
  Guest g;
  g.Enter64();
  const uint64_t function = 0x400000;
  g.Write(function, {0xB8, 0x00, 0x00, 0x00, 0x00, 0xC3});  // mov eax, imm32; ret
  g.cpu().s.gpr[kRdi] = function;
  g.cpu().s.gpr[kRcx] = 3000;
  g.RunCode({0x89, 0x4F, 0x01,                 //  0: mov [rdi+1], ecx
             0xBA, 0x07, 0x00, 0x00, 0x00,     //  3: mov edx, 7
             0x89, 0x97, 0x80, 0,    0,    0,  //  8: mov [rdi+0x80], edx
             0xFF, 0xCA,                       // 14: dec edx
             0x75, 0xF6,                       // 16: jnz 8
             0xFF, 0xD7,                       // 18: call rdi
             0x01, 0xC6,                       // 20: add esi, eax
             0xFF, 0xC9,                       // 22: dec ecx
             0x75, 0xE6});                     // 24: jnz 0
  EXPECT_EQ(g.cpu().s.gpr[kRsi], 3000u * 3001 / 2);
}

// One vCPU changes a function and stores beside it, until the page is data, and
// tells another, which runs it: what it runs is never older than what it was told.
TEST(CodeCacheTest, ChangedCodeIsSeenByWhoWasTold) {
  Guest g(2);
  g.Enter64(0);
  g.Enter64(1);
  const uint64_t function = 0x400000;
  constexpr uint32_t kTurns = 1000;
  g.Write(function, {0xB8, 0x00, 0x00, 0x00, 0x00, 0xC3});  // mov eax, imm32; ret
  for (unsigned v = 0; v < 2; ++v) {
    g.cpu(v).s.gpr[kRdi] = function;
    g.cpu(v).s.gpr[kR8] = Guest::kData;
    g.cpu(v).s.gpr[kR9] = Guest::kData + 0x1000;
  }
  g.Write(Guest::kCode, {0x41, 0x8B, 0x18,              //  0: mov ebx, [r8]
                         0xF3, 0x90,                    //  3: pause
                         0x39, 0xD3,                    //  5: cmp ebx, edx
                         0x74, 0xF7,                    //  7: je 0
                         0xFF, 0xD7,                    //  9: call rdi
                         0x29, 0xD8,                    // 11: sub eax, ebx
                         0x09, 0xC6,                    // 13: or esi, eax
                         0x89, 0xDA,                    // 15: mov edx, ebx
                         0x41, 0x89, 0x19,              // 17: mov [r9], ebx
                         0x81, 0xFB, 0xE8, 0x03, 0, 0,  // 20: cmp ebx, 1000
                         0x75, 0xE4,                    // 26: jne 0
                         0xF4});
  const uint64_t writer = Guest::kCode + 0x1000;
  g.cpu(1).s.rip = writer;
  g.Write(writer, {0xFF, 0xC1,                    //  0: inc ecx
                   0x89, 0x4F, 0x01,              //  2: mov [rdi+1], ecx
                   0x89, 0x8F, 0x00, 0x02, 0, 0,  //  5: mov [rdi+0x200], ecx
                   0x41, 0x89, 0x08,              // 11: mov [r8], ecx
                   0xF3, 0x90,                    // 14: pause
                   0x41, 0x39, 0x09,              // 16: cmp [r9], ecx
                   0x75, 0xF9,                    // 19: jne 14
                   0x81, 0xF9, 0xE8, 0x03, 0, 0,  // 21: cmp ecx, 1000
                   0x75, 0xE3,                    // 27: jne 0
                   0xF4});
  std::thread other([&] { g.Run(1); });
  g.Run(0);
  other.join();
  EXPECT_EQ(g.cpu(0).s.gpr[kRdx], kTurns);
  EXPECT_EQ(g.cpu(0).s.gpr[kRsi], 0u);
}

}  // namespace
}  // namespace atl::cpu::soft
