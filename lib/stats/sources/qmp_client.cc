// SPDX-License-Identifier: Apache-2.0
#include "lib/stats/sources/qmp_client.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/host/event_loop.h"
#include "lib/host/received_fds.h"
#include "lib/host/socket.h"

namespace atl::stats {
namespace {
constexpr uint64_t kReplyNs = 1'000'000'000;
constexpr size_t kMaxFdsKept = 1024;
}  // namespace

absl::StatusOr<std::unique_ptr<QmpClient>> QmpClient::Connect(const std::string& path,
                                                              uint64_t patience_ns) {
  ASSIGN_OR_RETURN(UniqueFd socket, host::ConnectUnix(path));
  std::unique_ptr<QmpClient> out(new QmpClient(std::move(socket)));
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(out->socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
    out->pid_ = peer.pid;
  }
  out->deadline_ns_ = host::MonotonicNs() + patience_ns;
  absl::StatusOr<qmp::JsonValue> greeting = out->Next();
  if (!greeting.ok()) return Annotate(greeting.status(), path);
  if (greeting->Find("QMP") == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no QMP server"));
  }
  absl::StatusOr<qmp::JsonValue> agreed = out->Call("qmp_capabilities");
  if (!agreed.ok()) return Annotate(agreed.status(), path);
  return out;
}

absl::Status QmpClient::Receive() {
  const uint64_t now = host::MonotonicNs();
  pollfd p{socket_.get(), POLLIN, 0};
  const int ms = now >= deadline_ns_ ? 0 : static_cast<int>((deadline_ns_ - now) / 1'000'000 + 1);
  const int ready = poll(&p, 1, ms);
  if (ready < 0 && errno == EINTR) return absl::OkStatus();
  if (ready == 0) return absl::DeadlineExceededError("no answer; does another client talk to it?");
  char bytes[16384];
  iovec part{bytes, sizeof bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(256 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return absl::OkStatus();
  if (n < 0) return ErrnoError(errno, "recvmsg");
  for (UniqueFd& fd : host::ReceivedFds(message)) {
    if (fds_.size() < kMaxFdsKept) fds_.push_back(std::move(fd));
  }
  if (n == 0) return absl::UnavailableError("the connection was closed");
  splitter_.Feed({bytes, static_cast<size_t>(n)});
  return absl::OkStatus();
}

absl::StatusOr<qmp::JsonValue> QmpClient::Next() {
  for (;;) {
    if (std::optional<absl::StatusOr<std::string>> text = splitter_.Next()) {
      if (!text->ok()) return text->status();
      return qmp::ParseJson(**text);
    }
    RETURN_IF_ERROR(Receive());
  }
}

absl::StatusOr<qmp::JsonValue> QmpClient::Call(absl::string_view command,
                                               absl::string_view arguments) {
  const std::string text =
      absl::StrCat("{\"execute\": \"", command, "\"",
                   arguments.empty() ? "" : absl::StrCat(", \"arguments\": ", arguments), "}\n");
  deadline_ns_ = host::MonotonicNs() + kReplyNs;
  if (send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(text.size())) {
    return absl::UnavailableError("the connection was closed");
  }
  for (;;) {
    ASSIGN_OR_RETURN(qmp::JsonValue reply, Next());
    if (const qmp::JsonValue* value = reply.Find("return")) return *value;
    const qmp::JsonValue* error = reply.Find("error");
    if (error == nullptr) continue;  // an event
    const qmp::JsonValue* text_of = error->Find("desc");
    return absl::FailedPreconditionError(
        text_of != nullptr && text_of->string() != nullptr ? *text_of->string() : "error");
  }
}

}  // namespace atl::stats
