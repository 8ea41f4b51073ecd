// SPDX-License-Identifier: Apache-2.0
// The test that every device's state passes: save → load → save.
#ifndef LIB_DEV_TESTING_ROUND_TRIP_H_
#define LIB_DEV_TESTING_ROUND_TRIP_H_

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/dev/device.h"
#include "lib/dev/state.h"

namespace atl::dev {

// `other` is a second device like the first, in any state: after loading it has
// the same state, and so has the first after loading its own. Every cut-off
// state is refused.
inline void ExpectRoundTrip(Device& device, Device& other) {
  const std::vector<uint8_t> saved = SaveState(device);
  EXPECT_OK(LoadState(other, saved));
  EXPECT_EQ(ShowState(other), ShowState(device));
  EXPECT_EQ(SaveState(other), saved);
  EXPECT_OK(LoadState(device, saved));
  EXPECT_EQ(SaveState(device), saved);
  const size_t step = saved.size() < 4096 ? 1 : saved.size() / 1024;
  for (size_t n = 0; n < saved.size(); n += step)
    EXPECT_FALSE(LoadState(other, {saved.data(), n}).ok()) << "cut at " << n;
  EXPECT_OK(LoadState(other, saved));
}

}  // namespace atl::dev

#endif  // LIB_DEV_TESTING_ROUND_TRIP_H_
