// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/kernel.h"

#include <elf.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/base/units.h"
#include "lib/boot/bzimage.h"
#include "lib/boot/e820.h"
#include "lib/boot/elf.h"
#include "lib/boot/payload.h"
#include "lib/host/file.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {
namespace {

using absl::StatusCode;
using Bytes = std::vector<uint8_t>;

constexpr Gpa kRsdp{0xE0000};

std::string WriteFile(const std::string& name, const Bytes& bytes) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<long>(bytes.size()));
  return path;
}

std::unique_ptr<GuestMemory> Memory(uint64_t size) { return *GuestMemory::Create(size); }

const char* Vmlinuz() {
  const char* path = std::getenv("VMLINUZ");
  return path != nullptr ? path : "VMLINUZ is not set";
}

std::string TextAt(const GuestMemory& memory, uint64_t at, size_t size) {
  std::string out(size, '?');
  EXPECT_TRUE(memory.Read(Gpa(at), {reinterpret_cast<uint8_t*>(out.data()), size}));
  return out;
}

// A 64-bit kernel of one page of 0xF4 (HLT) at `at` and as much of zeroes.
Bytes SmallElf(uint64_t at, bool pvh) {
  const char note[] = "\4\0\0\0\4\0\0\0\x12\0\0\0Xen\0";
  Bytes out(0x2000, 0);
  Elf64_Ehdr h{};
  std::memcpy(h.e_ident,
              "\x7f"
              "ELF\2\1\1",
              7);
  h.e_type = ET_EXEC;
  h.e_machine = EM_X86_64;
  h.e_entry = at + 0x10;
  h.e_phoff = sizeof h;
  h.e_phentsize = sizeof(Elf64_Phdr);
  h.e_phnum = 2;
  Elf64_Phdr p[2] = {};
  p[0].p_type = PT_LOAD;
  p[0].p_offset = 0x1000;
  p[0].p_vaddr = 0xFFFFFFFF80000000 + at;
  p[0].p_paddr = at;
  p[0].p_filesz = 0x1000;
  p[0].p_memsz = 0x2000;
  p[1].p_type = pvh ? PT_NOTE : PT_NULL;
  p[1].p_offset = 0x800;
  p[1].p_filesz = 20;
  std::memcpy(out.data(), &h, sizeof h);
  std::memcpy(out.data() + sizeof h, p, sizeof p);
  std::memcpy(out.data() + 0x800, note, 16);
  StoreLe(out.data() + 0x810, static_cast<uint32_t>(at + 0x20));
  std::fill(out.begin() + 0x1000, out.end(), 0xF4);
  return out;
}

// A bzImage whose protected-mode part is `size` bytes of 0xF4.
Bytes SmallBzImage(uint64_t size, uint16_t xloadflags) {
  Bytes out(1024 + size, 0xF4);
  std::fill(out.begin(), out.begin() + 1024, 0);
  SetupHeader h{};
  h.setup_sects = 1;
  h.syssize = static_cast<uint32_t>(size / 16);
  h.boot_flag = kBootFlag;
  h.jump = 0x66EB;
  h.header = kHeaderMagic;
  h.version = 0x20F;
  h.loadflags = kLoadedHigh;
  h.relocatable_kernel = 1;
  h.kernel_alignment = 0x200000;
  h.xloadflags = xloadflags;
  h.cmdline_size = 100;
  h.initrd_addr_max = 0x7FFFFFFF;
  h.pref_address = 0x1000000;
  h.init_size = 0x100000;
  std::memcpy(out.data() + kSetupHeaderAt, &h, sizeof h);
  return out;
}

SetupHeader& HeaderOf(Bytes& bzimage) {
  // All of its fields have an alignment of one.
  return *reinterpret_cast<SetupHeader*>(bzimage.data() + kSetupHeaderAt);
}

class KernelTest : public testing::Test {
 protected:
  absl::StatusOr<EntryState> Load(const Bytes& kernel, GuestMemory& memory,
                                  const std::string& command_line = "") {
    return LoadKernelImage(kernel, nullptr, command_line, kRsdp, true, memory);
  }
};

TEST_F(KernelTest, DebiansKernelIsDecompressedHereAndEnteredInLongMode) {
  auto memory = Memory(128 * kMiB);
  Bytes initrd(3'000'000);
  for (size_t i = 0; i < initrd.size(); ++i) initrd[i] = static_cast<uint8_t>(i * 7);
  KernelFiles files{.kernel = Vmlinuz(),
                    .initrd = WriteFile("initrd.img", initrd),
                    .command_line = "console=ttyS0 quiet",
                    .vga_text = true};
  ASSERT_OK_AND_ASSIGN(const EntryState entry, LoadKernel(files, kRsdp, *memory));
  EXPECT_THAT(entry.description, testing::HasSubstr("decompressed here"));
  EXPECT_THAT(entry.description, testing::HasSubstr("-amd64"));
  EXPECT_EQ(entry.regs.rip, 0x1000000u);
  EXPECT_EQ(entry.system.efer, 0x500u);
  EXPECT_TRUE(entry.system.segment[cpu::kCs].l);

  ASSERT_EQ(entry.regs.gpr[cpu::kRsi], kBootParamsAt.value);
  const BootParams params = *memory->Load<BootParams>(kBootParamsAt);
  EXPECT_EQ(params.hdr.header, kHeaderMagic);
  EXPECT_EQ(params.acpi_rsdp_addr, kRsdp.value);
  EXPECT_EQ(params.orig_video_mode, 3);
  EXPECT_EQ(params.orig_video_cols, 80);
  EXPECT_EQ(params.orig_video_lines, 25);
  EXPECT_EQ(params.orig_video_is_vga, 1);
  EXPECT_EQ(params.orig_video_points, 16);
  EXPECT_EQ(TextAt(*memory, params.hdr.cmd_line_ptr, 20), std::string("console=ttyS0 quiet\0", 20));
  EXPECT_EQ(params.hdr.ramdisk_size, initrd.size());
  Bytes read(initrd.size());
  ASSERT_TRUE(memory->Read(Gpa(params.hdr.ramdisk_image), read));
  EXPECT_TRUE(read == initrd);
  EXPECT_LE(params.hdr.ramdisk_image + read.size(), 128 * kMiB);
  EXPECT_EQ(params.e820_entries, 4);
  EXPECT_EQ(params.e820_table[3].base, kMiB);
  EXPECT_EQ(params.e820_table[3].size, 127 * kMiB);

  // What stands at the entry is the kernel's startup_64, by what the file says.
  ASSERT_OK_AND_ASSIGN(const Bytes file, host::ReadFile(Vmlinuz(), kGiB));
  ASSERT_OK_AND_ASSIGN(const BzImage image, ParseBzImage(file));
  ASSERT_OK_AND_ASSIGN(const LazyBytes vmlinux, DecompressPayload(image.payload));
  ASSERT_OK_AND_ASSIGN(const ElfKernel elf, ParseElf(vmlinux.span()));
  const ElfSegment& text = elf.segments[0];
  Bytes loaded(text.file_size);
  ASSERT_TRUE(memory->Read(Gpa(text.address), loaded));
  EXPECT_EQ(std::memcmp(loaded.data(), vmlinux.span().data() + text.offset, loaded.size()), 0);
  EXPECT_TRUE(elf.pvh_entry.has_value());
}

TEST_F(KernelTest, ADecompressedKernelIsKeptForTheNextStart) {
  std::string folder = testing::TempDir() + "/kernelsXXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const KernelFiles files{.kernel = Vmlinuz(), .command_line = "quiet", .cache = folder};
  const auto load = [&files](GuestMemory& memory) {
    auto entry = LoadKernel(files, kRsdp, memory);
    EXPECT_OK(entry.status());
    return entry.ok() ? *entry : EntryState{};
  };
  auto first = Memory(128 * kMiB), second = Memory(128 * kMiB), third = Memory(128 * kMiB);
  const EntryState one = load(*first), two = load(*second);
  EXPECT_THAT(one.description, testing::HasSubstr("decompressed here"));
  EXPECT_THAT(two.description, testing::HasSubstr("decompressed at an earlier start"));
  EXPECT_EQ(one.regs.rip, two.regs.rip);
  EXPECT_EQ(std::memcmp(first->ram_host(), second->ram_host(), first->ram_bytes()), 0);

  // What is damaged is not used, and is replaced.
  const auto entries = std::filesystem::directory_iterator(folder + "/kernels");
  const std::filesystem::path entry = entries->path();
  const auto size = std::filesystem::file_size(entry);
  EXPECT_LT(size, 60 * kMiB);
  std::fstream(entry, std::ios::in | std::ios::out | std::ios::binary).seekp(5'000'000) << "damage";
  EXPECT_EQ(load(*third).description, one.description);
  EXPECT_EQ(std::memcmp(first->ram_host(), third->ram_host(), first->ram_bytes()), 0);
  EXPECT_EQ(load(*third).description, two.description);

  // What a guest left in memory before it restarted does not shine through.
  std::memset(third->ram_host() + 16 * kMiB, 0xA5, 64 * kMiB);
  EXPECT_EQ(load(*third).description, two.description);
  ASSERT_OK_AND_ASSIGN(const Bytes file, host::ReadFile(Vmlinuz(), kGiB));
  ASSERT_OK_AND_ASSIGN(const BzImage image, ParseBzImage(file));
  ASSERT_OK_AND_ASSIGN(const LazyBytes vmlinux, DecompressPayload(image.payload));
  ASSERT_OK_AND_ASSIGN(const ElfKernel elf, ParseElf(vmlinux.span()));
  for (const ElfSegment& s : elf.segments) {
    EXPECT_EQ(
        std::memcmp(first->ram_host() + s.address, third->ram_host() + s.address, s.memory_size), 0)
        << s.address;
  }

  // A guest may always decompress for itself.
  KernelFiles guest = files;
  guest.decompress_here = false;
  ASSERT_OK_AND_ASSIGN(const EntryState itself, LoadKernel(guest, kRsdp, *second));
  EXPECT_THAT(itself.description, testing::HasSubstr("decompresses itself"));
}

TEST_F(KernelTest, OfSegmentsThatOverlapTheLaterOneCounts) {
  auto memory = Memory(32 * kMiB);
  Bytes file(0x3000, 1);
  std::fill(file.begin() + 0x1000, file.begin() + 0x2000, uint8_t{0});
  ElfKernel kernel;
  kernel.segments = {{.offset = 0, .file_size = 0x3000, .address = 0x100800, .memory_size = 0x4000},
                     {.offset = 0, .file_size = 0x10, .address = 0x101000, .memory_size = 0x123}};
  for (const uint8_t before : {0x00, 0xA5}) {
    Bytes want(0x5000, before), got(0x5000);
    memory->Fill(Gpa(0x100000), before, 0x5000);
    std::fill(want.begin() + 0x800, want.begin() + 0x4800, uint8_t{0});
    std::copy(file.begin(), file.end(), want.begin() + 0x800);
    std::fill(want.begin() + 0x1000, want.begin() + 0x1123, uint8_t{0});
    std::fill(want.begin() + 0x1000, want.begin() + 0x1010, uint8_t{1});
    ASSERT_OK(LoadElf(kernel, file, *memory));
    ASSERT_TRUE(memory->Read(Gpa(0x100000), got));
    EXPECT_TRUE(got == want);
  }
}

TEST_F(KernelTest, DebiansKernelCanAlsoDecompressItself) {
  auto memory = Memory(128 * kMiB);
  KernelFiles files{.kernel = Vmlinuz(), .decompress_here = false};
  ASSERT_OK_AND_ASSIGN(const EntryState entry, LoadKernel(files, kRsdp, *memory));
  EXPECT_EQ(entry.regs.rip, 0x1000200u);
  EXPECT_THAT(entry.description, testing::HasSubstr("decompresses itself"));
}

TEST_F(KernelTest, PageTablesMapFourGiBToThemselves) {
  auto memory = Memory(32 * kMiB);
  ASSERT_OK_AND_ASSIGN(const EntryState entry, Load(SmallElf(0x200000, false), *memory));
  for (uint64_t va : {uint64_t{0}, uint64_t{0x200010}, uint64_t{0xFEE00000}, 4 * kGiB - 1}) {
    uint64_t at = entry.system.cr3;
    for (unsigned shift : {39, 30}) {
      const uint64_t e = *memory->Load<uint64_t>(Gpa(at + 8 * (va >> shift & 511)));
      ASSERT_EQ(e & 0xFFF, 3u);
      at = e & ~uint64_t{0xFFF};
    }
    const uint64_t leaf = *memory->Load<uint64_t>(Gpa(at + 8 * (va >> 21 & 511)));
    EXPECT_EQ(leaf, (va & ~uint64_t{0x1FFFFF}) | 0x83);
  }
  // The selectors that are loaded must be in the GDT that is loaded.
  EXPECT_EQ(*memory->Load<uint64_t>(kGdtAt + 0x10), 0x00AF9B000000FFFFu);
  EXPECT_EQ(*memory->Load<uint64_t>(kGdtAt + 0x18), 0x00CF93000000FFFFu);
  EXPECT_EQ(entry.system.segment[cpu::kCs].selector, 0x10);
}

TEST_F(KernelTest, ElfWithoutANoteIsLinux) {
  auto memory = Memory(32 * kMiB);
  memory->Fill(Gpa(0x200000), 0x55, 0x3000);
  ASSERT_OK_AND_ASSIGN(const EntryState entry, Load(SmallElf(0x200000, false), *memory, "a b"));
  EXPECT_EQ(entry.regs.rip, 0x200010u);
  EXPECT_EQ(*memory->Load<uint8_t>(Gpa(0x200FFF)), 0xF4);
  EXPECT_EQ(*memory->Load<uint8_t>(Gpa(0x201000)), 0);  // .bss
  EXPECT_EQ(*memory->Load<uint8_t>(Gpa(0x202000)), 0x55);
  EXPECT_EQ(TextAt(*memory, memory->Load<BootParams>(kBootParamsAt)->hdr.cmd_line_ptr, 4),
            std::string("a b\0", 4));
}

TEST_F(KernelTest, ElfWithPvhNoteGetsStartInfo) {
  auto memory = Memory(3 * kGiB + 16 * kMiB);
  const Bytes bytes = {1, 2, 3};
  KernelFiles files{.kernel = WriteFile("pvh", SmallElf(0x200000, true)),
                    .initrd = WriteFile("pvh.initrd", bytes),
                    .command_line = "pvh"};
  ASSERT_OK_AND_ASSIGN(const EntryState entry, LoadKernel(files, kRsdp, *memory));
  EXPECT_EQ(entry.regs.rip, 0x200020u);
  EXPECT_EQ(entry.system.cr0 & 0x80000001, 1u);
  EXPECT_EQ(entry.system.efer, 0u);
  EXPECT_TRUE(entry.system.segment[cpu::kCs].db);
  const Gpa info(entry.regs.gpr[cpu::kRbx]);
  EXPECT_EQ(*memory->Load<uint32_t>(info), 0x336EC578u);
  EXPECT_EQ(*memory->Load<uint32_t>(info + 12), 1u);
  const Gpa modules(*memory->Load<uint64_t>(info + 16));
  EXPECT_EQ(TextAt(*memory, *memory->Load<uint64_t>(info + 24), 4), std::string("pvh\0", 4));
  EXPECT_EQ(*memory->Load<uint64_t>(info + 32), kRsdp.value);
  const Gpa map(*memory->Load<uint64_t>(info + 40));
  EXPECT_EQ(*memory->Load<uint32_t>(info + 48), 5u);
  EXPECT_EQ(*memory->Load<uint64_t>(map + 4 * 24), 4 * kGiB);
  EXPECT_EQ(*memory->Load<uint64_t>(map + 4 * 24 + 8), 16 * kMiB);
  EXPECT_EQ(*memory->Load<uint64_t>(modules + 8), 3u);
  EXPECT_EQ(TextAt(*memory, *memory->Load<uint64_t>(modules), 3), "\1\2\3");
}

TEST_F(KernelTest, CompressedInAnUnknownFormatIsEnteredAsItIs) {
  auto memory = Memory(32 * kMiB);
  {
    ASSERT_OK_AND_ASSIGN(const EntryState entry, Load(SmallBzImage(4096, 1), *memory));
    EXPECT_EQ(entry.regs.rip, 0x1000200u);
    EXPECT_TRUE(entry.system.segment[cpu::kCs].l);
  }
  ASSERT_OK_AND_ASSIGN(const EntryState entry, Load(SmallBzImage(4096, 0), *memory));
  EXPECT_EQ(entry.regs.rip, 0x1000000u);
  EXPECT_FALSE(entry.system.segment[cpu::kCs].l);
  EXPECT_EQ(*memory->Load<uint8_t>(Gpa(0x1000FFF)), 0xF4);
}

TEST_F(KernelTest, NamesWhatIsWrongWithAKernel) {
  auto memory = Memory(32 * kMiB);
  const auto refuses = [&](const Bytes& kernel, const char* why) {
    EXPECT_THAT(Load(kernel, *memory), StatusIs(StatusCode::kInvalidArgument, why));
  };
  refuses({}, "the file is empty");
  refuses({'M', 'Z', 1, 2, 3}, "it begins with bytes 4d5a0102; valid are");
  Bytes image = SmallBzImage(4096, 1);
  HeaderOf(image).version = 0x203;
  refuses(image, "boot protocol 2.03; 2.06 (Linux 2.6.22) or later");
  image = SmallBzImage(4096, 1);
  HeaderOf(image).loadflags = 0;
  refuses(image, "zImage, which loads low");
  image = SmallBzImage(4096, 1);
  image.resize(3000);
  refuses(image, "cut off: the kernel has 4096 bytes, the file 1976");
  image.resize(1000);
  refuses(image, "it ends at byte 1000");
  image.resize(0x210);
  refuses(image, "ends in its boot header");
  image = SmallBzImage(4096, 1);
  HeaderOf(image).payload_offset = 4000;
  HeaderOf(image).payload_length = 200;
  refuses(image, "payload lies past the end");

  Bytes elf = SmallElf(0x200000, false);
  elf.resize(0x1800);
  refuses(elf, "segment 0 lies past the end of the file");
  elf = SmallElf(0x200000, false);
  elf[18] = 40;
  refuses(elf, "another processor (ELF machine 40)");
  elf = SmallElf(0x200000, false);
  elf[16] = 1;
  refuses(elf, "no executable");
  elf = SmallElf(0x200000, false);
  elf[24] = 0;
  elf[26] = 0x70;
  refuses(elf, "entry point 0x700000 lies in no segment");
}

TEST_F(KernelTest, ADamagedPayloadIsAnError) {
  auto memory = Memory(128 * kMiB);
  ASSERT_OK_AND_ASSIGN(Bytes file, host::ReadFile(Vmlinuz(), kGiB));
  // Somewhere in the middle, a run of zeroes: no compressed stream survives it.
  std::fill_n(file.begin() + static_cast<long>(file.size() / 2), 4096, 0);
  const std::string path = WriteFile("damaged", file);
  EXPECT_THAT(LoadKernel({.kernel = path}, kRsdp, *memory),
              StatusIs(StatusCode::kDataLoss, path + ": "));
}

TEST_F(KernelTest, WhatDoesNotFitNamesFileAndSizes) {
  auto memory = Memory(16 * kMiB);
  const std::string kernel = Vmlinuz();
  EXPECT_THAT(LoadKernel({.kernel = kernel}, kRsdp, *memory),
              StatusIs(StatusCode::kOutOfRange, kernel + ": the kernel loads"));
  EXPECT_THAT(LoadKernel({.kernel = kernel, .decompress_here = false}, kRsdp, *memory),
              StatusIs(StatusCode::kResourceExhausted, "the machine has 16 MiB"));

  const std::string small = WriteFile("small", SmallElf(0x200000, false));
  const std::string initrd = WriteFile("large.img", Bytes(15 * kMiB));
  EXPECT_THAT(
      LoadKernel({.kernel = small, .initrd = initrd}, kRsdp, *memory),
      StatusIs(StatusCode::kResourceExhausted, initrd + ": the initrd (15 MiB) does not fit"));
  EXPECT_OK(LoadKernel({.kernel = small, .initrd = WriteFile("fits.img", Bytes(13 * kMiB))}, kRsdp,
                       *memory));
  EXPECT_THAT(LoadKernel({.kernel = small, .initrd = "/no/initrd"}, kRsdp, *memory),
              StatusIs(StatusCode::kNotFound, "/no/initrd: No such file"));
  EXPECT_THAT(LoadKernel({.kernel = "/no/kernel"}, kRsdp, *memory),
              StatusIs(StatusCode::kNotFound, "/no/kernel: No such file"));
  EXPECT_THAT(LoadKernel({.kernel = "/tmp"}, kRsdp, *memory),
              StatusIs(StatusCode::kInvalidArgument, "/tmp: is a directory"));
}

TEST_F(KernelTest, CommandLineIsBoundedByTheKernelsWord) {
  auto memory = Memory(32 * kMiB);
  const Bytes image = SmallBzImage(4096, 1);
  EXPECT_OK(Load(image, *memory, std::string(100, 'x')));
  EXPECT_THAT(
      Load(image, *memory, std::string(101, 'x')),
      StatusIs(StatusCode::kInvalidArgument, "has 101 bytes; this kernel takes at most 100"));
}

TEST(E820, FileForSeaBiosHasTheRam) {
  auto memory = Memory(3 * kGiB + 4096);
  const Bytes file = E820File(*memory);
  ASSERT_EQ(file.size(), 40u);
  EXPECT_EQ(LoadLe<uint64_t>(&file[8]), 3 * kGiB);
  EXPECT_EQ(LoadLe<uint64_t>(&file[20]), 4 * kGiB);
  EXPECT_EQ(LoadLe<uint64_t>(&file[28]), 4096u);
  EXPECT_EQ(LoadLe<uint32_t>(&file[36]), 1u);
}

}  // namespace
}  // namespace atl::boot
