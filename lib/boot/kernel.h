// SPDX-License-Identifier: Apache-2.0
// Boots a kernel without firmware: -kernel, -initrd, -append.
//
// What is understood, tried in this order:
//   bzImage  with a payload in a known format: decompressed here, and the ELF
//            kernel inside entered as its own decompressor would (64-bit, or 32-bit
//            for an i386 kernel). It runs where it was linked: KASLR of the
//            image needs the kernel's own decompressor and does not happen.
//   bzImage  otherwise: the compressed kernel is entered, in 64-bit mode where
//            it can be, and decompresses itself.
//   Multiboot  as multiboot.h says; its modules are the files of `initrd`.
//   ELF      with a PVH note: entered by the PVH boot ABI, 32-bit.
//   ELF      without: taken for a Linux vmlinux and given boot_params.
#ifndef LIB_BOOT_KERNEL_H_
#define LIB_BOOT_KERNEL_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/boot/entry.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {

struct KernelFiles {
  std::string kernel;  // paths
  // Empty: none. Of a Multiboot kernel: "FILE[ ARGUMENTS][,FILE...]", see
  // SplitModules().
  std::string initrd;
  std::string command_line;
  bool decompress_here = true;  // false: always let the guest do it
  bool vga_text = false;        // the display is a VGA in mode 3
  std::string cache;            // folder of host::CacheFolder(), or empty
};

// The modules of a Multiboot kernel as -initrd names them: between commas, a
// comma itself doubled; behind a blank what the module is told.
struct ModuleFile {
  std::string path;
  std::string line;  // the path and what is behind it
};
std::vector<ModuleFile> SplitModules(absl::string_view initrd);

// Writes everything into guest memory and gives the state to enter with.
// `rsdp`: where the ACPI tables begin, or 0. Errors name the file and what would be
// valid; memory then may have been written in part.
absl::StatusOr<EntryState> LoadKernel(const KernelFiles& files, Gpa rsdp, GuestMemory& memory);

// The same over bytes. `initrd` may be null.
absl::StatusOr<EntryState> LoadKernelImage(std::span<const uint8_t> kernel, const Initrd* initrd,
                                           absl::string_view command_line, Gpa rsdp,
                                           bool decompress_here, GuestMemory& memory);

}  // namespace atl::boot

#endif  // LIB_BOOT_KERNEL_H_
