// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/device_lock.h"

#include <utility>

namespace atl::dev {
namespace {

const void* ThisThread() {
  static thread_local char token;
  return &token;
}

}  // namespace

// The machine's timer fires without the lock; between that and taking it here,
// the device may have disarmed or moved the deadline, so both are looked at
// again once the lock is held.
class DeviceLock::LockedTimer final : public Timer {
 public:
  LockedTimer(DeviceLock& lock, Clock& clock, std::function<void()> fire)
      : lock_(lock), clock_(clock), fire_(std::move(fire)) {
    base_ = clock.NewTimer([this] { OnBase(); });
  }

  void Arm(uint64_t deadline_ns) override {
    armed_ = true;
    deadline_ns_ = deadline_ns;
    base_->Arm(deadline_ns);
  }
  void Disarm() override {
    if (!armed_) return;
    armed_ = false;
    base_->Disarm();
  }

 private:
  void OnBase() {
    Scope scope(lock_);
    if (!armed_) return;
    if (clock_.NowNs() < deadline_ns_) return base_->Arm(deadline_ns_);
    armed_ = false;
    fire_();
  }

  DeviceLock& lock_;
  Clock& clock_;
  std::function<void()> fire_;
  std::unique_ptr<Timer> base_;
  bool armed_ = false;  // with deadline_ns_, under lock_
  uint64_t deadline_ns_ = 0;
};

class DeviceLock::LockedClock final : public Clock {
 public:
  LockedClock(DeviceLock& lock, Clock& base) : lock_(lock), base_(base) {}
  uint64_t NowNs() const override { return base_.NowNs(); }
  int64_t WallSeconds() const override { return base_.WallSeconds(); }
  std::unique_ptr<Timer> NewTimer(std::function<void()> fire) override {
    return std::make_unique<LockedTimer>(lock_, base_, std::move(fire));
  }

 private:
  DeviceLock& lock_;
  Clock& base_;
};

DeviceLock::DeviceLock(Clock* clock)
    : clock_(clock != nullptr ? std::make_unique<LockedClock>(*this, *clock) : nullptr) {}

DeviceLock::~DeviceLock() = default;

Clock& DeviceLock::clock() { return *clock_; }

bool DeviceLock::HeldByThisThread() const {
  return holder_.load(std::memory_order_relaxed) == ThisThread();
}

// Clang's analysis cannot follow a lock that is kept from one call to another.
bool DeviceLock::Enter() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (HeldByThisThread()) return false;
  mutex_.Lock();
  holder_.store(ThisThread(), std::memory_order_relaxed);
  return true;
}

void DeviceLock::Leave() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  holder_.store(nullptr, std::memory_order_relaxed);
  mutex_.Unlock();
}

}  // namespace atl::dev
