// SPDX-License-Identifier: Apache-2.0
// What guests on a bridge ask its host for, while `net bridge up --foreground`
// runs: addresses by DHCP, names by DNS, which the host's resolvers answer
// (lib/usernet/dns_relay.h). Leases are in memory: who comes again after a restart asks
// for the address it had.
#ifndef CMD_NET_SERVICES_H_
#define CMD_NET_SERVICES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/netlink/address.h"
#include "lib/usernet/dhcp.h"
#include "lib/usernet/dns_relay.h"
#include "lib/usernet/options.h"

namespace atl::net_tool {

class BridgeServices {
 public:
  struct Wish {
    std::string bridge;
    netlink::IpPrefix address;  // of the host on it, IPv4
    uint32_t mtu = 1500;
    bool router = true;                  // guests get out through this host
    std::vector<std::string> resolvers;  // empty: those of /etc/resolv.conf
  };
  // The bridge must be there and have the address. Errors name the port.
  static absl::StatusOr<std::unique_ptr<BridgeServices>> Start(const Wish& wish);

  // Readable when Serve() has something to do.
  int fd() const { return epoll_.get(); }
  // Answers what has come, a bounded number at a time; never blocks.
  void Serve();

 private:
  BridgeServices() = default;
  void ServeDhcp();

  usernet::Options options_;
  std::unique_ptr<usernet::DhcpServer> dhcp_;
  std::unique_ptr<usernet::DnsRelay> dns_;
  UniqueFd epoll_;
  UniqueFd dhcp_socket_;
};

}  // namespace atl::net_tool

#endif  // CMD_NET_SERVICES_H_
