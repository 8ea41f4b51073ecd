// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/testing/fuzz_device.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/bytes_reader.h"
#include "lib/dev/state.h"
#include "lib/dev/testing/hostile_state.h"

namespace atl::dev {
namespace {

void Check(bool holds, Device& device, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s: %s\n%s\n", std::string(device.name()).c_str(), what,
          ShowState(device).c_str());
  abort();
}

void CheckRoundTrip(Device& device, Device& twin) {
  const std::vector<uint8_t> saved = SaveState(device);
  const absl::Status loaded = LoadState(twin, saved);
  Check(loaded.ok(), device, std::string(loaded.message()).c_str());
  Check(SaveState(twin) == saved, device, "another device with this state saves a different one");
}

}  // namespace

void FuzzDevice(std::span<const uint8_t> bytes, DeviceLock& lock, ManualClock& clock,
                Device& device, Device& twin, std::span<const FuzzRegion> regions,
                const std::function<void(uint8_t)>& other) {
  Bus bus;
  std::vector<uint64_t> bases;
  uint64_t next = 0x100;
  for (const FuzzRegion& r : regions) {
    next = (next + r.size - 1) / r.size * r.size;
    bases.push_back(next);
    Check(bus.Map(r.space, lock, device, r.region, next, r.size, r.options).ok(), device, "no map");
    next += r.size + 16;
  }

  constexpr int kMaxSteps = 2000;
  constexpr unsigned kMaxTimers = 5000;
  BytesReader in(bytes);
  for (int step = 0; step < kMaxSteps && in.remaining() != 0; ++step) {
    const uint8_t op = *in.Read<uint8_t>();
    const FuzzRegion& r = regions[(op >> 3) % regions.size()];
    const uint64_t base = bases[(op >> 3) % regions.size()];
    switch (op & 7) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const uint64_t offset = in.Read<uint16_t>().value_or(0) % r.size;
        unsigned size = 1u << (op >> 6);
        if (r.space == Space::kPort) size = std::min(size, 4u);
        if (op & 1) {
          bus.Read(r.space, base + offset, size);
        } else {
          uint64_t value = 0;
          for (unsigned i = 0; i < size; ++i)
            value |= uint64_t{in.Read<uint8_t>().value_or(0)} << (8 * i);
          bus.Write(r.space, base + offset, size, value);
        }
        break;
      }
      case 4:  // time, on a scale from a microsecond to seconds
        if (clock.fired() > kMaxTimers) break;
        clock.Advance(uint64_t{in.Read<uint8_t>().value_or(1)} * 1000 << (op >> 3 & 15));
        break;
      case 5:
        if (other) lock.Run([&] { other(in.Read<uint8_t>().value_or(0)); });
        break;
      case 6:
        lock.Run([&] { CheckRoundTrip(device, twin); });
        break;
      case 7:
        if (op == 0xFF) {
          lock.Run([&] { device.Reset(); });
        } else if (op == 0xF7) {
          // A damaged state: refused or loaded, and the device lives on.
          lock.Run([&] {
            std::vector<uint8_t> bad = SaveState(device);
            const size_t at = in.Read<uint16_t>().value_or(0) % bad.size();
            bad[at] ^= in.Read<uint8_t>().value_or(1);
            if (!LoadState(device, bad).ok()) device.Reset();
          });
        } else if (op == 0xEF) {
          lock.Run([&] { LoadHostileState(device, in); });
        }
        break;
    }
  }
  lock.Run([&] { CheckRoundTrip(device, twin); });
}

}  // namespace atl::dev
