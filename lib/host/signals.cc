// SPDX-License-Identifier: Apache-2.0
#include "lib/host/signals.h"

#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <utility>

#include "lib/base/status_macros.h"

namespace atl::host {

absl::StatusOr<std::unique_ptr<SignalWatch>> SignalWatch::Create(EventLoop* loop,
                                                                 std::initializer_list<int> signals,
                                                                 std::function<void(int)> arrived) {
  sigset_t set;
  sigemptyset(&set);
  for (int s : signals) sigaddset(&set, s);
  UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return ErrnoError(errno, "signalfd");
  std::unique_ptr<SignalWatch> out(new SignalWatch());
  SignalWatch* const self = out.get();
  ASSIGN_OR_RETURN(std::unique_ptr<FdWatch> watch,
                   loop->Watch(fd.get(), EPOLLIN, [self](uint32_t) { self->Drain(); }));
  out->arrived_ = std::move(arrived);
  out->fd_ = std::move(fd);
  out->watch_ = std::move(watch);
  // Last: the destructor of a half-made object would restore an unset mask.
  pthread_sigmask(SIG_BLOCK, &set, &out->old_mask_);
  return out;
}

SignalWatch::~SignalWatch() {
  if (watch_ == nullptr) return;  // Create() failed before it blocked anything
  watch_.reset();
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

void SignalWatch::Drain() {
  signalfd_siginfo info;
  // One for each wake-up: the callback may destroy this watch.
  if (read(fd_.get(), &info, sizeof info) == sizeof info) {
    const std::function<void(int)> arrived = arrived_;
    arrived(static_cast<int>(info.ssi_signo));
  }
}

}  // namespace atl::host
