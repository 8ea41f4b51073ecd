// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/bells.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>

#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "lib/host/event.h"

namespace atl::vm {
namespace {

cpu::Doorbell ToCpu(const dev::BellPlace& p) { return {p.port, p.address, p.size, p.value}; }

// What the loop waits for: an eventfd of ours that a doorbell writes to, or somebody's
// descriptor. Shared by whoever hung the bell and the loop: the watch is made and ends on
// the loop's thread, later than the bell.
struct Rope {
  Rope(std::optional<host::Event> e, int f, dev::DeviceLock& l, std::function<void()> r)
      : event(std::move(e)), fd(f), lock(l), ring(std::move(r)) {}

  void OnReady() {
    if (event.has_value()) event->Clear();
    dev::DeviceLock::Scope scope(lock);
    if (hangs) ring();
  }

  std::optional<host::Event> event;
  const int fd;
  dev::DeviceLock& lock;
  const std::function<void()> ring;
  bool hangs = true;                     // under `lock`
  std::unique_ptr<host::FdWatch> watch;  // the loop thread's
};

class RopeBell : public dev::Bell {
 public:
  RopeBell(host::EventLoop& loop, std::shared_ptr<Rope> rope)
      : loop_(loop), rope_(std::move(rope)) {
    loop.Post([&loop, rope = rope_] {
      absl::StatusOr<std::unique_ptr<host::FdWatch>> watch =
          loop.Watch(rope->fd, EPOLLIN, [r = rope.get()](uint32_t) { r->OnReady(); });
      // Only for want of memory; what is rung then is not heard.
      if (watch.ok()) rope->watch = *std::move(watch);
    });
  }
  ~RopeBell() override {
    // Held already, but at the machine's end.
    dev::DeviceLock::Scope scope(rope_->lock);
    rope_->hangs = false;
    loop_.Post([rope = rope_] { rope->watch.reset(); });
  }

 private:
  host::EventLoop& loop_;
  const std::shared_ptr<Rope> rope_;
};

class FdBell final : public dev::Bell {
 public:
  FdBell(cpu::EventFds& fds, const cpu::Doorbell& at, int fd) : fds_(fds), at_(at), fd_(fd) {}
  ~FdBell() override { fds_.RemoveDoorbell(at_, fd_); }

 private:
  cpu::EventFds& fds_;
  const cpu::Doorbell at_;
  const int fd_;
};

class Message final : public dev::MessageFd {
 public:
  explicit Message(std::unique_ptr<cpu::InterruptFd> interrupt)
      : interrupt_(std::move(interrupt)) {}
  bool Send(uint64_t address, uint32_t data) override {
    return interrupt_->Send({address, data}).ok();
  }
  void Hold() override { interrupt_->Hold(); }

 private:
  const std::unique_ptr<cpu::InterruptFd> interrupt_;
};

// A doorbell and who hears it.
class HeardBell final : public dev::Bell {
 public:
  HeardBell(cpu::EventFds& fds, const cpu::Doorbell& at, host::EventLoop& loop,
            std::shared_ptr<Rope> rope)
      : rope_bell_(loop, rope), fd_bell_(fds, at, rope->fd) {}

 private:
  RopeBell rope_bell_;
  FdBell fd_bell_;  // goes first: what it writes to is open as long as the rope is
};

class DeviceBells final : public dev::Bells {
 public:
  DeviceBells(const VmEventFds& fds, IoThread& thread, dev::DeviceLock& lock)
      : fds_(fds), thread_(thread), lock_(lock) {}

  std::unique_ptr<dev::Bell> Hang(const dev::BellPlace& place,
                                  std::function<void()> ring) override {
    cpu::EventFds* const fds = fds_.get();
    host::EventLoop* const loop = fds == nullptr ? nullptr : thread_.loop();
    if (loop == nullptr) return nullptr;
    absl::StatusOr<host::Event> event = host::Event::Create();
    if (!event.ok()) return nullptr;
    const int fd = event->fd();
    auto rope = std::make_shared<Rope>(*std::move(event), fd, lock_, std::move(ring));
    const cpu::Doorbell at = ToCpu(place);
    if (!fds->AddDoorbell(at, fd).ok()) return nullptr;
    return std::make_unique<HeardBell>(*fds, at, *loop, std::move(rope));
  }
  std::unique_ptr<dev::Bell> HangFd(const dev::BellPlace& place, int fd) override {
    cpu::EventFds* const fds = fds_.get();
    const cpu::Doorbell at = ToCpu(place);
    if (fds == nullptr || !fds->AddDoorbell(at, fd).ok()) return nullptr;
    return std::make_unique<FdBell>(*fds, at, fd);
  }
  std::unique_ptr<dev::Bell> WatchFd(int fd, std::function<void()> ready) override {
    host::EventLoop* const loop = fds_.get() == nullptr ? nullptr : thread_.loop();
    if (loop == nullptr) return nullptr;
    return std::make_unique<RopeBell>(
        *loop, std::make_shared<Rope>(std::nullopt, fd, lock_, std::move(ready)));
  }
  std::unique_ptr<dev::MessageFd> NewMessageFd(int fd) override {
    if (fds_.get() == nullptr) return nullptr;
    absl::StatusOr<std::unique_ptr<cpu::InterruptFd>> made = fds_.get()->NewInterrupt(fd);
    if (!made.ok()) return nullptr;
    return std::make_unique<Message>(*std::move(made));
  }

 private:
  const VmEventFds& fds_;
  IoThread& thread_;
  dev::DeviceLock& lock_;
};

}  // namespace

host::EventLoop* IoThread::loop() {
  MutexLock lock(&mu_);
  if (loop_ != nullptr) return loop_.get();
  absl::StatusOr<std::unique_ptr<host::EventLoop>> loop = host::EventLoop::Create();
  if (!loop.ok()) return nullptr;
  loop_ = *std::move(loop);
  // Signals are the loop thread's and, to kick them, the vCPUs'.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  thread_ = std::thread([loop = loop_.get(), name = name_] {
    pthread_setname_np(pthread_self(), name.c_str());
    loop->Run();
  });
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  return loop_.get();
}

IoThread::~IoThread() {
  MutexLock lock(&mu_);
  if (loop_ == nullptr) return;
  loop_->Quit();
  thread_.join();
}

std::unique_ptr<dev::Bells> NewBells(const VmEventFds& fds, IoThread& thread,
                                     dev::DeviceLock& lock) {
  return std::make_unique<DeviceBells>(fds, thread, lock);
}

}  // namespace atl::vm
