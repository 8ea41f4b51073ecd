// SPDX-License-Identifier: Apache-2.0
// The Bells of a machine's devices over its VM's eventfds, and the threads that wait for
// what the kernel does not serve itself.
#ifndef LIB_VM_BELLS_H_
#define LIB_VM_BELLS_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "lib/base/mutex.h"
#include "lib/cpu/eventfds.h"
#include "lib/dev/bells.h"
#include "lib/dev/device_lock.h"
#include "lib/host/event_loop.h"

namespace atl::vm {

// The VM comes after the board, whose devices hold Bells; until it is there and where
// it has no eventfds, none can be hung. Set while no vCPU runs and no bell hangs.
class VmEventFds {
 public:
  void Use(cpu::EventFds* fds) { fds_ = fds; }
  cpu::EventFds* get() const { return fds_; }

 private:
  cpu::EventFds* fds_ = nullptr;
};

// A loop on a thread of its own, which begins with the first use: a machine that
// hangs no bells has none.
class IoThread {
 public:
  explicit IoThread(std::string name) : name_(std::move(name)) {}
  // All watches of the loop are gone, or work that was posted before ends them.
  ~IoThread();
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  // Null where there can be none. Any thread but its own.
  host::EventLoop* loop();

 private:
  const std::string name_;
  Mutex mu_;
  std::unique_ptr<host::EventLoop> loop_ ABSL_GUARDED_BY(mu_);
  std::thread thread_ ABSL_GUARDED_BY(mu_);
};

// All three outlive the device and its bells.
std::unique_ptr<dev::Bells> NewBells(const VmEventFds& fds, IoThread& thread,
                                     dev::DeviceLock& lock);

}  // namespace atl::vm

#endif  // LIB_VM_BELLS_H_
