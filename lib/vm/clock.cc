// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/clock.h"

#include <time.h>

#include <utility>

namespace atl::vm {
namespace {

class ClockTimer final : public dev::Timer {
 public:
  ClockTimer(host::EventLoop& loop, uint64_t start, std::function<void()> fire)
      : start_(start), timer_(loop.NewTimer(std::move(fire))) {}
  void Arm(uint64_t deadline_ns) override {
    // A guest can ask for the end of time; it does not get past it.
    const uint64_t at = deadline_ns + start_;
    timer_->Arm(at < deadline_ns ? ~uint64_t{0} : at);
  }
  void Disarm() override { timer_->Disarm(); }

 private:
  const uint64_t start_;
  std::unique_ptr<host::LoopTimer> timer_;
};

}  // namespace

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
  return std::make_unique<ClockTimer>(loop_, start_, std::move(fire));
}

}  // namespace atl::vm
