// SPDX-License-Identifier: Apache-2.0
// The machine's clock: host monotonic time since the machine's start, but for
// the time in which it was stopped; its timers on the event loop.
#ifndef LIB_VM_CLOCK_H_
#define LIB_VM_CLOCK_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "lib/base/mutex.h"
#include "lib/dev/clock.h"
#include "lib/host/event_loop.h"

namespace atl::vm {

// NowNs() and WallSeconds() from any thread; timers as dev::Timer says, but
// without a lock: a device's lock is put around them by dev::DeviceLock::clock().
class MachineClock final : public dev::Clock {
 public:
  // `local_time`: the wall clock is the host's local time, as guests that know
  // of no time zones expect the RTC to be.
  MachineClock(host::EventLoop& loop, bool local_time);

  uint64_t NowNs() const override {
    const uint64_t stopped = stopped_at_.load(std::memory_order_acquire);
    return stopped != kRuns ? stopped
                            : host::MonotonicNs() - start_.load(std::memory_order_relaxed);
  }
  int64_t WallSeconds() const override;
  std::unique_ptr<dev::Timer> NewTimer(std::function<void()> fire) override;

  // Time stands still, and no timer fires, until Continue(). On the loop thread
  // (or before it runs), while no vCPU runs. Each is nothing where it is so.
  void Stop();
  void Continue();

 private:
  class ClockTimer;
  static constexpr uint64_t kRuns = ~uint64_t{0};

  bool stopped() const { return stopped_at_.load() != kRuns; }

  host::EventLoop& loop_;
  const bool local_time_;
  std::atomic<uint64_t> start_;  // the host's time at which this one began
  std::atomic<uint64_t> stopped_at_{kRuns};
  Mutex mu_;
  std::vector<ClockTimer*> timers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace atl::vm

#endif  // LIB_VM_CLOCK_H_
