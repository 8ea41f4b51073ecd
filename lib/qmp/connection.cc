// SPDX-License-Identifier: Apache-2.0
#include "lib/qmp/connection.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <utility>

#include "lib/base/status_macros.h"
#include "lib/host/received_fds.h"

namespace atl::qmp {
namespace {

// Of one message: the kernel's SCM_MAX_FD is 253.
constexpr size_t kMaxFds = 128;
// That a client may send at once, as in QEMU; the kernel closes the rest.
constexpr size_t kMaxReceived = 16;
// Replies with descriptors that wait: a client that reads none must not use up
// what the process may open.
constexpr size_t kMaxAttached = 4;

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> Connection::OverSocket(host::EventLoop& loop,
                                                                   UniqueFd fd, Protocol protocol,
                                                                   Context& context,
                                                                   std::function<void()> closed) {
  std::unique_ptr<Connection> out(new Connection(loop, std::move(closed)));
  out->socket_ = std::move(fd);
  RETURN_IF_ERROR(out->Watch(out->socket_.get(), out->socket_.get(), protocol, context));
  return out;
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::OverStdio(host::EventLoop& loop,
                                                                  Protocol protocol,
                                                                  Context& context,
                                                                  std::function<void()> closed) {
  std::unique_ptr<Connection> out(new Connection(loop, std::move(closed)));
  RETURN_IF_ERROR(out->Watch(STDIN_FILENO, STDOUT_FILENO, protocol, context));
  return out;
}

absl::Status Connection::Watch(int in, int out, Protocol protocol, Context& context) {
  in_ = in;
  out_ = out;
  context_ = &context;
  int domain = 0;
  socklen_t size = sizeof domain;
  carries_fds_ = socket_.valid() &&
                 getsockopt(socket_.get(), SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
                 domain == AF_UNIX;
  self_ = std::make_shared<Connection*>(this);
  session_ = NewSession(protocol, context, socket_.valid() ? "\r\n" : "\n",
                        [this](absl::string_view text) {
                          if (!over_) queue_.append(text.data(), text.size());
                        });
  // Regular files, which epoll refuses with EPERM, never block.
  const auto watch = [this](int fd, uint32_t events, bool read, bool write,
                            std::unique_ptr<host::FdWatch>* to, bool* always) {
    absl::StatusOr<std::unique_ptr<host::FdWatch>> w =
        loop_.Watch(fd, events, [this, read, write](uint32_t ready) {
          const bool broken = ready & (EPOLLERR | EPOLLHUP);
          OnReady(read && (broken || (ready & EPOLLIN)), write && (broken || (ready & EPOLLOUT)));
        });
    if (w.ok()) {
      *to = std::move(w).value();
    } else if (w.status().code() == absl::StatusCode::kPermissionDenied) {
      *always = true;
    } else {
      return w.status();
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(watch(in, EPOLLIN, true, in == out, &in_watch_, &in_always_));
  if (in != out) RETURN_IF_ERROR(watch(out, EPOLLOUT, false, true, &out_watch_, &out_always_));
  session_->Begin();
  Advance();
  return absl::OkStatus();
}

Connection::~Connection() {
  *self_ = nullptr;
  in_watch_.reset();
  out_watch_.reset();
  if (!over_) Flush();
}

void Connection::Event(absl::string_view text) {
  if (over_) return;
  session_->Event(text);
  Advance();
}

void Connection::OnReady(bool readable, bool writable) {
  if (over_) return;
  if (readable) Read();
  if (writable) Flush();
  Advance();
}

void Connection::Read() {
  if (ended_ || queue_.size() >= kHighWater || more_) return;
  char bytes[4096];
  ssize_t n;
  if (socket_.valid()) {
    n = Receive(bytes, sizeof bytes);
  } else {
    pollfd p{in_, POLLIN, 0};
    if (poll(&p, 1, 0) <= 0) return;
    n = read(in_, bytes, sizeof bytes);
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    ended_ = true;
    return;
  }
  session_->Feed({bytes, static_cast<size_t>(n)});
  more_ = true;
}

// As recv(), keeping descriptors that come along. Those before them, which no
// command took, go: a client that sends some without end must not use up what the
// process may open.
ssize_t Connection::Receive(char* to, size_t size) {
  iovec part{to, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxReceived * sizeof(int))];
  if (carries_fds_) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
  }
  const ssize_t n = recvmsg(in_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return n;
  std::vector<UniqueFd> fds = host::ReceivedFds(message);
  if (!fds.empty()) received_ = std::move(fds);
  return n;
}

// What the socket takes of queue_ from `at` on, with the descriptors that stand
// there and none that stand further on.
ssize_t Connection::Send(size_t at) {
  const bool here = !attached_.empty() && attached_.front().at == at;
  const size_t next = here ? 1 : 0;
  const size_t end = attached_.size() > next ? attached_[next].at : queue_.size();
  iovec part{queue_.data() + at, end - at};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  if (here) {
    const std::vector<UniqueFd>& fds = attached_.front().fds;
    const size_t count = std::min(fds.size(), kMaxFds);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* const c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (size_t i = 0; i < count; ++i) {
      const int fd = fds[i].get();
      memcpy(CMSG_DATA(c) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  const ssize_t n = sendmsg(out_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n > 0 && here) attached_.pop_front();
  return n;
}

void Connection::Flush() {
  size_t done = 0;
  while (done < queue_.size()) {
    ssize_t n;
    if (socket_.valid()) {
      n = Send(done);
    } else {
      pollfd p{out_, POLLOUT, 0};
      if (poll(&p, 1, 0) <= 0) break;
      // A writable pipe or terminal takes this much without blocking.
      n = write(out_, queue_.data() + done, std::min<size_t>(queue_.size() - done, PIPE_BUF));
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {
      // Nobody will read it.
      ended_ = true;
      more_ = false;
      done = queue_.size();
      attached_.clear();
      break;
    }
    done += static_cast<size_t>(n);
  }
  queue_.erase(0, done);
  for (Attached& a : attached_) a.at -= done;
}

// One message; what its command attached goes with the first byte of the reply.
bool Connection::Step() {
  std::vector<UniqueFd> fds;
  const size_t at = queue_.size();
  if (carries_fds_) {
    context_->attached = &fds;
    context_->received = &received_;
  }
  const bool more = session_->Step();
  context_->attached = nullptr;
  context_->received = nullptr;
  if (!fds.empty() && queue_.size() > at) attached_.push_back({at, std::move(fds)});
  return more;
}

// Carries out what is there, as far as the answers have room, and says to the
// loop what to wait for.
void Connection::Advance() {
  // A command's own events come here while it is carried out.
  if (stepping_) return;
  stepping_ = true;
  while (more_ && queue_.size() < kHighWater && attached_.size() < kMaxAttached) more_ = Step();
  stepping_ = false;
  Flush();
  if (queue_.size() > kMaxOutput || (ended_ && !more_ && queue_.empty())) return End();
  const bool want_in = !ended_ && !more_ && queue_.size() < kHighWater;
  const bool want_out = !queue_.empty();
  if (in_watch_ != nullptr) {
    in_watch_->SetEvents((want_in ? uint32_t{EPOLLIN} : 0) |
                         (in_ == out_ && want_out ? uint32_t{EPOLLOUT} : 0));
  }
  if (out_watch_ != nullptr) out_watch_->SetEvents(want_out ? uint32_t{EPOLLOUT} : 0);
  // What no descriptor will wake us for: a file to read, messages that wait
  // though there is room again.
  if ((in_always_ && want_in) || (more_ && !want_out) || (out_always_ && want_out)) {
    loop_.Post([self = self_] {
      if (*self != nullptr) (*self)->OnReady((*self)->in_always_, true);
    });
  }
}

void Connection::End() {
  over_ = true;
  in_watch_.reset();
  out_watch_.reset();
  loop_.Post([self = self_] {
    if (*self == nullptr) return;
    // Its own copy: the connection goes within the call.
    const std::function<void()> closed = (*self)->closed_;
    closed();
  });
}

}  // namespace atl::qmp
