// SPDX-License-Identifier: Apache-2.0
// What guests on a bridge ask its host for, while `net bridge up --foreground`
// runs: addresses by DHCP, names by DNS. Questions about names are passed on to
// the host's resolvers, and their answers back, unread but for the number that
// tells whose an answer is. Leases are in memory: who comes again after a restart
// asks for the address it had.
#ifndef CMD_NET_SERVICES_H_
#define CMD_NET_SERVICES_H_

#include <netinet/in.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/netlink/address.h"
#include "lib/usernet/dhcp.h"
#include "lib/usernet/options.h"

namespace atl::net_tool {

class BridgeServices {
 public:
  struct Wish {
    std::string bridge;
    netlink::IpPrefix address;  // of the host on it, IPv4
    uint32_t mtu = 1500;
    bool router = true;                  // guests get out through this host
    std::vector<std::string> resolvers;  // IPv4; empty: those of /etc/resolv.conf
  };
  // The bridge must be there and have the address. Errors name the port.
  static absl::StatusOr<std::unique_ptr<BridgeServices>> Start(const Wish& wish);

  // Readable when Serve() has something to do.
  int fd() const { return epoll_.get(); }
  // Answers what has come, a bounded number at a time; never blocks.
  void Serve();

 private:
  // A question on its way: few, and each a short time, whatever guests send.
  struct Question {
    UniqueFd socket;  // connected to a resolver
    sockaddr_in from = {};
    uint16_t id = 0;
    uint64_t until_ns = 0;
  };

  BridgeServices() = default;
  absl::StatusOr<UniqueFd> Listen(const std::string& bridge, uint32_t address, uint16_t port);
  void ServeDhcp();
  void ServeQuestions();
  void ServeAnswer(int socket);
  void PassOn(const uint8_t* bytes, size_t size, const sockaddr_in& from);

  usernet::Options options_;
  std::unique_ptr<usernet::DhcpServer> dhcp_;
  std::vector<sockaddr_in> resolvers_;
  size_t resolver_ = 0;              // the next question goes to this one
  std::vector<Question> questions_;  // the oldest first
  UniqueFd epoll_;
  UniqueFd dhcp_socket_;
  UniqueFd dns_socket_;
};

}  // namespace atl::net_tool

#endif  // CMD_NET_SERVICES_H_
