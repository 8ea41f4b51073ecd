// SPDX-License-Identifier: Apache-2.0
// One thread that waits for everything: descriptors (epoll), timers (timerfd)
// and work that other threads hand to it (eventfd).
//
// Thread rule. Post(), Quit() and a timer's Arm() and Disarm() are for any
// thread. Watches and timers are made and destroyed on the loop thread, or on
// any one thread while Run() is not executing. Callbacks run on the loop thread,
// one at a time; they may make and destroy watches and timers, their own too.
#ifndef LIB_HOST_EVENT_LOOP_H_
#define LIB_HOST_EVENT_LOOP_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/mutex.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event.h"

struct epoll_event;

namespace atl::host {

// Nanoseconds of CLOCK_MONOTONIC: the unit of every deadline here.
uint64_t MonotonicNs();

class EventLoop;

// Calls back while a descriptor is ready. Ends when destroyed; the descriptor
// stays open and must outlive the watch.
class FdWatch {
 public:
  ~FdWatch();
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

  // Level-triggered, EPOLLIN and EPOLLOUT as asked for; 0 pauses the watch
  // (errors and hang-up are then not reported either). Loop thread. Only for
  // what epoll takes: no regular files.
  void SetEvents(uint32_t events);
  uint32_t events() const { return events_; }

 private:
  friend class EventLoop;
  FdWatch(EventLoop* loop, int fd, std::function<void(uint32_t)> ready)
      : loop_(loop),
        fd_(fd),
        ready_(std::make_shared<const std::function<void(uint32_t)>>(std::move(ready))) {}

  EventLoop* const loop_;
  const int fd_;
  uint32_t events_ = 0;
  bool added_ = false;
  // Shared with the call that executes it, which may destroy the watch.
  const std::shared_ptr<const std::function<void(uint32_t)>> ready_;
};

// Fires once for each Arm(), at or after its deadline.
class LoopTimer {
 public:
  ~LoopTimer();
  LoopTimer(const LoopTimer&) = delete;
  LoopTimer& operator=(const LoopTimer&) = delete;

  void Arm(uint64_t deadline_ns);  // replaces an earlier deadline
  void Disarm();

 private:
  friend class EventLoop;
  using Queue = std::multimap<uint64_t, LoopTimer*>;
  LoopTimer(EventLoop* loop, Mutex* lock, std::function<void()> fire)
      : loop_(loop),
        lock_(lock),
        fire_(std::make_shared<const std::function<void()>>(std::move(fire))) {}

  EventLoop* const loop_;
  Mutex* const lock_;
  const std::shared_ptr<const std::function<void()>> fire_;
  // All three under loop_->mu_. The node waits here while it is not queued, so
  // that arming never allocates.
  Queue::node_type node_;
  Queue::iterator at_;
  enum class State : uint8_t { kIdle, kQueued, kDue } state_ = State::kIdle;
};

class EventLoop {
 public:
  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();
  // All watches and timers must be gone. Work posted and not yet run is dropped.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Until Quit(). A Quit() that came before Run() counts: Run() returns after
  // what was posted before it. May be called again.
  void Run();
  void Quit();
  // True on the thread that executes Run().
  bool InLoop() const { return runner_.load() == std::this_thread::get_id(); }

  // Runs `fn` on the loop thread, in the order of the calls.
  void Post(std::function<void()> fn);

  // `ready` gets the EPOLL* bits that are set. The descriptor may not be a
  // regular file (epoll refuses those).
  absl::StatusOr<std::unique_ptr<FdWatch>> Watch(int fd, uint32_t events,
                                                 std::function<void(uint32_t)> ready);

  // Where `lock` is given, `fire` runs with it held; whoever calls Disarm() or
  // Arm() with it held then knows that the earlier deadline fires no more.
  // Without a lock a callback that has begun on the loop thread goes on.
  std::unique_ptr<LoopTimer> NewTimer(std::function<void()> fire, Mutex* lock = nullptr);

 private:
  friend class FdWatch;
  friend class LoopTimer;
  EventLoop(UniqueFd epoll, Event wake, UniqueFd timer);
  absl::Status Add(int fd, uint32_t events, void* tag);
  void Wake();
  void RunPosted();
  // A lock that is there or not is beyond the analysis.
  void RunTimers() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void Program(uint64_t deadline_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const UniqueFd epoll_;
  Event wake_;
  const UniqueFd timer_;
  std::atomic<std::thread::id> runner_{};
  std::atomic<bool> quit_{false};
  // The events of the present round that are still to be delivered: a watch
  // that dies is taken out of them.
  std::span<epoll_event> round_;

  Mutex mu_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mu_);
  LoopTimer::Queue timers_ ABSL_GUARDED_BY(mu_);
  // What the timerfd is set to; ~0 where it is off.
  uint64_t programmed_ ABSL_GUARDED_BY(mu_) = ~uint64_t{0};
};

}  // namespace atl::host

#endif  // LIB_HOST_EVENT_LOOP_H_
