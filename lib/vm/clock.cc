// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/clock.h"

#include <time.h>

#include <algorithm>
#include <utility>

namespace atl::vm {

class MachineClock::ClockTimer final : public dev::Timer {
 public:
  ClockTimer(MachineClock& clock, std::function<void()> fire)
      : clock_(clock),
        fire_(std::move(fire)),
        timer_(clock.loop_.NewTimer([this] { OnDeadline(); })) {
    MutexLock lock(&clock_.mu_);
    clock_.timers_.push_back(this);
  }
  ~ClockTimer() override {
    MutexLock lock(&clock_.mu_);
    clock_.timers_.erase(std::find(clock_.timers_.begin(), clock_.timers_.end(), this));
  }

  void Arm(uint64_t deadline_ns) override {
    MutexLock lock(&clock_.mu_);
    armed_ = true;
    deadline_ns_ = deadline_ns;
    if (!clock_.stopped()) Program();
  }
  void Disarm() override {
    MutexLock lock(&clock_.mu_);
    armed_ = false;
    timer_->Disarm();
  }

  // With the clock's lock held.
  void OnStop() { timer_->Disarm(); }
  void OnContinue() {
    if (armed_) Program();
  }

 private:
  void Program() {
    // A guest can ask for the end of time; it does not get past it.
    const uint64_t at = deadline_ns_ + clock_.start_.load(std::memory_order_relaxed);
    timer_->Arm(at < deadline_ns_ ? ~uint64_t{0} : at);
  }
  void OnDeadline() {
    {
      MutexLock lock(&clock_.mu_);
      // It was due when the clock stopped, or was disarmed or moved since.
      if (!armed_ || clock_.stopped() || clock_.NowNs() < deadline_ns_) return;
      armed_ = false;
    }
    fire_();
  }

  MachineClock& clock_;
  const std::function<void()> fire_;
  const std::unique_ptr<host::LoopTimer> timer_;
  bool armed_ = false;  // both under the clock's lock
  uint64_t deadline_ns_ = 0;
};

MachineClock::MachineClock(host::EventLoop& loop, bool local_time)
    : loop_(loop), local_time_(local_time), start_(host::MonotonicNs()) {}

int64_t MachineClock::WallSeconds() const {
  const time_t now = time(nullptr);
  if (!local_time_) return now;
  struct tm local;
  if (localtime_r(&now, &local) == nullptr) return now;
  return now + local.tm_gmtoff;
}

std::unique_ptr<dev::Timer> MachineClock::NewTimer(std::function<void()> fire) {
  return std::make_unique<ClockTimer>(*this, std::move(fire));
}

void MachineClock::Stop() {
  MutexLock lock(&mu_);
  if (stopped()) return;
  stopped_at_.store(NowNs(), std::memory_order_release);
  for (ClockTimer* t : timers_) t->OnStop();
}

void MachineClock::Continue() {
  MutexLock lock(&mu_);
  if (!stopped()) return;
  start_.store(host::MonotonicNs() - stopped_at_.load(), std::memory_order_relaxed);
  stopped_at_.store(kRuns, std::memory_order_release);
  for (ClockTimer* t : timers_) t->OnContinue();
}

}  // namespace atl::vm
