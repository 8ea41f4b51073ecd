// SPDX-License-Identifier: Apache-2.0
#include "cmd/net/services.h"

#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/host/file.h"

namespace atl::net_tool {
namespace {

constexpr uint16_t kDnsPort = 53;
constexpr size_t kMostQuestions = 128;
constexpr uint64_t kPatienceNs = 5'000'000'000;
constexpr size_t kLongest = 4096;  // what EDNS clients say they take
constexpr int kAtATime = 32;       // datagrams before somebody else has a turn

uint64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

sockaddr_in Ipv4Socket(uint32_t address, uint16_t port) {
  sockaddr_in out = {};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  out.sin_addr.s_addr = htonl(address);
  return out;
}

std::vector<std::string> HostsResolvers() {
  std::vector<std::string> out;
  const absl::StatusOr<std::vector<uint8_t>> bytes = host::ReadFile("/etc/resolv.conf", 1 << 20);
  if (!bytes.ok()) return out;
  const absl::string_view text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.size() >= 2 && words[0] == "nameserver") out.push_back(words[1]);
  }
  return out;
}

absl::Status Wait(int epoll, int fd) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoError(errno, "epoll");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> BridgeServices::Listen(const std::string& bridge, uint32_t address,
                                                uint16_t port) {
  UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_in at = Ipv4Socket(address, port);
  const int on = 1;
  // Only what comes in through the bridge, and others may serve other interfaces.
  if (!fd.valid() ||
      setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, bridge.c_str(),
                 static_cast<socklen_t>(bridge.size())) != 0 ||
      setsockopt(fd.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on) != 0 ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) {
    return ErrnoError(errno, absl::StrCat(bridge, ": UDP port ", port,
                                          " (--no-dhcp leaves DHCP and DNS to others)"));
  }
  RETURN_IF_ERROR(Wait(epoll_.get(), fd.get()));
  return fd;
}

absl::StatusOr<std::unique_ptr<BridgeServices>> BridgeServices::Start(const Wish& wish) {
  std::unique_ptr<BridgeServices> out(new BridgeServices());
  usernet::Options& o = out->options_;
  o.network = wish.address.Network().V4();
  o.prefix = wish.address.length;
  o.gateway = wish.address.V4();
  o.nameserver = o.gateway;
  // The first addresses are for guests that are given theirs by hand.
  o.first_lease = o.network + (o.prefix <= 27 ? 10 : 1);
  if (o.first_lease == o.gateway) ++o.first_lease;
  o.mtu = wish.mtu;
  o.restricted = !wish.router;
  for (const std::string& text : wish.resolvers.empty() ? HostsResolvers() : wish.resolvers) {
    in_addr address;
    if (inet_pton(AF_INET, text.c_str(), &address) == 1) {
      out->resolvers_.push_back(Ipv4Socket(ntohl(address.s_addr), kDnsPort));
    } else if (!wish.resolvers.empty()) {
      return cli::UsageError(absl::StrCat("option '--resolver': '", text, "' is no IPv4 address"));
    }
  }
  out->dhcp_ = std::make_unique<usernet::DhcpServer>(o);
  out->epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!out->epoll_.valid()) return ErrnoError(errno, "epoll");
  ASSIGN_OR_RETURN(out->dhcp_socket_,
                   out->Listen(wish.bridge, INADDR_ANY, usernet::DhcpServer::kServerPort));
  ASSIGN_OR_RETURN(out->dns_socket_, out->Listen(wish.bridge, o.gateway, kDnsPort));
  return out;
}

void BridgeServices::ServeDhcp() {
  uint8_t bytes[1500];
  for (int i = 0; i < kAtATime; ++i) {
    const ssize_t n = recv(dhcp_socket_.get(), bytes, sizeof bytes, 0);
    if (n < 0) return;
    const auto reply = dhcp_->Answer(std::span(bytes).first(static_cast<size_t>(n)));
    if (!reply) continue;
    const sockaddr_in to = Ipv4Socket(reply->to, usernet::DhcpServer::kClientPort);
    (void)sendto(dhcp_socket_.get(), reply->message.data(), reply->message.size(), 0,
                 reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
}

void BridgeServices::PassOn(const uint8_t* bytes, size_t size, const sockaddr_in& from) {
  const uint64_t now = Now();
  while (!questions_.empty() &&
         (questions_.front().until_ns < now || questions_.size() >= kMostQuestions)) {
    // A resolver that does not answer gives way to the next.
    ++resolver_;
    questions_.erase(questions_.begin());
  }
  if (size < 12 || resolvers_.empty()) return;
  Question question;
  question.socket.reset(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_in& to = resolvers_[resolver_ % resolvers_.size()];
  // A port of its own for each, which the kernel chooses, and connected: an answer
  // from elsewhere does not get in.
  if (!question.socket.valid() ||
      connect(question.socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 ||
      send(question.socket.get(), bytes, size, 0) < 0 ||
      !Wait(epoll_.get(), question.socket.get()).ok()) {
    ++resolver_;
    return;
  }
  question.from = from;
  question.id = LoadBe<uint16_t>(bytes);
  question.until_ns = now + kPatienceNs;
  questions_.push_back(std::move(question));
}

void BridgeServices::ServeQuestions() {
  uint8_t bytes[kLongest];
  for (int i = 0; i < kAtATime; ++i) {
    sockaddr_in from = {};
    socklen_t length = sizeof from;
    const ssize_t n = recvfrom(dns_socket_.get(), bytes, sizeof bytes, 0,
                               reinterpret_cast<sockaddr*>(&from), &length);
    if (n < 0) return;
    PassOn(bytes, static_cast<size_t>(n), from);
  }
}

void BridgeServices::ServeAnswer(int socket) {
  const auto question =
      std::find_if(questions_.begin(), questions_.end(),
                   [socket](const Question& q) { return q.socket.get() == socket; });
  if (question == questions_.end()) return;
  uint8_t bytes[kLongest];
  const ssize_t n = recv(socket, bytes, sizeof bytes, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n >= 12) {
    if (LoadBe<uint16_t>(bytes) != question->id) return;
    (void)sendto(dns_socket_.get(), bytes, static_cast<size_t>(n), 0,
                 reinterpret_cast<const sockaddr*>(&question->from), sizeof question->from);
  } else {
    ++resolver_;  // nobody listens there
  }
  questions_.erase(question);
}

void BridgeServices::Serve() {
  epoll_event events[16];
  const int n = epoll_wait(epoll_.get(), events, std::size(events), 0);
  for (int i = 0; i < n; ++i) {
    const int fd = events[i].data.fd;
    if (fd == dhcp_socket_.get()) {
      ServeDhcp();
    } else if (fd == dns_socket_.get()) {
      ServeQuestions();
    } else {
      // One that was given up in this round is not found.
      ServeAnswer(fd);
    }
  }
}

}  // namespace atl::net_tool
