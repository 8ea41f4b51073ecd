// SPDX-License-Identifier: Apache-2.0
// The 8254 interval timer and system control port B (0x61), which gates its
// third channel and reads it back (Intel 8254 datasheet; 82371 PIIX, 2.5.3).
// Channel 0 is IRQ 0; channel 1, once memory refresh, only counts; channel 2 is
// the speaker's, and what operating systems calibrate the TSC by.
#ifndef LIB_DEV_PIT_H_
#define LIB_DEV_PIT_H_

#include <cstdint>
#include <memory>

#include "lib/dev/clock.h"
#include "lib/dev/device.h"
#include "lib/dev/irq.h"

namespace atl::dev {

class Pit final : public Device {
 public:
  static constexpr uint64_t kHz = 1193182;

  // Regions, with the place they have on a PC.
  enum Region : unsigned {
    kCounters,  // ports 0x40, 4 bytes, max_access 1
    kPortB,     // port 0x61, 1 byte
  };

  Pit(IrqLine& irq0, Clock& clock);

  absl::string_view name() const override { return "i8254"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor& v) override;

 private:
  enum class Access : uint8_t { kNone, kLow, kHigh, kBoth };

  struct Channel {
    uint8_t mode = 0;
    bool bcd = false;
    Access access = Access::kBoth;
    bool gate = true;
    bool counting = false;     // a count was written since the mode
    uint32_t count = 0x10000;  // 1 to 0x10000
    uint64_t start_ns = 0;     // when it was loaded or triggered
    bool paused = false;       // by the gate, in modes 0 and 4
    uint64_t paused_ticks = 0;

    bool write_high = false;  // the next byte written is the high one
    uint8_t low = 0;
    bool read_high = false;
    bool latched = false;
    uint16_t latch = 0;
    bool status_latched = false;
    uint8_t status = 0;

    uint64_t Ticks(uint64_t now) const;
    bool Output(uint64_t now) const;
    uint16_t Count(uint64_t now) const;
    void LatchCount(uint64_t now);
    void LatchStatus(uint64_t now);
    void SetGate(bool level, uint64_t now);
    uint8_t Read(uint64_t now);
    // Whether the count is complete.
    bool Write(uint8_t value, uint64_t now);
    void VisitState(StateVisitor& v);
  };

  void WriteControl(uint8_t value);
  void Fire();
  void ArmTimer();

  IrqLine& irq_;
  Clock& clock_;
  std::unique_ptr<Timer> timer_;
  Channel channels_[3];
  bool line_ = false;
  bool speaker_ = false;
};

}  // namespace atl::dev

#endif  // LIB_DEV_PIT_H_
