// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/multiboot.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/boot/e820.h"
#include "lib/boot/elf.h"

namespace atl::boot {
namespace {

using Bytes = std::span<const uint8_t>;

constexpr uint32_t kHeaderMagic = 0x1BADB002;
constexpr uint32_t kEntryMagic = 0x2BADB002;  // in EAX
// Of the header: what a loader must understand, and what it may ignore.
constexpr uint32_t kWantsGraphics = 1 << 2, kHasAddresses = 1 << 16;
constexpr uint32_t kMustUnderstand = 0xFFFF, kUnderstood = 0x7;

struct Header {
  le32 magic;
  le32 flags;
  le32 checksum;
};
static_assert(sizeof(Header) == 12);

struct Addresses {  // behind it, with kHasAddresses
  le32 header;
  le32 load;
  le32 load_end;  // 0: the file's
  le32 bss_end;   // 0: none
  le32 entry;
};
static_assert(sizeof(Addresses) == 20);

constexpr uint32_t kHasMemory = 1 << 0, kHasCommandLine = 1 << 2, kHasModules = 1 << 3,
                   kHasMap = 1 << 6, kHasLoaderName = 1 << 9, kHasFramebuffer = 1 << 12;

struct Info {
  le32 flags;
  le32 memory_lower;  // KiB from 0
  le32 memory_upper;  // KiB from 1 MiB
  le32 boot_device;
  le32 command_line;
  le32 module_count;
  le32 modules;
  le32 symbols[4];
  le32 map_bytes;
  le32 map;
  le32 drive_bytes;
  le32 drives;
  le32 configuration;
  le32 loader_name;
  le32 apm;
  le32 vbe[4];
  le64 framebuffer;
  le32 framebuffer_pitch;
  le32 framebuffer_width;
  le32 framebuffer_height;
  uint8_t framebuffer_bits;
  uint8_t framebuffer_type;  // 2: text
  uint8_t colors[6];
};
static_assert(sizeof(Info) == 116);
static_assert(offsetof(Info, loader_name) == 64);
static_assert(offsetof(Info, framebuffer) == 88);
static_assert(offsetof(Info, framebuffer_type) == 109);

struct Module {
  le32 begin;
  le32 end;
  le32 name;
  le32 reserved;
};
static_assert(sizeof(Module) == 16);

struct MapEntry {
  le32 size;  // of what follows
  le64 base;
  le64 bytes;
  le32 type;  // as in E820
};
static_assert(sizeof(MapEntry) == 24);

// Places, below the command line's; nothing of the kernel may lie here.
constexpr Gpa kInfoAt = kPvhInfoAt;
constexpr Gpa kModulesAt = kInfoAt + 0x200;
constexpr Gpa kMapAt = kModulesAt + kMaxMultibootModules * sizeof(Module);
constexpr Gpa kTextAt = kCommandLineAt;
constexpr uint64_t kPlacesEnd = kCommandLineAt.value + kMaxCommandLine;

std::optional<uint64_t> FindHeader(Bytes file) {
  const Bytes head = file.first(std::min<uint64_t>(file.size(), kMultibootSearch));
  for (uint64_t at = 0; RangeFits(at, sizeof(Header), head.size()); at += 4) {
    const Header h = *ReadAt<Header>(head, at);
    if (h.magic == kHeaderMagic && static_cast<uint32_t>(h.magic + h.flags + h.checksum) == 0) {
      return at;
    }
  }
  return std::nullopt;
}

absl::Status Bad(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not a bootable Multiboot kernel: ", why));
}

// A plain image as the one segment that it is.
absl::StatusOr<ElfKernel> PlainImage(Bytes file, uint64_t header_at) {
  const std::optional<Addresses> a = ReadAt<Addresses>(file, header_at + sizeof(Header));
  if (!a) return Bad("it ends in its header");
  if (a->load > a->header || a->header - a->load > header_at) {
    return Bad(
        absl::StrFormat("it is to be loaded at 0x%x, %d bytes before its header, which is "
                        "%d bytes from the file's begin",
                        uint32_t{a->load}, uint32_t{a->header} - uint32_t{a->load}, header_at));
  }
  ElfSegment s;
  s.offset = header_at - (a->header - a->load);
  s.address = a->load;
  s.file_size = file.size() - s.offset;
  if (a->load_end != 0) {
    if (a->load_end < a->load || a->load_end - a->load > s.file_size) {
      return Bad(absl::StrFormat("its code, to 0x%x, lies past the end of the file",
                                 uint32_t{a->load_end}));
    }
    s.file_size = a->load_end - a->load;
  }
  s.memory_size = s.file_size;
  if (a->bss_end != 0) {
    if (a->bss_end < a->load || a->bss_end - a->load < s.file_size) {
      return Bad(
          absl::StrFormat("its zeroes end at 0x%x, before its code does", uint32_t{a->bss_end}));
    }
    s.memory_size = a->bss_end - a->load;
  }
  if (s.memory_size == 0) return Bad("it has nothing to load");
  ElfKernel out;
  out.segments.push_back(s);
  out.entry = a->entry;
  if (out.entry < s.address || out.entry - s.address >= s.memory_size) {
    return Bad(absl::StrFormat("its entry point 0x%x lies outside it", out.entry));
  }
  return out;
}

// Text that the kernel reads, one after the other.
class Texts {
 public:
  explicit Texts(GuestMemory& memory) : memory_(memory) {}
  absl::StatusOr<uint32_t> Add(absl::string_view text) {
    if (text.find('\0') != text.npos) {
      return absl::InvalidArgumentError("the command line holds a zero byte");
    }
    if (text.size() + 1 > kPlacesEnd - next_.value) {
      return absl::InvalidArgumentError(
          absl::StrCat("the command lines of the kernel and its modules have more than ",
                       kMaxCommandLine - 1, " bytes"));
    }
    std::string bytes(text);
    bytes.push_back('\0');
    const Gpa at = next_;
    if (!memory_.Write(at, {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()})) {
      return absl::FailedPreconditionError("the machine has no memory for a command line");
    }
    next_ = next_ + bytes.size();
    return static_cast<uint32_t>(at.value);
  }

 private:
  GuestMemory& memory_;
  Gpa next_ = kTextAt;
};

absl::StatusOr<std::vector<Module>> LoadModules(std::span<const Initrd> modules, uint64_t begin,
                                                Texts& texts, GuestMemory& memory) {
  if (modules.size() > kMaxMultibootModules) {
    return absl::InvalidArgumentError(absl::StrCat("-initrd names ", modules.size(),
                                                   " modules; at most ", kMaxMultibootModules,
                                                   " can be loaded"));
  }
  std::vector<Module> out;
  uint64_t at = std::max(RoundUp(begin, kPageSize), kHighMemory);
  for (const Initrd& m : modules) {
    if (!RangeFits(at, m.size, memory.low_ram_bytes())) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("%s: the module (%s) does not fit at 0x%x, above the kernel, of %s of "
                          "memory: give the machine more",
                          m.name, FormatSize(m.size), at, FormatSize(memory.ram_bytes())));
    }
    if (m.size != 0) {
      std::span<uint8_t> to = memory.Span(Gpa(at), m.size);
      if (to.empty()) {
        return absl::FailedPreconditionError(
            absl::StrFormat("%s: no room for it in memory at 0x%x", m.name, at));
      }
      RETURN_IF_ERROR(m.read(to));
      memory.MarkWritten(Gpa(at), m.size);
    }
    ASSIGN_OR_RETURN(const uint32_t name, texts.Add(m.name));
    out.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(at + m.size), name, 0});
    at = RoundUp(at + m.size, kPageSize);
  }
  return out;
}

// What a BIOS leaves in its data area and such kernels look at: how much low
// memory there is, and the text screen.
bool StoreBiosData(bool vga_text, GuestMemory& memory) {
  bool ok =
      memory.Store(Gpa(0x40E), le16(kEbda >> 4)) && memory.Store(Gpa(0x413), le16(kEbda / kKiB));
  if (vga_text) {
    ok = ok && memory.Store(Gpa(0x449), uint8_t{3}) && memory.Store(Gpa(0x44A), le16(80)) &&
         memory.Store(Gpa(0x44C), le16(4096)) && memory.Store(Gpa(0x463), le16(0x3D4)) &&
         memory.Store(Gpa(0x484), uint8_t{24}) && memory.Store(Gpa(0x485), le16(16));
  }
  return ok;
}

template <typename T>
bool StoreAll(GuestMemory& memory, Gpa at, const std::vector<T>& items) {
  return memory.Write(at,
                      {reinterpret_cast<const uint8_t*>(items.data()), items.size() * sizeof(T)});
}

}  // namespace

bool LooksLikeMultiboot(Bytes file) { return FindHeader(file).has_value(); }

absl::StatusOr<EntryState> LoadMultiboot(Bytes file, absl::string_view command_line,
                                         std::span<const Initrd> modules, bool vga_text,
                                         GuestMemory& memory) {
  const std::optional<uint64_t> header_at = FindHeader(file);
  if (!header_at) return Bad("it has no header in its first 8 KiB");
  const uint32_t flags = ReadAt<Header>(file, *header_at)->flags;
  if ((flags & kMustUnderstand & ~kUnderstood) != 0) {
    return Bad(absl::StrFormat("its header wants what no loader knows (flags 0x%08x)", flags));
  }
  const bool plain = (flags & kHasAddresses) != 0;
  ASSIGN_OR_RETURN(const ElfKernel kernel, plain ? PlainImage(file, *header_at) : ParseElf(file));
  if (kernel.entry > UINT32_MAX || kernel.end() > UINT32_MAX) {
    return Bad("it lies out of reach in 32-bit mode");
  }
  for (const ElfSegment& s : kernel.segments) {
    if (s.address < kPlacesEnd) {
      return Bad(absl::StrFormat("it loads %s at 0x%x, below 0x%x, where it finds what it is told",
                                 FormatSize(s.memory_size), s.address, kPlacesEnd));
    }
  }
  RETURN_IF_ERROR(LoadElf(kernel, file, memory));

  Info info{};
  info.flags = kHasMemory | kHasCommandLine | kHasMap | kHasLoaderName;
  info.memory_lower = kEbda / kKiB;
  info.memory_upper =
      static_cast<uint32_t>((std::max(memory.low_ram_bytes(), kHighMemory) - kHighMemory) / kKiB);
  Texts texts(memory);
  ASSIGN_OR_RETURN(info.command_line, texts.Add(command_line));
  ASSIGN_OR_RETURN(info.loader_name, texts.Add("atoll"));
  ASSIGN_OR_RETURN(const std::vector<Module> loaded,
                   LoadModules(modules, kernel.end(), texts, memory));
  if (!loaded.empty()) {
    info.flags = info.flags | kHasModules;
    info.module_count = static_cast<uint32_t>(loaded.size());
    info.modules = static_cast<uint32_t>(kModulesAt.value);
  }
  std::vector<MapEntry> map;
  for (const E820Entry& e : MakeE820(memory)) {
    map.push_back({sizeof(MapEntry) - sizeof(le32), e.base, e.size, e.type});
  }
  info.map = static_cast<uint32_t>(kMapAt.value);
  info.map_bytes = static_cast<uint32_t>(map.size() * sizeof(MapEntry));
  if (vga_text) {
    info.flags = info.flags | kHasFramebuffer;
    info.framebuffer = 0xB8000;
    info.framebuffer_pitch = 160;
    info.framebuffer_width = 80;
    info.framebuffer_height = 25;
    info.framebuffer_bits = 16;
    info.framebuffer_type = 2;
  } else if ((flags & kWantsGraphics) != 0) {
    return Bad("it wants to know the display, and the machine has none (-vga none)");
  }
  ASSIGN_OR_RETURN(EntryState out, EnterProtectedMode(memory, static_cast<uint32_t>(kernel.entry)));
  if (!memory.Store(kInfoAt, info) || !StoreAll(memory, kModulesAt, loaded) ||
      !StoreAll(memory, kMapAt, map) || !StoreBiosData(vga_text, memory)) {
    return absl::FailedPreconditionError("the machine has no memory for Multiboot's information");
  }
  out.regs.gpr[cpu::kRax] = kEntryMagic;
  out.regs.gpr[cpu::kRbx] = kInfoAt.value;
  out.description = absl::StrFormat("Multiboot kernel (%s), entry at 0x%x",
                                    plain         ? "plain image"
                                    : kernel.is64 ? "ELF64"
                                                  : "ELF32",
                                    kernel.entry);
  return out;
}

}  // namespace atl::boot
