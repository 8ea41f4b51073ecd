// SPDX-License-Identifier: Apache-2.0
// A device's state as an attacker would write it who knows the format: every
// field gets a fuzzer's value. What a saved state's bytes with a few changed
// seldom reach, this does at once.
#ifndef LIB_DEV_TESTING_HOSTILE_STATE_H_
#define LIB_DEV_TESTING_HOSTILE_STATE_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/base/bytes_reader.h"
#include "lib/dev/device.h"
#include "lib/dev/state.h"

namespace atl::dev {

class HostileState final : public StateVisitor {
 public:
  explicit HostileState(BytesReader& in) : in_(in) {}

  void Blob(absl::string_view name, std::vector<uint8_t>& v, uint64_t max) override {
    if (!Changes()) return;
    const uint64_t size = in_.Read<uint16_t>().value_or(0);
    CheckMax(name, size, max);
    if (!status_.ok()) return;
    v.assign(size, in_.Read<uint8_t>().value_or(0));
  }
  void Bytes(absl::string_view, std::span<uint8_t> v) override {
    if (!Changes()) return;
    const uint8_t fill = in_.Read<uint8_t>().value_or(0xFF);
    std::fill(v.begin(), v.end(), fill);
    for (int i = fill % 8; i > 0 && !v.empty(); --i) {
      v[in_.Read<uint16_t>().value_or(0) % v.size()] = in_.Read<uint8_t>().value_or(0);
    }
  }
  void Begin(absl::string_view) override {}
  void End() override {}
  bool loading() const override { return true; }
  absl::Status status() const override { return status_; }

 protected:
  void Integer(absl::string_view, uint64_t& v, unsigned size) override {
    if (!Changes()) return;
    const uint8_t how = in_.Read<uint8_t>().value_or(0);
    if (how < 0xC0) {
      v = how & 0x3F;  // what bounds let through
    } else if (how < 0xD0) {
      v = ~uint64_t{0} >> (64 - 8 * size);
    } else {
      v = 0;
      for (unsigned i = 0; i < size; ++i) {
        v |= uint64_t{in_.Read<uint8_t>().value_or(0)} << (8 * i);
      }
    }
  }
  void CheckMax(absl::string_view name, uint64_t v, uint64_t max) override {
    if (status_.ok() && v > max) status_ = absl::InvalidArgumentError(name);
  }

 private:
  // Half of the fields keep what they have: not everything is wrong at once.
  bool Changes() {
    return status_.ok() && in_.remaining() != 0 && (in_.Read<uint8_t>().value_or(0) & 1) != 0;
  }

  BytesReader& in_;
  absl::Status status_;
};

// As a machine does it: what is refused leaves a device that was reset.
inline void LoadHostileState(Device& device, BytesReader& in) {
  HostileState state(in);
  device.VisitState(state);
  if (!state.status().ok()) device.Reset();
}

}  // namespace atl::dev

#endif  // LIB_DEV_TESTING_HOSTILE_STATE_H_
