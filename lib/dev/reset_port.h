// SPDX-License-Identifier: Apache-2.0
// The PIIX3's reset control register at port 0xCF9 (82371SB datasheet, 2.5.4).
// Region 0: 1 port, over the host bridge's 0xCF8 with a greater priority.
#ifndef LIB_DEV_RESET_PORT_H_
#define LIB_DEV_RESET_PORT_H_

#include <cstdint>

#include "lib/dev/device.h"
#include "lib/dev/state.h"
#include "lib/dev/system_control.h"

namespace atl::dev {

class ResetPort final : public Device {
 public:
  static constexpr uint16_t kPort = 0xCF9;

  explicit ResetPort(SystemControl& system) : system_(system) {}

  absl::string_view name() const override { return "reset-port"; }
  void Reset() override { value_ = 0; }
  uint64_t Read(unsigned, uint64_t, unsigned) override { return value_; }
  void Write(unsigned, uint64_t, unsigned, uint64_t value) override {
    const bool resets = (value & kResetCpu) && !(value_ & kResetCpu);
    value_ = value & kHardReset;  // bit 2 falls back by itself
    if (resets) system_.RequestReset();
  }
  void VisitState(StateVisitor& v) override { v.Field("value", value_); }

 private:
  static constexpr uint8_t kHardReset = 0x02;
  static constexpr uint8_t kResetCpu = 0x04;

  SystemControl& system_;
  uint8_t value_ = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_RESET_PORT_H_
