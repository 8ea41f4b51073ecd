// SPDX-License-Identifier: Apache-2.0
// A hostile guest with a network card, and a hostile network. What the fuzz targets
// of the cards share.
#ifndef LIB_NIC_TESTING_FUZZ_NIC_H_
#define LIB_NIC_TESTING_FUZZ_NIC_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "lib/dev/testing/fuzz_device.h"

namespace atl::nic {

// Where a card's rings lie, for its settings. The first half of the input, a
// kilobyte at most, lies there at the start, so that descriptors are to be found.
inline constexpr uint32_t kFuzzRings = 0x1000;

struct FuzzSubject {
  absl::string_view model;
  std::vector<dev::FuzzRegion> regions;
  // What a driver would have written to region 0: rings, enabled.
  struct Setting {
    uint64_t offset;
    unsigned size;
    uint32_t value;
  };
  std::vector<Setting> settings;
};

void FuzzNic(const FuzzSubject& subject, const uint8_t* data, size_t size);

}  // namespace atl::nic

#endif  // LIB_NIC_TESTING_FUZZ_NIC_H_
