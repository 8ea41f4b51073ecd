// SPDX-License-Identifier: Apache-2.0
// The lock of one device (or of several chips that share one), kept outside the
// device: the bus takes it around accesses, clock() takes it around timers, and
// whoever else calls into the device (a disk's completion, a packet, a key)
// calls through Run(). Device code itself never locks.
//
// Order: a device's lock, then a lock below it (the interrupt chips', the bus'
// map). No device calls another device's bus interface with its own lock held.
//
// Re-entrancy guard: a thread that is inside the device and comes to it again
// (DMA that is aimed at the device's own registers) is refused, not deadlocked.
#ifndef LIB_DEV_DEVICE_LOCK_H_
#define LIB_DEV_DEVICE_LOCK_H_

#include <atomic>
#include <functional>
#include <memory>

#include "lib/base/mutex.h"
#include "lib/dev/clock.h"

namespace atl::dev {

class DeviceLock {
 public:
  // `clock` outlives this object; null where the device has no timers.
  explicit DeviceLock(Clock* clock = nullptr);
  ~DeviceLock();
  DeviceLock(const DeviceLock&) = delete;
  DeviceLock& operator=(const DeviceLock&) = delete;

  // The machine's clock whose timers fire with this lock held. Timers must be
  // destroyed before this object and not from within their own callback.
  Clock& clock();

  // False, and no lock taken, where this thread holds it already.
  bool Enter();
  void Leave();
  bool HeldByThisThread() const;

  // Runs `work` with the lock held, also when this thread holds it already.
  template <typename Work>
  auto Run(Work&& work) {
    Scope scope(*this);
    return work();
  }

  class Scope {
   public:
    explicit Scope(DeviceLock& lock) : lock_(lock), entered_(lock.Enter()) {}
    ~Scope() {
      if (entered_) lock_.Leave();
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    bool entered() const { return entered_; }

   private:
    DeviceLock& lock_;
    const bool entered_;
  };

 private:
  class LockedClock;
  class LockedTimer;

  Mutex mutex_;
  std::atomic<const void*> holder_{nullptr};  // the thread's token
  std::unique_ptr<LockedClock> clock_;
};

}  // namespace atl::dev

#endif  // LIB_DEV_DEVICE_LOCK_H_
