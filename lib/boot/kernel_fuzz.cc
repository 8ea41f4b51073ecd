// SPDX-License-Identifier: Apache-2.0
// Kernels of any bytes into a small machine: nothing outside its memory may be
// touched, and what is accepted must be entered inside it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/endian.h"
#include "lib/boot/kernel.h"
#include "lib/mem/guest_memory.h"

// First byte: what the rest is dressed up as, so that mutations start behind
// the magic numbers. The next three: size of the initrd in pages.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::unique_ptr<atl::GuestMemory> memory =
      *atl::GuestMemory::Create(uint64_t{8} << 20);
  if (size < 4) return 0;
  std::vector<uint8_t> kernel(data + 4, data + size);
  const unsigned dress = data[0] % 5;
  if (dress == 1 && kernel.size() > 0x300) {  // bzImage
    atl::StoreLe<uint16_t>(&kernel[0x1FE], 0xAA55);
    std::memcpy(&kernel[0x202], "HdrS", 4);
    kernel[0x207] = 2;
    kernel[0x211] |= 1;
  } else if ((dress == 2 || dress == 3) && kernel.size() > 0x40) {  // ELF, 64 and 32 bits
    std::memcpy(kernel.data(),
                dress == 2 ? "\x7f"
                             "ELF\2\1\1"
                           : "\x7f"
                             "ELF\1\1\1",
                7);
    atl::StoreLe<uint16_t>(&kernel[16], 2);
    atl::StoreLe<uint16_t>(&kernel[18], dress == 2 ? 62 : 3);
    atl::StoreLe<uint16_t>(&kernel[dress == 2 ? 54 : 42], dress == 2 ? 56 : 32);
  }
  if (dress == 4 && kernel.size() > 0x20) {  // Multiboot, flags as they come
    atl::StoreLe<uint32_t>(&kernel[0], 0x1BADB002);
    const uint32_t flags = atl::LoadLe<uint32_t>(&kernel[4]) & 0x10007;
    atl::StoreLe<uint32_t>(&kernel[4], flags);
    atl::StoreLe<uint32_t>(&kernel[8], 0u - 0x1BADB002 - flags);
  }
  const uint64_t pages = data[1] | data[2] << 8 | data[3] << 16;
  const atl::boot::Initrd initrd = {"initrd", pages * 4096 + data[1], [](std::span<uint8_t> to) {
                                      if (!to.empty()) to.back() = 1;
                                      return absl::OkStatus();
                                    }};
  const absl::StatusOr<atl::boot::EntryState> entry = atl::boot::LoadKernelImage(
      kernel, &initrd, "console=ttyS0", atl::Gpa(0xE0000), (data[0] & 0x80) == 0, *memory);
  if (entry.ok() && memory->Find(atl::Gpa(entry->regs.rip), 1) == nullptr) std::abort();
  return 0;
}
