// SPDX-License-Identifier: Apache-2.0
// How a device has slow work (disk I/O) done away from the vCPU's thread.
//
// The lock rule: a device calls in here with its lock held. `work` runs later on
// some other thread without that lock, so it touches only what it was given (a
// buffer, guest memory, a Disk), never the device. `done` runs after `work`, on
// any thread, with the device's lock held: it is an entry into the device like
// an access by the bus.
//
// Several pieces of work run at once and end in any order.
#ifndef LIB_WORK_BACKGROUND_H_
#define LIB_WORK_BACKGROUND_H_

#include <functional>

namespace atl::work {

class Background {
 public:
  virtual ~Background() = default;

  // Either function may be empty. A device bounds how much it has posted.
  virtual void Post(std::function<void()> work, std::function<void()> done) = 0;

  // For a device's reset: returns when no work of this device runs any more and
  // none will. Work that had not begun is done all the same (the guest was
  // promised nothing, but lost writes help nobody); no `done` posted before
  // this call runs after it.
  virtual void Cancel() = 0;
};

// Everything at once, on the calling thread: for tests and for machines that
// replay. Post() from within `work` or `done` is allowed.
class InlineBackground : public Background {
 public:
  void Post(std::function<void()> work, std::function<void()> done) override {
    if (work) work();
    if (done) done();
  }
  void Cancel() override {}
};

}  // namespace atl::work

#endif  // LIB_WORK_BACKGROUND_H_
