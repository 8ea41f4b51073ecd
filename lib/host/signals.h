// SPDX-License-Identifier: Apache-2.0
// Signals such as SIGINT, SIGTERM and SIGWINCH as events of the loop.
#ifndef LIB_HOST_SIGNALS_H_
#define LIB_HOST_SIGNALS_H_

#include <signal.h>

#include <functional>
#include <initializer_list>
#include <memory>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"

namespace atl::host {

// Takes its signals out of their usual delivery as long as it lives.
//
// Made before the process starts its other threads, which inherit the mask:
// a thread that does not block a signal would be interrupted by it. Made and
// destroyed on one thread, which gets its mask back. A program that is started
// inherits the mask too; whoever starts one resets it.
class SignalWatch {
 public:
  // `arrived` gets the signal's number, on the loop thread; equal signals that
  // arrive together are reported once.
  static absl::StatusOr<std::unique_ptr<SignalWatch>> Create(EventLoop* loop,
                                                             std::initializer_list<int> signals,
                                                             std::function<void(int)> arrived);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  SignalWatch() = default;
  void Drain();

  UniqueFd fd_;
  std::unique_ptr<FdWatch> watch_;
  std::function<void(int)> arrived_;
  sigset_t old_mask_;
};

}  // namespace atl::host

#endif  // LIB_HOST_SIGNALS_H_
