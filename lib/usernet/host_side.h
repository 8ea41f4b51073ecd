// SPDX-License-Identifier: Apache-2.0
// The host's side: which of its addresses a guest's packet leads to, under what
// address a guest sees a peer, and the sockets. One thread, the loop's.
#ifndef LIB_USERNET_HOST_SIDE_H_
#define LIB_USERNET_HOST_SIDE_H_

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/usernet/address.h"
#include "lib/usernet/options.h"

namespace atl::usernet {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);

  SocketAddress() = default;
  explicit SocketAddress(const Endpoint& endpoint);
  Endpoint endpoint() const;  // unspecified where it is of another family
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

class HostSide {
 public:
  // `options` Completed(); lives longer.
  explicit HostSide(const Options& options);
  virtual ~HostSide() = default;

  // Where what a guest sends to `to` goes; nothing where it may not. Name queries go
  // to the resolver of number `attempt`.
  std::optional<Endpoint> Out(const Endpoint& to, unsigned attempt = 0) const;
  // Where a guest sees `peer`: an address of the host's loopback is the gateway's.
  Endpoint In(const Endpoint& peer) const;
  bool IsNameserver(const Endpoint& to) const;
  // /etc/resolv.conf, where no resolvers were given; looks again after a while.
  void ReadResolvers();

  // All nonblocking. A connection that is not there yet is no error.
  virtual absl::StatusOr<UniqueFd> ConnectTcp(const Endpoint& to);
  virtual absl::StatusOr<UniqueFd> ListenTcp(const Endpoint& at);
  // Of the family of `at`, bound to it unless it is unspecified and its port 0.
  virtual absl::StatusOr<UniqueFd> Datagram(const Endpoint& at);
  // ICMP echo; PermissionDenied where the host's ping_group_range has not this user.
  virtual absl::StatusOr<UniqueFd> Ping(bool ipv6);

 private:
  const Options& options_;
  IpAddress gateway6_, nameserver6_;
  std::vector<IpAddress> resolvers_;
  uint64_t read_at_ = 0;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_HOST_SIDE_H_
