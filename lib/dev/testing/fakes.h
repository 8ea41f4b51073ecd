// SPDX-License-Identifier: Apache-2.0
// What a chip is wired to in its test: a line that remembers, a clock that is
// moved by hand, a machine that notes what it was asked. One thread.
#ifndef LIB_DEV_TESTING_FAKES_H_
#define LIB_DEV_TESTING_FAKES_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "lib/dev/clock.h"
#include "lib/dev/irq.h"
#include "lib/dev/system_control.h"

namespace atl::dev {

class FakeIrqLine final : public IrqLine {
 public:
  void Set(bool level) override {
    if (level && !level_) ++edges_;
    level_ = level;
  }
  bool level() const { return level_; }
  // Rising edges since the last call.
  unsigned TakeEdges() { return std::exchange(edges_, 0); }

 private:
  bool level_ = false;
  unsigned edges_ = 0;
};

// Timers fire inside Advance(), in deadline order, at their own deadline.
class ManualClock final : public Clock {
 public:
  uint64_t NowNs() const override { return now_; }
  int64_t WallSeconds() const override {
    return wall_at_start_ + static_cast<int64_t>(now_ / 1'000'000'000);
  }
  std::unique_ptr<Timer> NewTimer(std::function<void()> fire) override {
    return std::make_unique<ManualTimer>(*this, std::move(fire));
  }

  void set_wall(int64_t seconds_now) {
    wall_at_start_ = seconds_now - static_cast<int64_t>(now_ / 1'000'000'000);
  }
  void Advance(uint64_t ns) {
    const uint64_t end = now_ + ns;
    for (;;) {
      ManualTimer* next = nullptr;
      for (ManualTimer* t : timers_) {
        if (t->armed && t->deadline <= end && (next == nullptr || t->deadline < next->deadline))
          next = t;
      }
      if (next == nullptr) break;
      now_ = std::max(now_, next->deadline);
      next->armed = false;
      ++fired_;
      next->fire();
    }
    now_ = end;
  }
  // Deadline of the next timer, or nothing armed: ~0.
  uint64_t NextDeadline() const {
    uint64_t next = ~uint64_t{0};
    for (const ManualTimer* t : timers_)
      if (t->armed) next = std::min(next, t->deadline);
    return next;
  }
  unsigned fired() const { return fired_; }

 private:
  struct ManualTimer final : Timer {
    ManualTimer(ManualClock& c, std::function<void()> f) : clock(c), fire(std::move(f)) {
      clock.timers_.push_back(this);
    }
    ~ManualTimer() override { std::erase(clock.timers_, this); }
    void Arm(uint64_t deadline_ns) override {
      armed = true;
      deadline = deadline_ns;
    }
    void Disarm() override { armed = false; }

    ManualClock& clock;
    std::function<void()> fire;
    bool armed = false;
    uint64_t deadline = 0;
  };

  uint64_t now_ = 0;
  int64_t wall_at_start_ = 0;
  unsigned fired_ = 0;
  std::vector<ManualTimer*> timers_;
};

class FakeSystemControl final : public SystemControl {
 public:
  void RequestReset() override { ++resets; }
  void RequestPowerOff() override { ++power_offs; }
  void RequestExit(int status) override { exit_status = status; }
  void SetA20(bool enabled) override { a20 = enabled; }

  unsigned resets = 0;
  unsigned power_offs = 0;
  int exit_status = -1;
  bool a20 = true;
};

}  // namespace atl::dev

#endif  // LIB_DEV_TESTING_FAKES_H_
