// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/multiboot.h"

#include <elf.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/boot/entry.h"
#include "lib/boot/kernel.h"
#include "lib/cpu/regs.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint32_t kPlainFlags = 1 << 16 | 3;

void Put(Bytes& to, size_t at, std::initializer_list<uint32_t> words) {
  for (const uint32_t word : words) {
    StoreLe<uint32_t>(&to[at], word);
    at += 4;
  }
}

// A page of HLT whose header stands at 0x100.
Bytes PlainKernel(uint32_t load, uint32_t load_end, uint32_t bss_end, uint32_t entry,
                  uint32_t flags = kPlainFlags) {
  Bytes out(0x1000, 0xF4);
  Put(out, 0x100,
      {0x1BADB002, flags, 0u - 0x1BADB002 - flags, load + 0x100, load, load_end, bss_end, entry});
  return out;
}

class MultibootTest : public testing::Test {
 protected:
  absl::StatusOr<EntryState> Load(const Bytes& kernel, std::vector<Initrd> modules = {},
                                  bool vga = false) {
    return LoadMultiboot(kernel, "kernel a=b", modules, vga, *memory_);
  }
  // An error that says this.
  void Refused(const Bytes& kernel, absl::string_view words) {
    const absl::StatusOr<EntryState> out = Load(kernel);
    ASSERT_FALSE(out.ok()) << words;
    EXPECT_TRUE(absl::StrContains(out.status().message(), words)) << out.status();
  }
  uint32_t Word(uint64_t at) { return memory_->Load<le32>(Gpa(at)).value(); }
  std::string Text(uint64_t at) {
    std::string out;
    for (; memory_->Load<uint8_t>(Gpa(at)).value() != 0; ++at) {
      out.push_back(static_cast<char>(*memory_->Load<uint8_t>(Gpa(at))));
    }
    return out;
  }

  std::unique_ptr<GuestMemory> memory_ = *GuestMemory::Create(uint64_t{16} << 20);
};

TEST_F(MultibootTest, PlainImage) {
  ASSERT_OK_AND_ASSIGN(EntryState s, Load(PlainKernel(0x200000, 0x200800, 0x204000, 0x200200)));
  EXPECT_EQ(s.regs.rip, 0x200200u);
  EXPECT_EQ(s.regs.gpr[cpu::kRax], 0x2BADB002u);
  EXPECT_EQ(s.system.cr0 & 0x80000001, 1u);
  EXPECT_EQ(Word(0x2007FC), 0xF4F4F4F4u);
  EXPECT_EQ(Word(0x200800), 0u);  // past the end that the header gives
  const uint64_t info = s.regs.gpr[cpu::kRbx];
  EXPECT_EQ(Word(info), 1u | 1 << 2 | 1 << 6 | 1 << 9);
  EXPECT_EQ(Word(info + 4), 639u);
  EXPECT_EQ(Word(info + 8), 15u * 1024);
  EXPECT_EQ(Text(Word(info + 16)), "kernel a=b");
  EXPECT_EQ(Text(Word(info + 64)), "atoll");
  EXPECT_EQ(Word(0x40E) & 0xFFFF, 0x9FC0u);
  EXPECT_EQ(Word(0x413) & 0xFFFF, 639u);
  // The map's first entry: 20 bytes follow, 639 KiB of RAM.
  const uint32_t map = Word(info + 48);
  EXPECT_EQ(Word(info + 44) % 24, 0u);
  EXPECT_EQ(Word(map), 20u);
  EXPECT_EQ(Word(map + 4), 0u);
  EXPECT_EQ(Word(map + 12), 639u * 1024);
  EXPECT_EQ(Word(map + 20), 1u);
}

TEST_F(MultibootTest, AllOfAFileWithoutAnEnd) {
  ASSERT_OK(Load(PlainKernel(0x200000, 0, 0, 0x200000)));
  EXPECT_EQ(Word(0x200FFC), 0xF4F4F4F4u);
}

TEST_F(MultibootTest, Elf) {
  Bytes file(0x2000, 0);
  Elf32_Ehdr h{};
  std::memcpy(h.e_ident,
              "\x7f"
              "ELF\1\1\1",
              7);
  h.e_type = ET_EXEC;
  h.e_machine = EM_386;
  h.e_entry = 0x300010;
  h.e_phoff = sizeof h;
  h.e_phentsize = sizeof(Elf32_Phdr);
  h.e_phnum = 1;
  Elf32_Phdr p{};
  p.p_type = PT_LOAD;
  p.p_offset = 0x1000;
  p.p_vaddr = p.p_paddr = 0x300000;
  p.p_filesz = 0x1000;
  p.p_memsz = 0x3000;
  std::memcpy(file.data(), &h, sizeof h);
  std::memcpy(file.data() + sizeof h, &p, sizeof p);
  Put(file, 0x1FF4, {0x1BADB002, 0, 0u - 0x1BADB002});  // the last place there is
  EXPECT_TRUE(LooksLikeMultiboot(file));
  ASSERT_OK_AND_ASSIGN(EntryState s, Load(file));
  EXPECT_EQ(s.regs.rip, 0x300010u);
  Bytes late(0x3000, 0);
  Put(late, 0x2000, {0x1BADB002, 0, 0u - 0x1BADB002});
  EXPECT_FALSE(LooksLikeMultiboot(late));
  Bytes wrong_sum(0x3000, 0);
  Put(wrong_sum, 0, {0x1BADB002, 0, 7});
  EXPECT_FALSE(LooksLikeMultiboot(wrong_sum));
}

TEST_F(MultibootTest, ModulesLieOnPagesBehindTheKernel) {
  const auto filled = [](uint8_t with) {
    return [with](std::span<uint8_t> to) {
      std::fill(to.begin(), to.end(), with);
      return absl::OkStatus();
    };
  };
  ASSERT_OK_AND_ASSIGN(
      EntryState s, Load(PlainKernel(0x200000, 0, 0x203456, 0x200000),
                         {{"one x", 5000, filled(1)}, {"empty", 0, nullptr}, {"b", 1, filled(2)}}));
  const uint64_t info = s.regs.gpr[cpu::kRbx];
  EXPECT_NE(Word(info) & 1 << 3, 0u);
  ASSERT_EQ(Word(info + 20), 3u);
  const uint32_t list = Word(info + 24);
  EXPECT_EQ(Word(list), 0x204000u);
  EXPECT_EQ(Word(list + 4), 0x204000u + 5000);
  EXPECT_EQ(Text(Word(list + 8)), "one x");
  EXPECT_EQ(Word(list + 16), Word(list + 20));
  EXPECT_EQ(Word(list + 32), 0x206000u);
  EXPECT_EQ(Word(0x204000), 0x01010101u);
  EXPECT_EQ(Word(0x206000), 2u);
  EXPECT_FALSE(Load(PlainKernel(0x200000, 0, 0, 0x200000), {{"big", 16 << 20, filled(1)}}).ok());
  EXPECT_FALSE(
      Load(PlainKernel(0x200000, 0, 0, 0x200000), {{"wide", ~uint64_t{0}, filled(1)}}).ok());
  EXPECT_FALSE(Load(PlainKernel(0x200000, 0, 0, 0x200000),
                    std::vector<Initrd>(65, Initrd{"m", 1, filled(1)}))
                   .ok());
}

TEST_F(MultibootTest, TheTextScreen) {
  const Bytes kernel = PlainKernel(0x200000, 0, 0, 0x200000, kPlainFlags | 4);
  Refused(kernel, "-vga none");
  ASSERT_OK_AND_ASSIGN(EntryState s, Load(kernel, {}, true));
  const uint64_t info = s.regs.gpr[cpu::kRbx];
  EXPECT_NE(Word(info) & 1 << 12, 0u);
  EXPECT_EQ(Word(info + 88), 0xB8000u);
  EXPECT_EQ(memory_->Load<uint8_t>(Gpa(0x44A)), 80);
  EXPECT_EQ(Word(info + 100), 80u);
}

TEST_F(MultibootTest, HostileHeaders) {
  Refused(PlainKernel(0x200000, 0, 0, 0x200000, kPlainFlags | 8), "what no loader knows");
  Refused(PlainKernel(0x200000, 0x202000, 0, 0x200000), "past the end of the file");
  Refused(PlainKernel(0x200000, 0x1FFFFF, 0, 0x200000), "past the end of the file");
  Refused(PlainKernel(0x200000, 0, 0x200010, 0x200000), "before its code does");
  Refused(PlainKernel(0x200000, 0, 0, 0x201000), "entry point 0x201000 lies outside");
  Refused(PlainKernel(0x200000, 0, 0, 0x1FFFFF), "entry point 0x1fffff lies outside");
  Refused(PlainKernel(0x1000, 0, 0, 0x1000), "where it finds what it is told");
  Refused(PlainKernel(0xFFFF0000, 0, 0, 0xFFFF0000), "not memory of this machine");
  Refused(PlainKernel(0xFFFFF800, 0, 0, 0xFFFFF800), "out of reach");
  Refused(PlainKernel(0x200000, 0, 0xFFFFFFFF, 0x200000), "not memory of this machine");
  Bytes bad = PlainKernel(0x200000, 0, 0, 0x200000);
  Put(bad, 0x100 + 16, {0x100000});  // further before the header than the file reaches
  Refused(bad, "bytes before its header");
  Bytes cut = PlainKernel(0x200000, 0, 0, 0x200000);
  cut.resize(0x110);
  Refused(cut, "ends in its header");
}

TEST(SplitModules, CommasAndArguments) {
  const std::vector<ModuleFile> m = SplitModules("a b=c,d,,e f,,g,");
  ASSERT_EQ(m.size(), 2u);
  EXPECT_EQ(m[0].path, "a");
  EXPECT_EQ(m[0].line, "a b=c");
  EXPECT_EQ(m[1].path, "d,e");
  EXPECT_EQ(m[1].line, "d,e f,g");
  EXPECT_TRUE(SplitModules("").empty());
}

}  // namespace
}  // namespace atl::boot
