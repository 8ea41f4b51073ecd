// SPDX-License-Identifier: Apache-2.0
#include "cmd/stat/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"
#include "lib/cli/option.h"

namespace atl::stat {
namespace {

constexpr uint64_t kLimitNs = 5'000'000'000;  // for a client to ask and to take

std::string Reply(absl::string_view status, absl::string_view type, absl::string_view body) {
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type,
                      "\r\nContent-Length: ", body.size(), "\r\nConnection: close\r\n\r\n", body);
}

}  // namespace

std::optional<std::string> HttpReply(absl::string_view request,
                                     const std::function<std::string()>& text) {
  if (request.size() > Listener::kMaxRequest) {
    return Reply("431 Request Header Fields Too Large", "text/plain", "");
  }
  if (!absl::StrContains(request, "\r\n\r\n") && !absl::StrContains(request, "\n\n")) {
    return std::nullopt;
  }
  const bool head = absl::StartsWith(request, "HEAD ");
  if (!head && !absl::StartsWith(request, "GET ")) {
    return Reply("405 Method Not Allowed", "text/plain", "GET is what there is\n");
  }
  std::string reply =
      Reply("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", text());
  if (head) reply.resize(reply.find("\r\n\r\n") + 4);
  return reply;
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Create(host::EventLoop& loop,
                                                           absl::string_view address,
                                                           std::function<std::string()> text) {
  std::unique_ptr<Listener> out(new Listener(loop, std::move(text)));
  if (absl::ConsumePrefix(&address, "unix:")) {
    ASSIGN_OR_RETURN(host::UnixListener unix, host::UnixListener::Create(std::string(address)));
    out->unix_.emplace(std::move(unix));
  } else {
    const size_t colon = address.rfind(':');
    unsigned port = 0;
    if (colon == absl::string_view::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
        port == 0 || port > 65535) {
      return cli::UsageError(absl::StrCat("option '--listen': '", address,
                                          "' is neither unix:PATH nor 127.0.0.1:PORT"));
    }
    std::string host(address.substr(0, colon));
    if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
    ASSIGN_OR_RETURN(out->tcp_, host::ListenLoopback(host, static_cast<uint16_t>(port)));
  }
  fcntl(out->fd(), F_SETFL, fcntl(out->fd(), F_GETFL) | O_NONBLOCK);
  Listener* const self = out.get();
  ASSIGN_OR_RETURN(out->watch_,
                   loop.Watch(out->fd(), EPOLLIN, [self](uint32_t) { self->Accept(); }));
  return out;
}

Listener::~Listener() {
  clients_.clear();
  watch_.reset();
}

void Listener::Accept() {
  absl::StatusOr<UniqueFd> accepted = host::Accept(fd());
  if (!accepted.ok() || clients_.size() >= kMaxClients) return;
  const auto at = clients_.emplace(clients_.end());
  at->fd = *std::move(accepted);
  absl::StatusOr<std::unique_ptr<host::FdWatch>> watch =
      loop_.Watch(at->fd.get(), EPOLLIN, [this, at](uint32_t events) { Ready(at, events); });
  if (!watch.ok()) {
    clients_.erase(at);
    return;
  }
  at->watch = *std::move(watch);
  at->limit = loop_.NewTimer([this, at] { clients_.erase(at); });
  at->limit->Arm(host::MonotonicNs() + kLimitNs);
}

void Listener::Ready(std::list<Client>::iterator client, uint32_t events) {
  if ((events & EPOLLIN) != 0 && client->reply.empty()) {
    char bytes[2048];
    const ssize_t n = recv(client->fd.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      clients_.erase(client);
      return;
    }
    client->request.append(bytes, static_cast<size_t>(n));
    std::optional<std::string> reply = HttpReply(client->request, text_);
    if (!reply) return;
    client->reply = *std::move(reply);
  }
  while (!client->reply.empty()) {
    const ssize_t n = send(client->fd.get(), client->reply.data(), client->reply.size(),
                           MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return client->watch->SetEvents(EPOLLOUT);
    if (n <= 0) break;
    client->reply.erase(0, static_cast<size_t>(n));
  }
  if (client->request.empty()) return;
  clients_.erase(client);
}

}  // namespace atl::stat
