// SPDX-License-Identifier: Apache-2.0
// Kernels that a boot loader enters by the Multiboot specification, version
// 0.6.96: a header in the file's first 8 KiB says so. ELF of either width, or
// plain images whose header has the addresses.
//
// What the kernel finds: EAX the magic number, EBX the information structure
// with memory sizes and map, command line, modules and, on a machine with a
// VGA in text mode, its text buffer; in the BIOS data area the size of low
// memory. No firmware has run, and none can be called. Left out: drives, ROM configuration, APM and
// VBE tables, symbols.
#ifndef LIB_BOOT_MULTIBOOT_H_
#define LIB_BOOT_MULTIBOOT_H_

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/boot/entry.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {

// How much of a file LooksLikeMultiboot() wants to see.
inline constexpr uint64_t kMultibootSearch = 8192;
inline constexpr size_t kMaxMultibootModules = 64;

bool LooksLikeMultiboot(std::span<const uint8_t> file);

// `command_line` with the kernel's name as its first word. Each module is told
// its name, which may have arguments behind it. Errors as of LoadKernelImage().
absl::StatusOr<EntryState> LoadMultiboot(std::span<const uint8_t> file,
                                         absl::string_view command_line,
                                         std::span<const Initrd> modules, bool vga_text,
                                         GuestMemory& memory);

}  // namespace atl::boot

#endif  // LIB_BOOT_MULTIBOOT_H_
