// SPDX-License-Identifier: Apache-2.0
// The RTL8139's registers, rings and network, with and without C+ mode. The first
// byte says which.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/dev/bus.h"
#include "lib/nic/testing/fuzz_nic.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl;       // NOLINT
  using namespace atl::nic;  // NOLINT
  static const auto* const kSubjects = new std::vector<FuzzSubject>{
      {"rtl8139",
       {{0, 256, dev::Space::kPort},
        {1, 256, dev::Space::kMmio, {.max_access = 8, .unaligned = true}}},
       {{0xE0, 2, 0x63},              // C+CR
        {0xE4, 4, kFuzzRings},        // RDSAR
        {0x20, 4, kFuzzRings + 256},  // TNPDS
        {0x28, 4, kFuzzRings + 512},  // THPDS
        {0x37, 1, 0x0C},              // CR
        {0x44, 4, 0x0F},              // RCR
        {0x3C, 2, 0xFFFF}}},          // IMR
      {"rtl8139c",
       {{0, 256, dev::Space::kPort}},
       {{0x30, 4, kFuzzRings},  // RBSTART
        {0x20, 4, kFuzzRings},  // TSAD0
        {0x37, 1, 0x0C},        // CR
        {0x44, 4, 0x8F},        // RCR
        {0x3C, 2, 0xFFFF}}},    // IMR
  };
  if (size == 0) return 0;
  FuzzNic((*kSubjects)[data[0] % kSubjects->size()], data + 1, size - 1);
  return 0;
}
