// SPDX-License-Identifier: Apache-2.0
// Threads for the Backgrounds of all devices of a machine.
//
// The pool outlives its Backgrounds, and each of those the device that posts to
// it. Before a device goes away it is quiet: WaitIdle() after the last access.
#ifndef LIB_WORK_WORKER_POOL_H_
#define LIB_WORK_WORKER_POOL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "lib/base/mutex.h"
#include "lib/dev/device_lock.h"
#include "lib/work/background.h"

namespace atl::work {

// Thread rule: every call from any thread but the pool's own.
class WorkerPool {
 public:
  // `threads`: 1 to 64. They are made with the first work, by the thread that
  // posts it, whose signal mask they inherit: until then the process may have
  // one thread only.
  explicit WorkerPool(unsigned threads);
  ~WorkerPool();  // finishes all work
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // `device_lock` is taken around each `done`; it outlives the Background.
  std::unique_ptr<Background> NewBackground(dev::DeviceLock* device_lock);

  // Returns when no work and no `done` of any device is left. The caller holds
  // no device's lock, and vCPUs do not run: for snapshots and the end.
  void WaitIdle();

 private:
  class DeviceBackground;
  struct Task {
    DeviceBackground* owner;
    uint64_t generation;
    std::function<void()> work;
    std::function<void()> done;
  };

  void StartThreads() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunTasks();

  const unsigned thread_count_;
  Mutex mutex_;
  CondVar wake_;   // there are tasks, or the end has come
  CondVar quiet_;  // a task's work or all of it ended
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  unsigned unfinished_ ABSL_GUARDED_BY(mutex_) = 0;  // queued or running, with `done`
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace atl::work

#endif  // LIB_WORK_WORKER_POOL_H_
