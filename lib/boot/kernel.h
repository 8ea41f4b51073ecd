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
//   ELF      with a PVH note: entered by the PVH boot ABI, 32-bit.
//   ELF      without: taken for a Linux vmlinux and given boot_params.
#ifndef LIB_BOOT_KERNEL_H_
#define LIB_BOOT_KERNEL_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/boot/entry.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {

struct KernelFiles {
  std::string kernel;  // paths
  std::string initrd;  // empty: none
  std::string command_line;
  bool decompress_here = true;  // false: always let the guest do it
  bool vga_text = false;        // the display is a VGA in mode 3
  std::string cache;            // folder of host::CacheFolder(), or empty
};

// An initrd that is not in memory yet.
struct Initrd {
  std::string name;
  uint64_t size = 0;
  std::function<absl::Status(std::span<uint8_t>)> read;  // all `size` bytes
};

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
