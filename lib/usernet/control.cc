// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/control.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace atl::usernet {

absl::StatusOr<std::unique_ptr<ControlConnection>> ControlConnection::Create(
    host::EventLoop* loop, UniqueFd fd, Engine* engine, std::function<void()> closed) {
  std::unique_ptr<ControlConnection> out(
      new ControlConnection(std::move(fd), engine, std::move(closed)));
  ControlConnection* const raw = out.get();
  auto watch = loop->Watch(raw->fd_.get(), EPOLLIN, [raw](uint32_t) {
    if (!raw->Ready()) raw->closed_();
  });
  if (!watch.ok()) return watch.status();
  out->watch_ = *std::move(watch);
  return out;
}

bool ControlConnection::Ready() {
  char bytes[kLongestLine];
  const ssize_t n = recv(fd_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EINTR);
  line_.append(bytes, static_cast<size_t>(n));
  for (size_t end; (end = line_.find('\n')) != std::string::npos;) {
    const std::string answer = engine_->Command(line_.substr(0, end));
    line_.erase(0, end + 1);
    // An answer fits in a socket's buffer; who lets it fill up is not waited for.
    if (send(fd_.get(), answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
        static_cast<ssize_t>(answer.size())) {
      return false;
    }
  }
  return line_.size() < kLongestLine;
}

}  // namespace atl::usernet
