// SPDX-License-Identifier: Apache-2.0
// What the firmware tells a guest about its memory (ACPI 6.4, 15.1: INT 15h,
// E820h): the same list for a directly booted kernel, the PVH boot ABI and, as
// the fw_cfg file etc/e820, SeaBIOS.
#ifndef LIB_BOOT_E820_H_
#define LIB_BOOT_E820_H_

#include <cstdint>
#include <vector>

#include "lib/base/endian.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {

enum class E820Type : uint32_t { kRam = 1, kReserved = 2, kAcpi = 3 };

// As in boot_params and in etc/e820.
struct E820Entry {
  le64 base;
  le64 size;
  le32 type;
};
static_assert(sizeof(E820Entry) == 20);

// The legacy hole of a PC.
inline constexpr uint64_t kEbda = 0x9FC00;      // the top KiB of low memory is the BIOS's
inline constexpr uint64_t kVgaHole = 0xA0000;   // to 0xC0000: display memory
inline constexpr uint64_t kBiosArea = 0xE0000;  // to 1 MiB: ACPI and SMBIOS tables
inline constexpr uint64_t kHighMemory = 0x100000;

// The map of a machine without firmware: 0 to 639 KiB, 1 MiB to the end of low
// RAM, 4 GiB and up; the BIOS area reserved. Sorted, not overlapping.
std::vector<E820Entry> MakeE820(const GuestMemory& memory);

// etc/e820: only the RAM, as SeaBIOS expects; it adds what it reserves itself.
std::vector<uint8_t> E820File(const GuestMemory& memory);

}  // namespace atl::boot

#endif  // LIB_BOOT_E820_H_
