// SPDX-License-Identifier: Apache-2.0
// The machine's clock: host monotonic time since the machine's start, its
// timers on the event loop.
#ifndef LIB_VM_CLOCK_H_
#define LIB_VM_CLOCK_H_

#include <cstdint>
#include <functional>
#include <memory>

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

  uint64_t NowNs() const override { return host::MonotonicNs() - start_; }
  int64_t WallSeconds() const override;
  std::unique_ptr<dev::Timer> NewTimer(std::function<void()> fire) override;

 private:
  host::EventLoop& loop_;
  const bool local_time_;
  const uint64_t start_;
};

}  // namespace atl::vm

#endif  // LIB_VM_CLOCK_H_
