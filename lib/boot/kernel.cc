// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/kernel.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/boot/bzimage.h"
#include "lib/boot/e820.h"
#include "lib/boot/elf.h"
#include "lib/boot/kernel_cache.h"
#include "lib/boot/multiboot.h"
#include "lib/boot/payload.h"
#include "lib/boot/pvh.h"
#include "lib/host/file.h"

namespace atl::boot {
namespace {

using Bytes = std::span<const uint8_t>;

constexpr uint64_t kMaxKernelFile = uint64_t{1} << 30;
// Of kernels that do not say: what Linux has allowed since 2.6.
constexpr uint64_t kDefaultInitrdMax = 0x37FFFFFF;
constexpr uint64_t kDefaultCommandLine = 255;
constexpr uint64_t kLegacyLoadAddress = 0x100000;

// A kernel whose code lies in memory, short of what it is told about the machine.
struct LoadedLinux {
  SetupHeader header;  // from its file, or made up for an ELF kernel
  uint64_t entry = 0;
  bool long_mode = false;
  uint64_t end = 0;  // of the memory that it takes at first
  std::string description;
};

struct Placed {
  Gpa at;
  uint64_t size = 0;
};

// As high as the kernel can reach: it frees that memory early, and what lies
// low is precious.
absl::StatusOr<Placed> PlaceInitrd(const Initrd* initrd, uint64_t kernel_end, uint64_t last_byte,
                                   GuestMemory& memory) {
  if (initrd == nullptr || initrd->size == 0) return Placed{};
  const uint64_t limit = std::min(memory.low_ram_bytes(), last_byte + 1);
  const uint64_t begin = RoundUp(kernel_end, kPageSize);
  if (begin > limit || RoundUp(initrd->size, kPageSize) > RoundDown(limit, kPageSize) - begin) {
    return absl::ResourceExhaustedError(
        absl::StrCat(initrd->name, ": the initrd (", FormatSize(initrd->size),
                     ") does not fit above the kernel (", "to ", FormatSize(begin), ") below ",
                     FormatSize(limit), ", of ", FormatSize(memory.ram_bytes()),
                     " of memory: give the machine more"));
  }
  const Gpa at(RoundDown(limit - initrd->size, kPageSize));
  std::span<uint8_t> to = memory.Span(at, initrd->size);
  if (to.empty()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s: no room for it in memory at 0x%x", initrd->name, at.value));
  }
  RETURN_IF_ERROR(initrd->read(to));
  memory.MarkWritten(at, initrd->size);
  return Placed{at, initrd->size};
}

absl::Status WriteCommandLine(absl::string_view text, uint64_t max, GuestMemory& memory) {
  max = std::min(max, kMaxCommandLine - 1);
  if (text.size() > max) {
    return absl::InvalidArgumentError(absl::StrCat("the command line (-append) has ", text.size(),
                                                   " bytes; this kernel takes at most ", max));
  }
  if (text.find('\0') != text.npos) {
    return absl::InvalidArgumentError("the command line (-append) holds a zero byte");
  }
  std::string line(text);
  line.push_back('\0');
  if (!memory.Write(kCommandLineAt, {reinterpret_cast<const uint8_t*>(line.data()), line.size()})) {
    return absl::FailedPreconditionError("the machine has no memory for a command line");
  }
  return absl::OkStatus();
}

// Boot protocol: boot_params, command line and initrd, and rsi that leads to them.
absl::StatusOr<EntryState> FinishLinux(LoadedLinux kernel, const Initrd* initrd,
                                       absl::string_view command_line, Gpa rsdp,
                                       GuestMemory& memory) {
  SetupHeader& h = kernel.header;
  RETURN_IF_ERROR(WriteCommandLine(
      command_line, h.cmdline_size != 0 ? uint64_t{h.cmdline_size} : kDefaultCommandLine, memory));
  ASSIGN_OR_RETURN(
      const Placed placed,
      PlaceInitrd(initrd, kernel.end,
                  h.initrd_addr_max != 0 ? uint64_t{h.initrd_addr_max} : kDefaultInitrdMax,
                  memory));

  BootParams params{};
  h.type_of_loader = kOtherLoader;
  h.loadflags = h.loadflags | kLoadedHigh;
  h.cmd_line_ptr = static_cast<uint32_t>(kCommandLineAt.value);
  h.ramdisk_image = static_cast<uint32_t>(placed.at.value);
  h.ramdisk_size = static_cast<uint32_t>(placed.size);
  h.vid_mode = 0xFFFF;  // as it is
  h.setup_data = 0;
  params.hdr = h;
  params.acpi_rsdp_addr = rsdp.value;
  const std::vector<E820Entry> map = MakeE820(memory);
  params.e820_entries = static_cast<uint8_t>(map.size());
  std::copy(map.begin(), map.end(), params.e820_table);
  if (!memory.Store(kBootParamsAt, params)) {
    return absl::FailedPreconditionError("the machine has no memory for boot parameters");
  }

  absl::StatusOr<EntryState> out =
      kernel.long_mode ? EnterLongMode(memory, kernel.entry)
                       : EnterProtectedMode(memory, static_cast<uint32_t>(kernel.entry));
  if (!out.ok()) return out;
  out->regs.gpr[cpu::kRsi] = kBootParamsAt.value;
  out->description = std::move(kernel.description);
  return out;
}

// In boot_params, for kernels that have them.
void DescribeTextMode(GuestMemory& memory) {
  constexpr uint8_t kMode = 3, kColumns = 80, kLines = 25, kPoints = 16;
  std::optional<BootParams> params = memory.Load<BootParams>(kBootParamsAt);
  if (!params) return;
  params->orig_video_mode = kMode;
  params->orig_video_cols = kColumns;
  params->orig_video_lines = kLines;
  params->orig_video_is_vga = 1;
  params->orig_video_points = kPoints;
  memory.Store(kBootParamsAt, *params);
}

// The ELF kernel within a bzImage, or a vmlinux.
absl::StatusOr<LoadedLinux> LoadLinuxElf(const ElfKernel& elf, Bytes file,
                                         const SetupHeader& header, GuestMemory& memory) {
  if (!elf.is64 && elf.entry > UINT32_MAX) {
    return absl::InvalidArgumentError("its entry point is out of reach in 32-bit mode");
  }
  RETURN_IF_ERROR(LoadElf(elf, file, memory));
  LoadedLinux out;
  out.header = header;
  out.entry = elf.entry;
  out.long_mode = elf.is64;
  out.end = elf.end();
  return out;
}

// The version text that the setup code carries, up to its first blank.
std::string KernelVersion(Bytes file, const SetupHeader& header) {
  std::string out;
  for (uint64_t at = uint64_t{header.kernel_version} + 0x200;
       header.kernel_version != 0 && at < file.size() && out.size() < 64; ++at) {
    const char c = static_cast<char>(file[at]);
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c))) break;
    out.push_back(c);
  }
  return out;
}

absl::StatusOr<LoadedLinux> LoadCompressedKernel(const BzImage& image, GuestMemory& memory) {
  const SetupHeader& h = image.header;
  LoadedLinux out;
  out.header = h;
  uint64_t at = kLegacyLoadAddress;
  if (h.relocatable_kernel != 0 && h.version >= 0x20A && h.pref_address != 0) at = h.pref_address;
  const uint64_t size = std::max<uint64_t>(image.protected_mode.size(), h.init_size);
  if (at > UINT32_MAX || !RangeFits(at, size, memory.low_ram_bytes())) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "the kernel needs %s of memory at 0x%x to decompress itself; the machine has %s",
        FormatSize(size), at, FormatSize(memory.ram_bytes())));
  }
  if (!memory.Write(Gpa(at), image.protected_mode)) {
    return absl::FailedPreconditionError(absl::StrFormat("no memory at 0x%x", at));
  }
  out.header.code32_start = static_cast<uint32_t>(at);
  out.long_mode = h.version >= 0x20C && (h.xloadflags & kXlfKernel64) != 0;
  out.entry = out.long_mode ? at + 0x200 : at;
  out.end = at + size;
  return out;
}

std::string DescribeBzImage(Bytes setup, const LoadedLinux& loaded, absl::string_view how) {
  const SetupHeader& h = loaded.header;
  const std::string version = KernelVersion(setup, h);
  return absl::StrFormat("Linux bzImage%s%s, boot protocol %d.%02d, %s, %d-bit entry at 0x%x",
                         version.empty() ? "" : " ", version, h.version >> 8, h.version & 0xFF, how,
                         loaded.long_mode ? 64 : 32, loaded.entry);
}

absl::StatusOr<EntryState> LoadBzImage(Bytes file, const Initrd* initrd,
                                       absl::string_view command_line, Gpa rsdp,
                                       bool decompress_here, const KernelCache* cache,
                                       GuestMemory& memory) {
  ASSIGN_OR_RETURN(const BzImage image, ParseBzImage(file));
  std::optional<LoadedLinux> loaded;
  std::string how;
  if (decompress_here && !PayloadFormat(image.payload).empty()) {
    ASSIGN_OR_RETURN(const LazyBytes elf, DecompressPayload(image.payload));
    // The relocations that follow the kernel serve KASLR: they stay unused.
    if (LooksLikeElf(elf.span())) {
      ASSIGN_OR_RETURN(const ElfKernel kernel, ParseElf(elf.span()));
      ASSIGN_OR_RETURN(loaded, LoadLinuxElf(kernel, elf.span(), image.header, memory));
      how = absl::StrCat(PayloadFormat(image.payload), " payload decompressed here");
      if (cache != nullptr) cache->Keep(file.first(SetupBytes(image.header)), kernel, elf.span());
    }
  }
  if (!loaded) {
    ASSIGN_OR_RETURN(loaded, LoadCompressedKernel(image, memory));
    how = "decompresses itself";
  }
  loaded->description = DescribeBzImage(file, *loaded, how);
  return FinishLinux(*std::move(loaded), initrd, command_line, rsdp, memory);
}

absl::StatusOr<EntryState> FinishUnpacked(const UnpackedKernel& kernel, const Initrd* initrd,
                                          absl::string_view command_line, Gpa rsdp,
                                          GuestMemory& memory) {
  LoadedLinux loaded;
  loaded.header = kernel.header;
  loaded.entry = kernel.entry;
  loaded.long_mode = kernel.is64;
  loaded.end = kernel.end;
  loaded.description = DescribeBzImage(kernel.setup, loaded, "decompressed at an earlier start");
  return FinishLinux(std::move(loaded), initrd, command_line, rsdp, memory);
}

absl::StatusOr<EntryState> LoadElfKernel(Bytes file, const Initrd* initrd,
                                         absl::string_view command_line, Gpa rsdp,
                                         GuestMemory& memory) {
  ASSIGN_OR_RETURN(const ElfKernel elf, ParseElf(file));
  if (!elf.pvh_entry) {
    SetupHeader header{};
    header.boot_flag = kBootFlag;
    header.header = kHeaderMagic;
    header.version = 0x20F;
    header.kernel_alignment = 0x200000;
    header.cmdline_size = 2047;  // COMMAND_LINE_SIZE - 1 of x86
    header.initrd_addr_max = 0x7FFFFFFF;
    ASSIGN_OR_RETURN(LoadedLinux loaded, LoadLinuxElf(elf, file, header, memory));
    loaded.description = absl::StrFormat(
        "ELF%d kernel without a PVH note, entered as Linux at 0x%x", elf.is64 ? 64 : 32, elf.entry);
    return FinishLinux(std::move(loaded), initrd, command_line, rsdp, memory);
  }
  RETURN_IF_ERROR(LoadElf(elf, file, memory));
  RETURN_IF_ERROR(WriteCommandLine(command_line, kMaxCommandLine - 1, memory));
  ASSIGN_OR_RETURN(const Placed placed, PlaceInitrd(initrd, elf.end(), UINT32_MAX, memory));
  PvhInfo info;
  info.command_line = kCommandLineAt;
  info.rsdp = rsdp;
  info.initrd = placed.at;
  info.initrd_size = placed.size;
  ASSIGN_OR_RETURN(EntryState out, EnterPvh(memory, *elf.pvh_entry, info));
  out.description =
      absl::StrFormat("ELF%d kernel, PVH entry at 0x%x", elf.is64 ? 64 : 32, *elf.pvh_entry);
  return out;
}

absl::StatusOr<EntryState> LoadBytes(Bytes kernel, const Initrd* initrd,
                                     absl::string_view command_line, Gpa rsdp, bool decompress_here,
                                     const KernelCache* cache, GuestMemory& memory) {
  if (LooksLikeBzImage(kernel)) {
    return LoadBzImage(kernel, initrd, command_line, rsdp, decompress_here, cache, memory);
  }
  if (LooksLikeMultiboot(kernel)) {
    return LoadMultiboot(kernel, command_line, {initrd, initrd == nullptr ? 0u : 1u}, false,
                         memory);
  }
  if (LooksLikeElf(kernel)) return LoadElfKernel(kernel, initrd, command_line, rsdp, memory);
  const Bytes head = kernel.first(std::min<size_t>(kernel.size(), 4));
  return absl::InvalidArgumentError(absl::StrCat(
      "not a kernel that can be booted: ",
      kernel.empty() ? std::string("the file is empty")
                     : absl::StrCat("it begins with bytes ",
                                    absl::BytesToHexString(absl::string_view(
                                        reinterpret_cast<const char*>(head.data()), head.size()))),
      "; valid are a Linux bzImage (vmlinuz), an ELF kernel (vmlinux, PVH) and a Multiboot "
      "kernel"));
}

absl::StatusOr<LazyBytes> ReadKernel(const host::File& file) {
  if (file.size() > kMaxKernelFile) {
    return absl::InvalidArgumentError(absl::StrCat("is larger (", FormatSize(file.size()),
                                                   ") than a kernel may be (",
                                                   FormatSize(kMaxKernelFile), ")"));
  }
  LazyBytes out(file.size());
  if (out.size() != file.size()) return absl::ResourceExhaustedError("no memory to read it");
  RETURN_IF_ERROR(file.ReadAt(0, out.span()));
  return out;
}

absl::StatusOr<EntryState> LoadFile(const host::File& file, const Initrd* initrd,
                                    const KernelFiles& files, Gpa rsdp, GuestMemory& memory) {
  if (!files.decompress_here) {
    ASSIGN_OR_RETURN(const LazyBytes kernel, ReadKernel(file));
    return LoadBytes(kernel.span(), initrd, files.command_line, rsdp, false, nullptr, memory);
  }
  const KernelCache cache(files.cache, file);
  if (const std::optional<UnpackedKernel> unpacked = cache.Load(memory)) {
    return FinishUnpacked(*unpacked, initrd, files.command_line, rsdp, memory);
  }
  ASSIGN_OR_RETURN(const LazyBytes kernel, ReadKernel(file));
  return LoadBytes(kernel.span(), initrd, files.command_line, rsdp, true, &cache, memory);
}

// Of the file's begin; a bzImage is none even where it looks like it.
absl::StatusOr<bool> IsMultiboot(const host::File& file) {
  std::vector<uint8_t> head(std::min(file.size(), kMultibootSearch));
  RETURN_IF_ERROR(file.ReadAt(0, head));
  return !LooksLikeBzImage(head) && LooksLikeMultiboot(head);
}

absl::StatusOr<EntryState> LoadMultibootFiles(const host::File& file, const KernelFiles& files,
                                              GuestMemory& memory) {
  std::vector<host::File> opened;
  std::vector<Initrd> modules;
  for (const ModuleFile& m : SplitModules(files.initrd)) {
    ASSIGN_OR_RETURN(host::File module, host::File::Open(m.path));
    opened.push_back(std::move(module));
    modules.push_back({m.line, opened.back().size(), nullptr});
    if (modules.size() > kMaxMultibootModules) break;  // which LoadMultiboot() says
  }
  for (size_t i = 0; i < modules.size(); ++i) {
    modules[i].read = [&opened, i](std::span<uint8_t> to) { return opened[i].ReadAt(0, to); };
  }
  ASSIGN_OR_RETURN(const LazyBytes kernel, ReadKernel(file));
  // As other loaders have it, the kernel's own name is the first word.
  std::string line = files.kernel;
  if (!files.command_line.empty()) absl::StrAppend(&line, " ", files.command_line);
  return LoadMultiboot(kernel.span(), line, modules, files.vga_text, memory);
}

}  // namespace

std::vector<ModuleFile> SplitModules(absl::string_view initrd) {
  std::vector<ModuleFile> out;
  std::string line;
  const auto finish = [&] {
    if (!line.empty()) out.push_back({line.substr(0, line.find(' ')), line});
    line.clear();
  };
  for (size_t i = 0; i < initrd.size(); ++i) {
    if (initrd[i] == ',' && (i + 1 == initrd.size() || initrd[i + 1] != ',')) {
      finish();
      continue;
    }
    if (initrd[i] == ',') ++i;
    line.push_back(initrd[i]);
  }
  finish();
  return out;
}

absl::StatusOr<EntryState> LoadKernelImage(Bytes kernel, const Initrd* initrd,
                                           absl::string_view command_line, Gpa rsdp,
                                           bool decompress_here, GuestMemory& memory) {
  return LoadBytes(kernel, initrd, command_line, rsdp, decompress_here, nullptr, memory);
}

absl::StatusOr<EntryState> LoadKernel(const KernelFiles& files, Gpa rsdp, GuestMemory& memory) {
  ASSIGN_OR_RETURN(const host::File kernel, host::File::Open(files.kernel));
  ASSIGN_OR_RETURN(const bool multiboot, IsMultiboot(kernel));
  if (multiboot) {
    absl::StatusOr<EntryState> out = LoadMultibootFiles(kernel, files, memory);
    // A module's error names it.
    return out.ok() || out.status().code() == absl::StatusCode::kNotFound
               ? out
               : Annotate(out.status(), files.kernel);
  }
  std::optional<host::File> file;
  Initrd initrd;
  if (!files.initrd.empty()) {
    ASSIGN_OR_RETURN(file, host::File::Open(files.initrd));
    initrd = {files.initrd, file->size(),
              [&file](std::span<uint8_t> to) { return file->ReadAt(0, to); }};
  }
  absl::StatusOr<EntryState> out = LoadFile(kernel, file ? &initrd : nullptr, files, rsdp, memory);
  if (out.ok() && files.vga_text && out->regs.gpr[cpu::kRsi] == kBootParamsAt.value) {
    DescribeTextMode(memory);
  }
  // What is wrong with the initrd, or with reading, is said with the name already.
  const absl::string_view said = out.status().message();
  const bool named = (file && absl::StartsWith(said, files.initrd)) ||
                     absl::StartsWith(said, absl::StrCat(files.kernel, ": "));
  return out.ok() || named ? out : Annotate(out.status(), files.kernel);
}

}  // namespace atl::boot
