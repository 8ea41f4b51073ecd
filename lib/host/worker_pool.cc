// SPDX-License-Identifier: Apache-2.0
#include "lib/host/worker_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <utility>

namespace atl::host {

WorkerPool::WorkerPool(absl::string_view name, size_t max_threads)
    : name_(name.substr(0, 15)), max_threads_(std::max<size_t>(max_threads, 1)) {}

WorkerPool::~WorkerPool() {
  // Work may post more work and so start threads until the queue is empty.
  for (;;) {
    std::vector<std::thread> threads;
    {
      MutexLock lock(&mu_);
      ending_ = true;
      changed_.NotifyAll();
      threads.swap(threads_);
    }
    if (threads.empty()) break;
    for (std::thread& t : threads) t.join();
  }
}

void WorkerPool::Post(std::function<void()> fn) {
  MutexLock lock(&mu_);
  queue_.push_back(std::move(fn));
  if (idle_ >= queue_.size() || threads_.size() >= max_threads_) {
    changed_.NotifyOne();
    return;
  }
  // A thread inherits the mask of its maker; signals are not for workers.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  threads_.emplace_back([this] { Work(); });
  pthread_setname_np(threads_.back().native_handle(), name_.c_str());
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

void WorkerPool::Work() {
  mu_.Lock();
  for (;;) {
    if (!queue_.empty()) {
      std::function<void()> fn = std::move(queue_.front());
      queue_.pop_front();
      mu_.Unlock();
      fn();
      fn = nullptr;  // what it holds goes without the lock
      mu_.Lock();
      continue;
    }
    if (ending_) break;
    ++idle_;
    changed_.Wait(&mu_);
    --idle_;
  }
  mu_.Unlock();
}

}  // namespace atl::host
