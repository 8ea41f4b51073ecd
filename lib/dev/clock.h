// SPDX-License-Identifier: Apache-2.0
// Time, as devices see it: one monotonic clock of nanoseconds since the
// machine's start, and timers on it. A test has a clock that it moves by hand.
#ifndef LIB_DEV_CLOCK_H_
#define LIB_DEV_CLOCK_H_

#include <cstdint>
#include <functional>
#include <memory>

namespace atl::dev {

// Arm and Disarm with the owning device's lock held, from any thread. The
// callback runs on the loop thread with that lock held, at or after the
// deadline, once per Arm; after Disarm() it does not run.
class Timer {
 public:
  virtual ~Timer() = default;
  virtual void Arm(uint64_t deadline_ns) = 0;  // replaces an earlier deadline
  virtual void Disarm() = 0;
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t NowNs() const = 0;
  // Seconds since 1970 UTC, for the RTC.
  virtual int64_t WallSeconds() const = 0;
  // The timer must not outlive the clock.
  virtual std::unique_ptr<Timer> NewTimer(std::function<void()> fire) = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_CLOCK_H_
