// SPDX-License-Identifier: Apache-2.0
// What rtnetlink(7) tells and takes: interfaces, addresses, routes, neighbours.
// The parsers take the payload of one message and accept any bytes; fields that
// are missing stay as they are initialised here.
#ifndef LIB_NETLINK_RTNETLINK_H_
#define LIB_NETLINK_RTNETLINK_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/netlink/address.h"
#include "lib/netlink/message.h"
#include "lib/netlink/socket.h"

namespace atl::netlink {

struct BridgeInfo {
  uint32_t forward_delay = 0;  // in hundredths of a second
  bool stp = false;
  bool nf_call_iptables = false;
  bool nf_call_ip6tables = false;
  bool nf_call_arptables = false;
};

struct TunInfo {
  bool tap = false;  // else tun: packets without Ethernet headers
  bool packet_info = false;
  bool vnet_hdr = false;
  bool persist = false;
  bool multi_queue = false;
  std::optional<uint32_t> owner;  // uid
  std::optional<uint32_t> group;  // gid
};

struct Link {
  int index = 0;
  std::string name;
  uint16_t hardware = 0;  // ARPHRD_*
  uint32_t flags = 0;     // IFF_*
  uint32_t mtu = 0;
  std::optional<MacAddress> mac;
  int master = 0;  // index of the bridge it is a port of, or 0
  uint32_t group = 0;
  std::string alias;
  std::string kind;  // "bridge", "tun" (taps too), "veth"; physical ones have none
  std::optional<BridgeInfo> bridge;
  std::optional<TunInfo> tun;

  bool up() const;
  bool running() const;  // it has a carrier
  bool is_tap() const { return tun && tun->tap; }
};

struct Address {
  int index = 0;  // of the interface
  IpPrefix prefix;
  uint8_t protocol = 0;  // who added it, IFA_PROTO
};

struct Route {
  IpPrefix destination;  // length 0 is the default route
  uint32_t table = 0;
  uint8_t type = 0;      // RTN_*
  uint8_t protocol = 0;  // RTPROT_*
  uint32_t metric = 0;
  int index = 0;  // of the interface it goes out through, or 0
  std::optional<IpPrefix> gateway;
  // nexthops through other interfaces (RTA_MULTIPATH), the first one's index too.
  std::vector<int> nexthops;
};

struct Neighbour {
  int index = 0;
  uint16_t state = 0;  // NUD_*
  std::optional<IpPrefix> address;
  std::optional<MacAddress> mac;
};

// nullopt where the message is another, or too short for its header.
std::optional<Link> ParseLink(const Message& message);
std::optional<Address> ParseAddress(const Message& message);
std::optional<Route> ParseRoute(const Message& message);
std::optional<Neighbour> ParseNeighbour(const Message& message);

// Everything there is in the namespace of the socket. Routes are those of the
// main table; neighbours those of IPv4 and IPv6.
absl::StatusOr<std::vector<Link>> ListLinks(Socket* socket);
absl::StatusOr<std::vector<Address>> ListAddresses(Socket* socket);
absl::StatusOr<std::vector<Route>> ListRoutes(Socket* socket, uint8_t family);
absl::StatusOr<std::vector<Neighbour>> ListNeighbours(Socket* socket);

// One interface; NotFound where there is none of that name.
absl::StatusOr<Link> FindLink(Socket* socket, absl::string_view name);

// A bridge that nothing has to wait for and no packet filter sees: forwarding
// delay 0, no calls into netfilter. Up from the start. `group` is the mark that
// it bears from its first moment on. An `mtu` of 0 is the least of its ports';
// where setting another fails the bridge is there all the same.
absl::Status NewBridge(Socket* socket, absl::string_view name, const MacAddress& mac, uint32_t mtu,
                       uint32_t group);
absl::Status DeleteLink(Socket* socket, const std::string& name);

// What is given changes, together or not at all as far as the kernel can.
struct LinkChange {
  std::optional<bool> up;
  std::optional<uint32_t> mtu;
  std::optional<MacAddress> mac;
  std::optional<std::string> alias;  // at most 255 bytes
  std::optional<uint32_t> group;
  std::optional<int> master;  // 0 takes it out of its bridge
};
absl::Status ChangeLink(Socket* socket, absl::string_view name, const LinkChange& change);

// The name resolves to an index before each; NotFound where it is gone.
absl::Status AddAddress(Socket* socket, const std::string& name, const IpPrefix& prefix,
                        uint8_t protocol);
absl::Status DeleteAddress(Socket* socket, const std::string& name, const IpPrefix& prefix);

}  // namespace atl::netlink

#endif  // LIB_NETLINK_RTNETLINK_H_
