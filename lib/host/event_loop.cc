// SPDX-License-Identifier: Apache-2.0
#include "lib/host/event_loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "lib/base/status_macros.h"

namespace atl::host {
namespace {

constexpr uint64_t kNever = ~uint64_t{0};
constexpr uint64_t kNsPerSecond = 1'000'000'000;

}  // namespace

uint64_t MonotonicNs() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * kNsPerSecond + static_cast<uint64_t>(ts.tv_nsec);
}

FdWatch::~FdWatch() {
  if (added_) epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_DEL, fd_, nullptr);
  for (epoll_event& e : loop_->round_) {
    if (e.data.ptr == this) e.data.ptr = nullptr;
  }
}

void FdWatch::SetEvents(uint32_t events) {
  if (events == events_) return;
  events_ = events;
  epoll_event e{};
  e.events = events;
  e.data.ptr = this;
  const int op = events == 0 ? EPOLL_CTL_DEL : added_ ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(loop_->epoll_.get(), op, fd_, &e) == 0) added_ = events != 0;
  // What this round saw before the change is not wanted any more.
  for (epoll_event& pending : loop_->round_) {
    if (pending.data.ptr == this && events == 0) pending.data.ptr = nullptr;
  }
}

LoopTimer::~LoopTimer() { Disarm(); }

void LoopTimer::Arm(uint64_t deadline_ns) {
  MutexLock lock(&loop_->mu_);
  if (state_ == State::kQueued) node_ = loop_->timers_.extract(at_);
  if (node_.empty()) {
    at_ = loop_->timers_.emplace(deadline_ns, this);
  } else {
    node_.key() = deadline_ns;
    at_ = loop_->timers_.insert(std::move(node_));
  }
  state_ = State::kQueued;
  // The timerfd may be set too early (its timer was moved or disarmed), never
  // too late; a wake-up for nothing sets it right.
  if (deadline_ns < loop_->programmed_) loop_->Program(deadline_ns);
}

void LoopTimer::Disarm() {
  MutexLock lock(&loop_->mu_);
  if (state_ == State::kQueued) node_ = loop_->timers_.extract(at_);
  state_ = State::kIdle;
}

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return ErrnoError(errno, "epoll_create1");
  ASSIGN_OR_RETURN(Event wake, Event::Create());
  UniqueFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer.valid()) return ErrnoError(errno, "timerfd_create");
  std::unique_ptr<EventLoop> loop(
      new EventLoop(std::move(epoll), std::move(wake), std::move(timer)));
  RETURN_IF_ERROR(loop->Add(loop->wake_.fd(), EPOLLIN, &loop->posted_));
  RETURN_IF_ERROR(loop->Add(loop->timer_.get(), EPOLLIN, &loop->timers_));
  return loop;
}

EventLoop::EventLoop(UniqueFd epoll, Event wake, UniqueFd timer)
    : epoll_(std::move(epoll)), wake_(std::move(wake)), timer_(std::move(timer)) {}

EventLoop::~EventLoop() = default;

absl::Status EventLoop::Add(int fd, uint32_t events, void* tag) {
  epoll_event e{};
  e.events = events;
  e.data.ptr = tag;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) {
    return ErrnoError(errno, "cannot wait for a descriptor");
  }
  return absl::OkStatus();
}

void EventLoop::Run() {
  runner_.store(std::this_thread::get_id());
  bool quit = false;
  while (!quit) {
    epoll_event events[32];
    // A Quit() of the round before may have been woken up for together with a
    // Post(): the one reading is for both.
    const int n = epoll_wait(epoll_.get(), events, std::size(events), quit_.load() ? 0 : -1);
    // Read before the posted work is taken: what was posted before Quit() runs.
    quit = quit_.exchange(false);
    for (int i = 0; i < n; ++i) {
      // Nothing waits for descriptors whose watch a callback of this round ended.
      round_ = {events + i + 1, events + n};
      void* const tag = events[i].data.ptr;
      if (tag == nullptr) continue;
      if (tag == &posted_) {
        wake_.Clear();
      } else if (tag == &timers_) {
        // The count itself says nothing; reading re-arms the descriptor.
        uint64_t count;
        (void)!read(timer_.get(), &count, sizeof count);
        RunTimers();
      } else {
        const auto ready = static_cast<FdWatch*>(tag)->ready_;
        (*ready)(events[i].events);
      }
    }
    round_ = {};
    RunPosted();
  }
  runner_.store(std::thread::id());
}

void EventLoop::Quit() {
  quit_.store(true);
  Wake();
}

void EventLoop::Wake() { wake_.Signal(); }

void EventLoop::Post(std::function<void()> fn) {
  {
    MutexLock lock(&mu_);
    posted_.push_back(std::move(fn));
    if (posted_.size() > 1) return;  // whoever made it non-empty woke the loop
  }
  Wake();
}

void EventLoop::RunPosted() {
  std::vector<std::function<void()>> work;
  {
    MutexLock lock(&mu_);
    work.swap(posted_);
  }
  for (std::function<void()>& fn : work) fn();
}

void EventLoop::Program(uint64_t deadline_ns) {
  itimerspec spec{};
  if (deadline_ns != kNever) {
    // Zero would switch the timer off; the kernel refuses negative seconds.
    const uint64_t at = std::clamp<uint64_t>(deadline_ns, 1, INT64_MAX);
    spec.it_value.tv_sec = static_cast<time_t>(at / kNsPerSecond);
    spec.it_value.tv_nsec = static_cast<long>(at % kNsPerSecond);
  }
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
  programmed_ = deadline_ns;
}

void EventLoop::RunTimers() {
  const uint64_t now = MonotonicNs();
  mu_.Lock();
  // As many as there are now: a timer that arms itself in the past must not
  // keep descriptors waiting.
  for (size_t left = timers_.size(); left > 0 && !timers_.empty(); --left) {
    if (timers_.begin()->first > now) break;
    LoopTimer* const t = timers_.begin()->second;
    t->node_ = timers_.extract(timers_.begin());
    t->state_ = LoopTimer::State::kDue;
    Mutex* const lock = t->lock_;
    const auto fire = t->fire_;
    mu_.Unlock();
    if (lock != nullptr) lock->Lock();
    // Between the two locks somebody may have disarmed it or armed it anew.
    mu_.Lock();
    const bool due = t->state_ == LoopTimer::State::kDue;
    if (due) t->state_ = LoopTimer::State::kIdle;
    mu_.Unlock();
    if (due) (*fire)();  // may destroy the timer
    if (lock != nullptr) lock->Unlock();
    mu_.Lock();
  }
  Program(timers_.empty() ? kNever : timers_.begin()->first);
  mu_.Unlock();
}

absl::StatusOr<std::unique_ptr<FdWatch>> EventLoop::Watch(int fd, uint32_t events,
                                                          std::function<void(uint32_t)> ready) {
  std::unique_ptr<FdWatch> watch(new FdWatch(this, fd, std::move(ready)));
  if (events != 0) RETURN_IF_ERROR(Add(fd, events, watch.get()));
  watch->events_ = events;
  watch->added_ = events != 0;
  return watch;
}

std::unique_ptr<LoopTimer> EventLoop::NewTimer(std::function<void()> fire, Mutex* lock) {
  return std::unique_ptr<LoopTimer>(new LoopTimer(this, lock, std::move(fire)));
}

}  // namespace atl::host
