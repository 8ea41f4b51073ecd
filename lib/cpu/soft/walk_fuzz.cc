// SPDX-License-Identifier: Apache-2.0
// Page walks over tables that the input made: no walk leaves guest memory, takes
// long, or sets more than accessed and dirty bits.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "lib/cpu/soft/walk.h"
#include "lib/mem/guest_memory.h"

namespace {

using namespace atl;             // NOLINT: a fuzz target is one function
using namespace atl::cpu::soft;  // NOLINT

constexpr uint64_t kTables = 16 * kPageSize;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static std::unique_ptr<GuestMemory> memory = *GuestMemory::Create(1 << 20);
  if (size < 16) return 0;
  Paging p;
  p.kind = static_cast<Paging::Kind>(data[0] & 3);
  p.write_protect = data[0] & 4;
  p.page_size = data[0] & 8;
  p.no_execute = data[0] & 16;
  p.smep = data[0] & 32;
  p.smap = data[0] & 64;
  p.a20 = data[0] & 128 ? ~uint64_t{0} : ~(uint64_t{1} << 20);
  std::memcpy(&p.root, data + 1, 7);
  uint64_t linear;
  std::memcpy(&linear, data + 8, 8);
  data += 16;
  size -= 16;
  std::vector<uint8_t> before(kTables);
  for (size_t i = 0; size != 0 && i < before.size(); ++i) before[i] = data[i % size];
  memory->Write(Gpa(0), before);
  PhysicalMap map(*memory);
  ReadPdptes(map, p.root, p.a20, p.pdpte);
  for (unsigned i = 0; i < 32; ++i) {
    const WalkAccess a = {static_cast<Access>(i % 3), static_cast<Rights>(i / 3 % 3),
                          i / 9 % 2 != 0};
    // As the MMU calls it.
    if (p.kind != Paging::Kind::kFourLevel) linear &= 0xFFFFFFFF;
    PageWalk walk;
    uint32_t error = 0;
    if (WalkPageTables(p, map, linear, a, &walk, &error)) {
      if ((walk.physical & (kPageSize - 1)) != 0) std::abort();
      if ((walk.physical & ~p.a20) != 0) std::abort();
      if (walk.physical >> 52 != 0) std::abort();
    } else if ((error & ~uint32_t{31}) != 0) {
      std::abort();
    }
    linear = linear * 6364136223846793005u + 1442695040888963407u;
  }
  std::vector<uint8_t> after(kTables);
  if (!memory->Read(Gpa(0), after)) std::abort();
  for (size_t i = 0; i < after.size(); ++i) {
    if (((after[i] ^ before[i]) & ~0x60) != 0) std::abort();
  }
  return 0;
}
