// SPDX-License-Identifier: Apache-2.0
// Threads for work that blocks or takes long: disk requests, compression.
#ifndef LIB_HOST_WORKER_POOL_H_
#define LIB_HOST_WORKER_POOL_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "lib/base/mutex.h"

namespace atl::host {

class WorkerPool {
 public:
  // `name`: what ps and top show for the threads, at most 15 bytes. Threads
  // start when there is work for them, up to `max_threads` (at least 1).
  WorkerPool(absl::string_view name, size_t max_threads);
  // Waits until all posted work is done.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Any thread, a worker too. Work starts in the order of the calls. Signals are
  // blocked on the workers.
  void Post(std::function<void()> fn);

 private:
  void Work();

  const std::string name_;
  const size_t max_threads_;
  Mutex mu_;
  CondVar changed_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mu_);
  size_t idle_ ABSL_GUARDED_BY(mu_) = 0;
  bool ending_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace atl::host

#endif  // LIB_HOST_WORKER_POOL_H_
