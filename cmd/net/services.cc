// SPDX-License-Identifier: Apache-2.0
#include "cmd/net/services.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <iterator>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/host/file.h"
#include "lib/usernet/address.h"

namespace atl::net_tool {
namespace {

constexpr uint16_t kDnsPort = 53;
constexpr size_t kMaxResolvers = 3;  // as many as the C library asks
constexpr int kBacklog = 32;
constexpr int kAtATime = 32;  // datagrams before somebody else has a turn

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

// A socket at `address` that hears only what comes in through the bridge: others may serve
// other interfaces.
absl::StatusOr<UniqueFd> Listen(const std::string& bridge, int type, uint32_t address,
                                uint16_t port) {
  UniqueFd fd(socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_in at = Ipv4Socket(address, port);
  const int on = 1;
  const bool stream = type == SOCK_STREAM;
  if (!fd.valid() ||
      setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, bridge.c_str(),
                 static_cast<socklen_t>(bridge.size())) != 0 ||
      // Of a connection that was open when this was last started something may be left.
      setsockopt(fd.get(), SOL_SOCKET, stream ? SO_REUSEADDR : SO_BROADCAST, &on, sizeof on) != 0 ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
      (stream && listen(fd.get(), kBacklog) != 0)) {
    return ErrnoError(errno, absl::StrCat(bridge, ": ", stream ? "TCP" : "UDP", " port ", port,
                                          " (--no-dhcp leaves DHCP and DNS to others)"));
  }
  return fd;
}

}  // namespace

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
  std::vector<usernet::Endpoint> resolvers;
  for (const std::string& text : wish.resolvers.empty() ? HostsResolvers() : wish.resolvers) {
    if (const auto address = usernet::IpAddress::Parse(text)) {
      if (resolvers.size() < kMaxResolvers) resolvers.push_back({*address, kDnsPort});
    } else if (!wish.resolvers.empty()) {
      return cli::UsageError(absl::StrCat("option '--resolver': '", text, "' is no IP address"));
    }
  }
  out->dhcp_ = std::make_unique<usernet::DhcpServer>(o);
  out->epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!out->epoll_.valid()) return ErrnoError(errno, "epoll");
  ASSIGN_OR_RETURN(out->dhcp_socket_,
                   Listen(wish.bridge, SOCK_DGRAM, INADDR_ANY, usernet::DhcpServer::kServerPort));
  RETURN_IF_ERROR(Wait(out->epoll_.get(), out->dhcp_socket_.get()));
  ASSIGN_OR_RETURN(UniqueFd questions, Listen(wish.bridge, SOCK_DGRAM, o.gateway, kDnsPort));
  ASSIGN_OR_RETURN(UniqueFd listener, Listen(wish.bridge, SOCK_STREAM, o.gateway, kDnsPort));
  ASSIGN_OR_RETURN(out->dns_, usernet::DnsRelay::Create(std::move(questions), std::move(listener),
                                                        std::move(resolvers)));
  RETURN_IF_ERROR(Wait(out->epoll_.get(), out->dns_->fd()));
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

void BridgeServices::Serve() {
  epoll_event events[2];
  const int n = epoll_wait(epoll_.get(), events, std::size(events), 0);
  for (int i = 0; i < n; ++i) {
    if (events[i].data.fd == dhcp_socket_.get()) {
      ServeDhcp();
    } else {
      dns_->Serve();
    }
  }
}

}  // namespace atl::net_tool
