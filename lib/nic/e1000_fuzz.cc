// SPDX-License-Identifier: Apache-2.0
// The e1000's registers, rings and network.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/dev/bus.h"
#include "lib/nic/testing/fuzz_nic.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl;       // NOLINT
  using namespace atl::nic;  // NOLINT
  static const auto* const kSubjects = new std::vector<FuzzSubject>{
      {"e1000",
       {{2, 64, dev::Space::kPort}, {0, 0x20000, dev::Space::kMmio}},
       {{0x2800, 4, kFuzzRings},        // RDBAL
        {0x2808, 4, 128},               // RDLEN
        {0x2818, 4, 7},                 // RDT
        {0x3800, 4, kFuzzRings + 256},  // TDBAL
        {0x3808, 4, 256},               // TDLEN
        {0x0100, 4, 0x801A},            // RCTL
        {0x0400, 4, 0x0A},              // TCTL
        {0x00D0, 4, 0xFFFF}}},          // IMS
  };
  FuzzNic(kSubjects->front(), data, size);
  return 0;
}
