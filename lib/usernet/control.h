// SPDX-License-Identifier: Apache-2.0
// Somebody who tells a network what to do: lines at a stream socket. One thread, the
// loop's.
#ifndef LIB_USERNET_CONTROL_H_
#define LIB_USERNET_CONTROL_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/engine.h"

namespace atl::usernet {

class ControlConnection {
 public:
  static constexpr size_t kLongestLine = 1024;

  // `engine` lives longer. `closed` is called when the other end has gone, sent a line
  // that is too long, or does not read; it may destroy the connection.
  static absl::StatusOr<std::unique_ptr<ControlConnection>> Create(host::EventLoop* loop,
                                                                   UniqueFd fd, Engine* engine,
                                                                   std::function<void()> closed);

 private:
  ControlConnection(UniqueFd fd, Engine* engine, std::function<void()> closed)
      : fd_(std::move(fd)), engine_(engine), closed_(std::move(closed)) {}
  bool Ready();

  const UniqueFd fd_;
  Engine* const engine_;
  const std::function<void()> closed_;
  std::unique_ptr<host::FdWatch> watch_;
  std::string line_;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_CONTROL_H_
