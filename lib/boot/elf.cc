// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/elf.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/checked.h"
#include "lib/base/units.h"

namespace atl::boot {
namespace {

using Bytes = std::span<const uint8_t>;

// A kernel has a handful; the bound is on work for a hostile file.
constexpr unsigned kMaxProgramHeaders = 128;
constexpr uint64_t kMaxNoteBytes = 1 << 20;
constexpr uint32_t kXenPhys32Entry = 18;  // XEN_ELFNOTE_PHYS32_ENTRY

absl::Status Bad(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not a bootable ELF kernel: ", why));
}

// A page at the most.
bool AllZero(Bytes bytes) {
  uint8_t any = 0;
  for (const uint8_t b : bytes) any |= b;
  return any == 0;
}

bool Apart(std::vector<ElfSegment> segments) {
  std::sort(segments.begin(), segments.end(),
            [](const ElfSegment& a, const ElfSegment& b) { return a.address < b.address; });
  for (size_t i = 1; i < segments.size(); ++i) {
    if (segments[i].address - segments[i - 1].address < segments[i - 1].memory_size) return false;
  }
  return true;
}

// Notes are name size, descriptor size, type, then both texts padded to 4 bytes.
std::optional<uint32_t> FindPvhEntry(Bytes notes) {
  BytesReader r(notes.first(std::min<uint64_t>(notes.size(), kMaxNoteBytes)));
  while (auto header = r.Read<Elf32_Nhdr>()) {
    auto name = r.ReadSpan(header->n_namesz);
    if (!name || !r.Skip(RoundUp(header->n_namesz, 4) - header->n_namesz)) break;
    auto text = r.ReadSpan(header->n_descsz);
    if (!text) break;
    if (header->n_type == kXenPhys32Entry && name->size() == 4 &&
        std::memcmp(name->data(), "Xen", 4) == 0 && text->size() >= 4) {
      return LoadLe<uint32_t>(text->data());
    }
    if (!r.Skip(RoundUp(header->n_descsz, 4) - header->n_descsz)) break;
  }
  return std::nullopt;
}

template <typename Header, typename ProgramHeader>
absl::StatusOr<ElfKernel> Parse(Bytes file, bool is64) {
  const std::optional<Header> header = ReadAt<Header>(file, 0);
  if (!header) return Bad("it ends in its header");
  if (header->e_type != ET_EXEC && header->e_type != ET_DYN) {
    return Bad("it is no executable (a module or object file?)");
  }
  if (header->e_machine != (is64 ? EM_X86_64 : EM_386)) {
    return Bad(absl::StrCat("it is for another processor (ELF machine ",
                            static_cast<unsigned>(header->e_machine), "), not x86"));
  }
  if (header->e_phentsize != sizeof(ProgramHeader) || header->e_phnum > kMaxProgramHeaders) {
    return Bad(absl::StrFormat("its %d program headers of %d bytes are out of range",
                               header->e_phnum, header->e_phentsize));
  }
  ElfKernel out;
  out.is64 = is64;
  // Kernels give the physical entry point, other programs the virtual one.
  uint64_t entry = header->e_entry;
  for (unsigned i = 0; i < header->e_phnum; ++i) {
    const auto at = CheckedAdd<uint64_t>(header->e_phoff, uint64_t{i} * sizeof(ProgramHeader));
    const std::optional<ProgramHeader> p = at ? ReadAt<ProgramHeader>(file, *at) : std::nullopt;
    if (!p) return Bad(absl::StrCat("program header ", i, " lies past the end of the file"));
    if (p->p_type != PT_LOAD && p->p_type != PT_NOTE) continue;
    if (!RangeFits(p->p_offset, p->p_filesz, file.size())) {
      return Bad(absl::StrCat("segment ", i, " lies past the end of the file"));
    }
    if (p->p_type == PT_NOTE) {
      if (!out.pvh_entry) out.pvh_entry = FindPvhEntry(file.subspan(p->p_offset, p->p_filesz));
      continue;
    }
    if (p->p_memsz == 0) continue;
    if (p->p_filesz > p->p_memsz) {
      return Bad(absl::StrCat("segment ", i, " is larger in the file than in memory"));
    }
    if (!CheckedAdd<uint64_t>(p->p_paddr, p->p_memsz)) {
      return Bad(absl::StrCat("segment ", i, " wraps round the address space"));
    }
    if (header->e_entry - p->p_vaddr < p->p_memsz && header->e_entry >= p->p_vaddr) {
      entry = header->e_entry - p->p_vaddr + p->p_paddr;
    }
    out.segments.push_back({p->p_offset, p->p_filesz, p->p_paddr, p->p_memsz});
  }
  if (out.segments.empty()) return Bad("it has nothing to load");
  out.entry = entry;
  const auto inside = [&](uint64_t address) {
    return std::any_of(out.segments.begin(), out.segments.end(), [&](const ElfSegment& s) {
      return address >= s.address && address - s.address < s.memory_size;
    });
  };
  if (!inside(out.entry)) {
    return Bad(absl::StrFormat("its entry point 0x%x lies in no segment", out.entry));
  }
  if (out.pvh_entry && !inside(*out.pvh_entry)) {
    return Bad(absl::StrFormat("its PVH entry point 0x%x lies in no segment", *out.pvh_entry));
  }
  return out;
}

}  // namespace

uint64_t ElfKernel::begin() const {
  uint64_t at = ~uint64_t{0};
  for (const ElfSegment& s : segments) at = std::min(at, s.address);
  return at;
}

uint64_t ElfKernel::end() const {
  uint64_t at = 0;
  for (const ElfSegment& s : segments) at = std::max(at, s.address + s.memory_size);
  return at;
}

bool LooksLikeElf(Bytes file) {
  return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0;
}

absl::StatusOr<ElfKernel> ParseElf(Bytes file) {
  if (!LooksLikeElf(file) || file.size() < EI_NIDENT) return Bad("it has no ELF header");
  if (file[EI_DATA] != ELFDATA2LSB) return Bad("it is big-endian");
  if (file[EI_CLASS] == ELFCLASS64) return Parse<Elf64_Ehdr, Elf64_Phdr>(file, true);
  if (file[EI_CLASS] == ELFCLASS32) return Parse<Elf32_Ehdr, Elf32_Phdr>(file, false);
  return Bad("it is neither of 32 nor of 64 bits");
}

std::vector<LoadStep> LoadSteps(const ElfKernel& kernel, Bytes file) {
  std::vector<LoadStep> out;
  const auto clear = [&out](const ElfSegment& s) {
    out.push_back({.address = s.address, .size = s.memory_size, .zero = true});
  };
  // Zeros first: where they come after a neighbour's bytes they would split the huge page
  // that both share. Where segments overlap, the later one counts.
  const bool apart = Apart(kernel.segments);
  if (apart) std::for_each(kernel.segments.begin(), kernel.segments.end(), clear);
  for (const ElfSegment& s : kernel.segments) {
    if (!apart) clear(s);
    // By the pages of memory, which are what the host gives.
    for (uint64_t done = 0; done < s.file_size;) {
      const uint64_t at = s.address + done;
      const uint64_t n = std::min(RoundDown(at, kPageSize) + kPageSize - at, s.file_size - done);
      if (!AllZero(file.subspan(s.offset + done, n))) {
        LoadStep& last = out.back();
        if (!last.zero && last.address + last.size == at &&
            last.offset + last.size == s.offset + done) {
          last.size += n;
        } else {
          out.push_back({.address = at, .size = n, .offset = s.offset + done});
        }
      }
      done += n;
    }
  }
  return out;
}

absl::Status LoadElf(const ElfKernel& kernel, Bytes file, GuestMemory& memory) {
  // All of it is checked before any of it is written: sizes are the file's word.
  for (const ElfSegment& s : kernel.segments) {
    if (memory.Span(Gpa(s.address), s.memory_size).empty()) {
      return absl::OutOfRangeError(
          absl::StrFormat("the kernel loads %s at 0x%x, which is not memory of this machine (%s)",
                          FormatSize(s.memory_size), s.address, FormatSize(memory.ram_bytes())));
    }
  }
  for (const LoadStep& step : LoadSteps(kernel, file)) {
    if (step.zero) {
      memory.Zero(Gpa(step.address), step.size);
    } else {
      memory.Write(Gpa(step.address), file.subspan(step.offset, step.size));
    }
  }
  return absl::OkStatus();
}

}  // namespace atl::boot
