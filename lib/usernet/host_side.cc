// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/host_side.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"
#include "lib/host/event_loop.h"
#include "lib/host/file.h"

namespace atl::usernet {
namespace {

constexpr uint16_t kDnsPort = 53;
constexpr size_t kMaxResolvConf = 64 * 1024;
constexpr size_t kMaxResolvers = 3;  // as many as the C library asks
constexpr uint64_t kReadAgainNs = 10'000'000'000;
constexpr int kBacklog = 128;

void Set(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

absl::StatusOr<UniqueFd> NewSocket(const IpAddress& address, int type, int protocol) {
  const int family = address.is4() ? AF_INET : AF_INET6;
  UniqueFd fd(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!fd.valid()) return ErrnoError(errno, "socket");
  if (family == AF_INET6) Set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  return fd;
}

}  // namespace

SocketAddress::SocketAddress(const Endpoint& endpoint) {
  if (endpoint.address.is4()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(endpoint.port);
    in.sin_addr.s_addr = htonl(endpoint.address.v4());
    memcpy(&storage, &in, sizeof in);
    size = sizeof in;
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(endpoint.port);
    memcpy(&in.sin6_addr, endpoint.address.bytes.data(), sizeof in.sin6_addr);
    memcpy(&storage, &in, sizeof in);
    size = sizeof in;
  }
}

Endpoint SocketAddress::endpoint() const {
  Endpoint out;
  if (storage.ss_family == AF_INET) {
    sockaddr_in in;
    memcpy(&in, &storage, sizeof in);
    out.address = IpAddress::V4(ntohl(in.sin_addr.s_addr));
    out.port = ntohs(in.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    sockaddr_in6 in;
    memcpy(&in, &storage, sizeof in);
    memcpy(out.address.bytes.data(), &in.sin6_addr, sizeof in.sin6_addr);
    out.port = ntohs(in.sin6_port);
  }
  return out;
}

HostSide::HostSide(const Options& options) : options_(options) {
  gateway6_ = nameserver6_ = options.prefix6;
  gateway6_.bytes[15] = 2;
  nameserver6_.bytes[15] = 3;
  resolvers_ = options.resolvers;
}

void HostSide::ReadResolvers() {
  if (!options_.resolvers.empty()) return;
  const uint64_t now = host::MonotonicNs();
  if (read_at_ != 0 && now - read_at_ < kReadAgainNs) return;
  read_at_ = now;
  absl::StatusOr<std::vector<uint8_t>> file = host::ReadFile("/etc/resolv.conf", kMaxResolvConf);
  if (!file.ok()) return;
  std::vector<IpAddress> found;
  const absl::string_view text(reinterpret_cast<const char*>(file->data()), file->size());
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.size() < 2 || words[0] != "nameserver") continue;
    // A link-local resolver names its interface behind a %, which sockets need as a number.
    if (const std::optional<IpAddress> address = IpAddress::Parse(words[1])) {
      if (found.size() < kMaxResolvers) found.push_back(*address);
    }
  }
  if (!found.empty()) resolvers_ = std::move(found);
}

bool HostSide::IsNameserver(const Endpoint& to) const {
  return to.port == kDnsPort &&
         (to.address == IpAddress::V4(options_.nameserver) || to.address == nameserver6_);
}

std::optional<Endpoint> HostSide::Out(const Endpoint& to, unsigned attempt) const {
  if (options_.restricted || to.port == 0) return std::nullopt;
  if (IsNameserver(to)) {
    // Where none is named, one on this host is asked, as the C library would.
    if (resolvers_.empty()) return Endpoint{IpAddress::V4(0x7F000001), kDnsPort};
    return Endpoint{resolvers_[attempt % resolvers_.size()], kDnsPort};
  }
  const IpAddress& a = to.address;
  if (a == IpAddress::V4(options_.gateway) || a == gateway6_) {
    if (!options_.loopback) return std::nullopt;
    IpAddress self = IpAddress::V4(0x7F000001);
    if (!a.is4()) {
      self = IpAddress{};
      self.bytes[15] = 1;
    }
    return Endpoint{self, to.port};
  }
  // What has a meaning on the host that it has not on the guest's network.
  if (a.loopback() || a.unspecified() || a.multicast()) return std::nullopt;
  if (a.is4()) {
    const uint32_t v4 = a.v4();
    if (v4 >> 24 == 0 || v4 >> 28 == 0xF) return std::nullopt;
    if (v4 >> (32 - options_.prefix) == options_.network >> (32 - options_.prefix)) {
      return std::nullopt;
    }
    return to;
  }
  if (a.link_local6() ||
      std::equal(a.bytes.begin(), a.bytes.begin() + 8, options_.prefix6.bytes.begin())) {
    return std::nullopt;
  }
  return to;
}

Endpoint HostSide::In(const Endpoint& peer) const {
  const bool inside =
      peer.address.is4() ? peer.address.v4() >> (32 - options_.prefix) ==
                               options_.network >> (32 - options_.prefix)
                         : peer.address.link_local6() || std::equal(peer.address.bytes.begin(),
                                                                    peer.address.bytes.begin() + 8,
                                                                    options_.prefix6.bytes.begin());
  if (!peer.address.loopback() && !inside) return peer;
  return {peer.address.is4() ? IpAddress::V4(options_.gateway) : gateway6_, peer.port};
}

absl::StatusOr<UniqueFd> HostSide::ConnectTcp(const Endpoint& to) {
  ASSIGN_OR_RETURN(UniqueFd fd, NewSocket(to.address, SOCK_STREAM, 0));
  // The guest's own segments decide what is sent together.
  Set(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  Set(fd.get(), SOL_SOCKET, SO_OOBINLINE, 1);
  Set(fd.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
  const SocketAddress address(to);
  if (connect(fd.get(), address.get(), address.size) != 0 && errno != EINPROGRESS) {
    return ErrnoError(errno, to.ToString());
  }
  return fd;
}

absl::StatusOr<UniqueFd> HostSide::ListenTcp(const Endpoint& at) {
  ASSIGN_OR_RETURN(UniqueFd fd, NewSocket(at.address, SOCK_STREAM, 0));
  Set(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  const SocketAddress address(at);
  if (bind(fd.get(), address.get(), address.size) != 0 || listen(fd.get(), kBacklog) != 0) {
    return ErrnoError(errno, at.ToString());
  }
  return fd;
}

absl::StatusOr<UniqueFd> HostSide::Datagram(const Endpoint& at) {
  ASSIGN_OR_RETURN(UniqueFd fd, NewSocket(at.address, SOCK_DGRAM, 0));
  if (at.address.is4()) {
    Set(fd.get(), IPPROTO_IP, IP_RECVERR, 1);
  } else {
    Set(fd.get(), IPPROTO_IPV6, IPV6_RECVERR, 1);
  }
  const SocketAddress address(at);
  if ((at.port != 0 || !at.address.unspecified()) &&
      bind(fd.get(), address.get(), address.size) != 0) {
    return ErrnoError(errno, at.ToString());
  }
  return fd;
}

absl::StatusOr<UniqueFd> HostSide::Ping(bool ipv6) {
  return NewSocket(ipv6 ? IpAddress{} : IpAddress::V4(0), SOCK_DGRAM,
                   ipv6 ? static_cast<int>(IPPROTO_ICMPV6) : static_cast<int>(IPPROTO_ICMP));
}

}  // namespace atl::usernet
