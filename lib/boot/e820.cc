// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/e820.h"

#include <cstring>

namespace atl::boot {
namespace {

E820Entry Entry(uint64_t begin, uint64_t end, E820Type type) {
  return {begin, end - begin, static_cast<uint32_t>(type)};
}

}  // namespace

std::vector<E820Entry> MakeE820(const GuestMemory& memory) {
  std::vector<E820Entry> map = {
      Entry(0, kEbda, E820Type::kRam),
      Entry(kEbda, kVgaHole, E820Type::kReserved),
      Entry(kBiosArea, kHighMemory, E820Type::kReserved),
  };
  if (memory.low_ram_bytes() > kHighMemory) {
    map.push_back(Entry(kHighMemory, memory.low_ram_bytes(), E820Type::kRam));
  }
  if (memory.high_ram_bytes() != 0) {
    map.push_back(Entry(GuestMemory::kHighRamBase,
                        GuestMemory::kHighRamBase + memory.high_ram_bytes(), E820Type::kRam));
  }
  return map;
}

std::vector<uint8_t> E820File(const GuestMemory& memory) {
  std::vector<E820Entry> ram = {Entry(0, memory.low_ram_bytes(), E820Type::kRam)};
  if (memory.high_ram_bytes() != 0) {
    ram.push_back(Entry(GuestMemory::kHighRamBase,
                        GuestMemory::kHighRamBase + memory.high_ram_bytes(), E820Type::kRam));
  }
  std::vector<uint8_t> out(ram.size() * sizeof(E820Entry));
  std::memcpy(out.data(), ram.data(), out.size());
  return out;
}

}  // namespace atl::boot
