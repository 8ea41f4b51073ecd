// SPDX-License-Identifier: Apache-2.0
// What a hostile guest can do to any device, driven by a fuzzer's bytes: reads,
// writes and the passing of time, through a bus as the guest's own accesses
// come, and the device's state in between.
#ifndef LIB_DEV_TESTING_FUZZ_DEVICE_H_
#define LIB_DEV_TESTING_FUZZ_DEVICE_H_

#include <cstdint>
#include <functional>
#include <span>

#include "lib/dev/bus.h"
#include "lib/dev/device.h"
#include "lib/dev/testing/fakes.h"

namespace atl::dev {

struct FuzzRegion {
  unsigned region;
  uint64_t size;
  Space space = Space::kPort;
  MapOptions options = {};
};

// Aborts where the device breaks a promise: its state does not survive save,
// load and save. `twin` is a second device like it, which takes the loads.
// `other`, if any, is called now and then with a byte, for input from outside.
// `clock` is the one below `lock`.
void FuzzDevice(std::span<const uint8_t> bytes, DeviceLock& lock, ManualClock& clock,
                Device& device, Device& twin, std::span<const FuzzRegion> regions,
                const std::function<void(uint8_t)>& other = nullptr);

}  // namespace atl::dev

#endif  // LIB_DEV_TESTING_FUZZ_DEVICE_H_
