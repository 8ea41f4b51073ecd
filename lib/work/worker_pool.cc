// SPDX-License-Identifier: Apache-2.0
#include "lib/work/worker_pool.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

namespace atl::work {

// Its fields are guarded by the pool's mutex, but for generation_, which the
// device's lock guards: a `done` compares it with that lock held, so that none
// from before a Cancel() can slip past it.
class WorkerPool::DeviceBackground : public Background {
 public:
  DeviceBackground(WorkerPool* pool, dev::DeviceLock* device_lock)
      : pool_(pool), device_lock_(device_lock) {}

  void Post(std::function<void()> work, std::function<void()> done) override {
    MutexLock lock(&pool_->mutex_);
    pool_->StartThreads();
    pool_->tasks_.push_back({this, generation_, std::move(work), std::move(done)});
    ++pool_->unfinished_;
    ++working_;
    pool_->wake_.NotifyOne();
  }

  void Cancel() override {
    ++generation_;
    // The caller holds the device's lock, and the pool's threads may all be
    // waiting for it to run a `done`: what is queued is worked off here.
    std::deque<Task> mine;
    {
      MutexLock lock(&pool_->mutex_);
      std::deque<Task> others;
      for (Task& t : pool_->tasks_) (t.owner == this ? mine : others).push_back(std::move(t));
      pool_->tasks_ = std::move(others);
    }
    for (Task& t : mine) {
      if (t.work) t.work();
      t = Task{};
    }
    MutexLock lock(&pool_->mutex_);
    working_ -= static_cast<unsigned>(mine.size());
    pool_->unfinished_ -= static_cast<unsigned>(mine.size());
    while (working_ != 0) pool_->quiet_.Wait(&pool_->mutex_);
    pool_->quiet_.NotifyAll();
  }

  ~DeviceBackground() override {
    MutexLock lock(&pool_->mutex_);
    while (present_ != 0 || working_ != 0) pool_->quiet_.Wait(&pool_->mutex_);
  }

 private:
  friend class WorkerPool;

  WorkerPool* pool_;
  dev::DeviceLock* device_lock_;
  uint64_t generation_ = 0;
  unsigned working_ = 0;  // tasks whose work has not returned
  unsigned present_ = 0;  // tasks that a thread still has in hand
};

WorkerPool::WorkerPool(unsigned threads) : thread_count_(std::clamp(threads, 1u, 64u)) {}

void WorkerPool::StartThreads() {
  while (threads_.size() < thread_count_) {
    threads_.emplace_back([this] {
      pthread_setname_np(pthread_self(), "worker");
      RunTasks();
    });
  }
}

WorkerPool::~WorkerPool() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    threads.swap(threads_);
    wake_.NotifyAll();
  }
  for (std::thread& t : threads) t.join();
}

std::unique_ptr<Background> WorkerPool::NewBackground(dev::DeviceLock* device_lock) {
  return std::make_unique<DeviceBackground>(this, device_lock);
}

void WorkerPool::WaitIdle() {
  MutexLock lock(&mutex_);
  while (unfinished_ != 0) quiet_.Wait(&mutex_);
}

void WorkerPool::RunTasks() {
  while (true) {
    Task task;
    {
      MutexLock lock(&mutex_);
      while (tasks_.empty() && !stopping_) wake_.Wait(&mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
      ++task.owner->present_;
    }
    if (task.work) task.work();
    {
      MutexLock lock(&mutex_);
      --task.owner->working_;
      quiet_.NotifyAll();
    }
    if (task.done) {
      dev::DeviceLock::Scope scope(*task.owner->device_lock_);
      if (task.generation == task.owner->generation_) task.done();
    }
    // What the closures own goes before anyone is told that they are gone.
    DeviceBackground* owner = task.owner;
    task = Task{};
    {
      MutexLock lock(&mutex_);
      --unfinished_;
      --owner->present_;
      quiet_.NotifyAll();
    }
  }
}

}  // namespace atl::work
