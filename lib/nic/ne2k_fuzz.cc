// SPDX-License-Identifier: Apache-2.0
// The NE2000's registers, memory and network.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/dev/bus.h"
#include "lib/nic/testing/fuzz_nic.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl;       // NOLINT
  using namespace atl::nic;  // NOLINT
  static const auto* const kSubjects = new std::vector<FuzzSubject>{
      {"ne2k_pci",
       {{0, 32, dev::Space::kPort}},
       {{0, 1, 0x21},    // CR
        {1, 1, 0x46},    // PSTART
        {2, 1, 0x80},    // PSTOP
        {3, 1, 0x7F},    // BNRY
        {12, 1, 0x1C},   // RCR
        {14, 1, 0x49},   // DCR
        {15, 1, 0x7F},   // IMR
        {0, 1, 0x61},    // CR: page 1
        {7, 1, 0x46},    // CURR
        {0, 1, 0x22}}},  // CR
  };
  FuzzNic(kSubjects->front(), data, size);
  return 0;
}
