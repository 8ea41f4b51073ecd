// SPDX-License-Identifier: Apache-2.0
// The MC146818 real-time clock with its 128 bytes of CMOS memory (Motorola
// MC146818A datasheet; century at 0x32 as on PCs). Region 0: ports 0x70 (index)
// and 0x71 (data), max_access 1.
//
// The time starts as the clock's WallSeconds() and runs by NowNs(), so that
// seconds, update interrupts and the update-in-progress bit agree. Whether it is
// UTC or local time is the clock's affair.
#ifndef LIB_DEV_RTC_H_
#define LIB_DEV_RTC_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "lib/dev/clock.h"
#include "lib/dev/device.h"
#include "lib/dev/irq.h"

namespace atl::dev {

class Rtc final : public Device {
 public:
  static constexpr unsigned kCmosSize = 128;

  Rtc(IrqLine& irq8, Clock& clock);

  // Bytes that firmware reads; the clock's own (below 0x0E, and 0x32) are not
  // set this way. They survive Reset(), as a battery would have it.
  void SetCmos(uint8_t index, uint8_t value);
  uint8_t cmos(uint8_t index) const { return cmos_[index & 0x7F]; }
  // RAM below 4 GiB and above, as SeaBIOS expects it (0x15-0x18, 0x30, 0x31,
  // 0x34, 0x35, 0x5B-0x5D).
  void SetMemorySize(uint64_t low_bytes, uint64_t high_bytes);
  // Up to three of a (floppy), c (disk), d (CD), n (network), first to last.
  // False where there is another letter; `check_floppy`: boot only from floppies
  // with a signature.
  bool SetBootOrder(absl::string_view order, bool check_floppy = true);
  // The kinds of drives A (high four bits) and B, and how many there are.
  void SetFloppies(uint8_t types, unsigned drives);
  void SetCpuCount(unsigned vcpus);

  absl::string_view name() const override { return "mc146818"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor& v) override;

 private:
  // Seconds since 1970 and the place in the present one, in ns.
  struct Instant {
    int64_t seconds;
    uint64_t ns;
  };
  Instant At(uint64_t now) const;
  Instant Now() const;
  bool halted() const;  // SET, or the divider held in reset
  void Freeze();        // the time into its registers
  void Thaw();          // and from them
  void Encode(int64_t seconds);
  int64_t Decode() const;
  uint8_t ToRegister(int value) const;
  int FromRegister(uint8_t value) const;
  uint8_t HourToRegister(int hour) const;
  int HourFromRegister(uint8_t value) const;

  uint8_t ReadRegister(uint8_t index);
  void WriteRegister(uint8_t index, uint8_t value);
  uint64_t PeriodNs() const;  // of the periodic interrupt, 0 for none
  // The second of the first alarm after `after`, or -1 for none.
  int64_t NextAlarm(int64_t after) const;
  void CatchUp();  // the flags that time has set since the last look
  void Update();   // the line and the timer

  IrqLine& irq_;
  Clock& clock_;
  std::unique_ptr<Timer> timer_;
  uint8_t index_ = 0;
  uint8_t cmos_[kCmosSize] = {};
  bool frozen_ = false;
  int64_t base_seconds_ = 0;  // at base_ns_
  uint64_t base_ns_ = 0;      // where running; the phase where frozen
  uint64_t seen_ns_ = 0;      // flags are complete up to here
};

}  // namespace atl::dev

#endif  // LIB_DEV_RTC_H_
