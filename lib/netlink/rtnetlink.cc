// SPDX-License-Identifier: Apache-2.0
#include "lib/netlink/rtnetlink.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/status_macros.h"

namespace atl::netlink {
namespace {

// Added to the headers in Linux 5.18.
constexpr uint16_t kIfaProto = 11;

// Of a new bridge.
constexpr uint32_t kFirstMtu = 1500;

constexpr uint16_t kDump = NLM_F_REQUEST | NLM_F_DUMP;
constexpr uint16_t kDo = NLM_F_REQUEST | NLM_F_ACK;

bool Bool(const Attributes& attributes, uint16_t type) {
  return attributes.Number<uint8_t>(type).value_or(0) != 0;
}

std::optional<MacAddress> Mac(const Attributes& attributes, uint16_t type) {
  const std::optional<std::span<const uint8_t>> bytes = attributes.Find(type);
  MacAddress mac;
  if (!bytes || bytes->size() != mac.size()) return std::nullopt;
  std::copy(bytes->begin(), bytes->end(), mac.begin());
  return mac;
}

std::optional<IpPrefix> Ip(const Attributes& attributes, uint16_t type, uint8_t family,
                           uint8_t length) {
  if (family != AF_INET && family != AF_INET6) return std::nullopt;
  IpPrefix out{.family = family};
  out.length = std::min<uint8_t>(length, static_cast<uint8_t>(8 * out.size()));
  const std::optional<std::span<const uint8_t>> bytes = attributes.Find(type);
  if (!bytes || bytes->size() != out.size()) return std::nullopt;
  std::copy(bytes->begin(), bytes->end(), out.bytes.begin());
  return out;
}

BridgeInfo ParseBridge(const Attributes& data) {
  return {
      .forward_delay = data.Number<uint32_t>(IFLA_BR_FORWARD_DELAY).value_or(0),
      .stp = data.Number<uint32_t>(IFLA_BR_STP_STATE).value_or(0) != 0,
      .nf_call_iptables = Bool(data, IFLA_BR_NF_CALL_IPTABLES),
      .nf_call_ip6tables = Bool(data, IFLA_BR_NF_CALL_IP6TABLES),
      .nf_call_arptables = Bool(data, IFLA_BR_NF_CALL_ARPTABLES),
  };
}

TunInfo ParseTun(const Attributes& data) {
  constexpr uint8_t kTap = 2;  // IFF_TAP
  return {
      .tap = data.Number<uint8_t>(IFLA_TUN_TYPE).value_or(0) == kTap,
      .packet_info = Bool(data, IFLA_TUN_PI),
      .vnet_hdr = Bool(data, IFLA_TUN_VNET_HDR),
      .persist = Bool(data, IFLA_TUN_PERSIST),
      .multi_queue = Bool(data, IFLA_TUN_MULTI_QUEUE),
      .owner = data.Number<uint32_t>(IFLA_TUN_OWNER),
      .group = data.Number<uint32_t>(IFLA_TUN_GROUP),
  };
}

std::string About(absl::string_view what, absl::string_view name) {
  return absl::StrCat(what, " ", name);
}

// The entries of a dump, those that `parse` takes.
template <typename T>
absl::StatusOr<std::vector<T>> List(Socket* socket, const MessageBuilder& request,
                                    absl::string_view what,
                                    std::optional<T> (*parse)(const Message&)) {
  std::vector<T> out;
  RETURN_IF_ERROR(socket->Dump(
      request, what, [&out] { out.clear(); },
      [&](const Message& message) {
        if (std::optional<T> entry = parse(message)) out.push_back(std::move(*entry));
        return absl::OkStatus();
      }));
  return out;
}

}  // namespace

bool Link::up() const { return (flags & IFF_UP) != 0; }
bool Link::running() const { return (flags & IFF_RUNNING) != 0; }

std::optional<Link> ParseLink(const Message& message) {
  const std::optional<ifinfomsg> head = ReadAt<ifinfomsg>(message.payload, 0);
  if (message.type != RTM_NEWLINK || !head) return std::nullopt;
  const Attributes at = AttributesBehind(message.payload, sizeof(ifinfomsg));
  Link link = {
      .index = head->ifi_index,
      .name = at.Text(IFLA_IFNAME).value_or(""),
      .hardware = head->ifi_type,
      .flags = head->ifi_flags,
      .mtu = at.Number<uint32_t>(IFLA_MTU).value_or(0),
      .mac = Mac(at, IFLA_ADDRESS),
      .master = at.Number<int32_t>(IFLA_MASTER).value_or(0),
      .group = at.Number<uint32_t>(IFLA_GROUP).value_or(0),
      .alias = at.Text(IFLA_IFALIAS).value_or(""),
  };
  if (const std::optional<Attributes> info = at.Nested(IFLA_LINKINFO)) {
    link.kind = info->Text(IFLA_INFO_KIND).value_or("");
    const std::optional<Attributes> data = info->Nested(IFLA_INFO_DATA);
    if (data && link.kind == "bridge") link.bridge = ParseBridge(*data);
    if (data && link.kind == "tun") link.tun = ParseTun(*data);
  }
  return link;
}

std::optional<Address> ParseAddress(const Message& message) {
  const std::optional<ifaddrmsg> head = ReadAt<ifaddrmsg>(message.payload, 0);
  if (message.type != RTM_NEWADDR || !head) return std::nullopt;
  const Attributes at = AttributesBehind(message.payload, sizeof(ifaddrmsg));
  // IFA_LOCAL is this host's own; on links without a peer IPv6 has only IFA_ADDRESS.
  std::optional<IpPrefix> prefix = Ip(at, IFA_LOCAL, head->ifa_family, head->ifa_prefixlen);
  if (!prefix) prefix = Ip(at, IFA_ADDRESS, head->ifa_family, head->ifa_prefixlen);
  if (!prefix) return std::nullopt;
  return Address{.index = static_cast<int>(head->ifa_index),
                 .prefix = *prefix,
                 .protocol = at.Number<uint8_t>(kIfaProto).value_or(0)};
}

std::optional<Route> ParseRoute(const Message& message) {
  const std::optional<rtmsg> head = ReadAt<rtmsg>(message.payload, 0);
  if (message.type != RTM_NEWROUTE || !head ||
      (head->rtm_family != AF_INET && head->rtm_family != AF_INET6)) {
    return std::nullopt;
  }
  const Attributes at = AttributesBehind(message.payload, sizeof(rtmsg));
  Route route = {
      .destination = {.family = head->rtm_family},
      .table = at.Number<uint32_t>(RTA_TABLE).value_or(head->rtm_table),
      .type = head->rtm_type,
      .protocol = head->rtm_protocol,
      .metric = at.Number<uint32_t>(RTA_PRIORITY).value_or(0),
      .index = at.Number<int32_t>(RTA_OIF).value_or(0),
      .gateway = Ip(at, RTA_GATEWAY, head->rtm_family, 128),
  };
  if (std::optional<IpPrefix> to = Ip(at, RTA_DST, head->rtm_family, head->rtm_dst_len)) {
    route.destination = *to;
  }
  if (const std::optional<std::span<const uint8_t>> hops = at.Find(RTA_MULTIPATH)) {
    size_t offset = 0;
    while (const std::optional<rtnexthop> hop = ReadAt<rtnexthop>(*hops, offset)) {
      if (hop->rtnh_len < sizeof(rtnexthop) || hop->rtnh_len > hops->size() - offset) break;
      route.nexthops.push_back(hop->rtnh_ifindex);
      if (route.index == 0) route.index = hop->rtnh_ifindex;
      offset += RTNH_ALIGN(hop->rtnh_len);
    }
  }
  return route;
}

std::optional<Neighbour> ParseNeighbour(const Message& message) {
  const std::optional<ndmsg> head = ReadAt<ndmsg>(message.payload, 0);
  if (message.type != RTM_NEWNEIGH || !head) return std::nullopt;
  const Attributes at = AttributesBehind(message.payload, sizeof(ndmsg));
  return Neighbour{.index = head->ndm_ifindex,
                   .state = head->ndm_state,
                   .address = Ip(at, NDA_DST, head->ndm_family, 128),
                   .mac = Mac(at, NDA_LLADDR)};
}

absl::StatusOr<std::vector<Link>> ListLinks(Socket* socket) {
  MessageBuilder request(RTM_GETLINK, kDump);
  request.Header(ifinfomsg{});
  return List<Link>(socket, request, "the list of interfaces", ParseLink);
}

absl::StatusOr<std::vector<Address>> ListAddresses(Socket* socket) {
  MessageBuilder request(RTM_GETADDR, kDump);
  request.Header(ifaddrmsg{});
  return List<Address>(socket, request, "the list of addresses", ParseAddress);
}

absl::StatusOr<std::vector<Route>> ListRoutes(Socket* socket, uint8_t family) {
  MessageBuilder request(RTM_GETROUTE, kDump);
  request.Header(rtmsg{.rtm_family = family});
  ASSIGN_OR_RETURN(std::vector<Route> routes,
                   List<Route>(socket, request, "the list of routes", ParseRoute));
  std::erase_if(routes, [](const Route& r) { return r.table != RT_TABLE_MAIN; });
  return routes;
}

absl::StatusOr<std::vector<Neighbour>> ListNeighbours(Socket* socket) {
  MessageBuilder request(RTM_GETNEIGH, kDump);
  request.Header(ndmsg{});
  return List<Neighbour>(socket, request, "the list of neighbours", ParseNeighbour);
}

absl::StatusOr<Link> FindLink(Socket* socket, absl::string_view name) {
  MessageBuilder request(RTM_GETLINK, kDo);
  request.Header(ifinfomsg{}).Text(IFLA_IFNAME, name);
  std::optional<Link> link;
  const absl::Status status = socket->Request(
      request, name, [&link](const Message& message) { link = ParseLink(message); });
  if (status.ok() && link) return *std::move(link);
  return absl::NotFoundError(absl::StrCat(name, ": there is no such interface"));
}

absl::Status NewBridge(Socket* socket, absl::string_view name, const MacAddress& mac, uint32_t mtu,
                       uint32_t group) {
  MessageBuilder request(RTM_NEWLINK, kDo | NLM_F_CREATE | NLM_F_EXCL);
  request.Header(ifinfomsg{.ifi_flags = IFF_UP, .ifi_change = IFF_UP});
  request.Text(IFLA_IFNAME, name).Bytes(IFLA_ADDRESS, mac).Number<uint32_t>(IFLA_GROUP, group);
  request.BeginNested(IFLA_LINKINFO).Text(IFLA_INFO_KIND, "bridge");
  request.BeginNested(IFLA_INFO_DATA)
      .Number<uint32_t>(IFLA_BR_FORWARD_DELAY, 0)
      .Number<uint8_t>(IFLA_BR_NF_CALL_IPTABLES, 0)
      .Number<uint8_t>(IFLA_BR_NF_CALL_IP6TABLES, 0)
      .Number<uint8_t>(IFLA_BR_NF_CALL_ARPTABLES, 0)
      .EndNested()
      .EndNested();
  RETURN_IF_ERROR(socket->Request(request, About("making bridge", name)));
  if (mtu == 0) return absl::OkStatus();
  // A bridge follows the least MTU of its ports until one is set that it does not
  // have: given with its making it is forgotten, and so is the one that it has.
  RETURN_IF_ERROR(ChangeLink(socket, name, {.mtu = mtu == kFirstMtu ? mtu - 1 : mtu}));
  return mtu == kFirstMtu ? ChangeLink(socket, name, {.mtu = mtu}) : absl::OkStatus();
}

absl::Status DeleteLink(Socket* socket, const std::string& name) {
  MessageBuilder request(RTM_DELLINK, kDo);
  request.Header(ifinfomsg{}).Text(IFLA_IFNAME, name);
  return socket->Request(request, About("deleting", name));
}

absl::Status ChangeLink(Socket* socket, absl::string_view name, const LinkChange& change) {
  MessageBuilder request(RTM_NEWLINK, kDo);
  ifinfomsg head = {};
  if (change.up) {
    head.ifi_flags = *change.up ? IFF_UP : 0;
    head.ifi_change = IFF_UP;
  }
  request.Header(head).Text(IFLA_IFNAME, name);
  if (change.mtu) request.Number<uint32_t>(IFLA_MTU, *change.mtu);
  if (change.mac) request.Bytes(IFLA_ADDRESS, *change.mac);
  if (change.alias) {
    // Without the NUL: an empty one clears the alias.
    request.Bytes(IFLA_IFALIAS, std::span(reinterpret_cast<const uint8_t*>(change.alias->data()),
                                          change.alias->size()));
  }
  if (change.group) request.Number<uint32_t>(IFLA_GROUP, *change.group);
  if (change.master) request.Number<int32_t>(IFLA_MASTER, *change.master);
  return socket->Request(request, About("changing", name));
}

namespace {

absl::Status ChangeAddress(Socket* socket, uint16_t type, uint16_t flags, const std::string& name,
                           const IpPrefix& prefix, uint8_t protocol) {
  ASSIGN_OR_RETURN(const Link link, FindLink(socket, name));
  MessageBuilder request(type, static_cast<uint16_t>(kDo | flags));
  request.Header(ifaddrmsg{.ifa_family = prefix.family,
                           .ifa_prefixlen = prefix.length,
                           .ifa_index = static_cast<uint32_t>(link.index)});
  request.Bytes(IFA_LOCAL, prefix.address()).Bytes(IFA_ADDRESS, prefix.address());
  if (prefix.family == AF_INET && prefix.length < 31) {
    request.Number<uint32_t>(IFA_BROADCAST,
                             __builtin_bswap32(prefix.V4() | (0xffffffffu >> prefix.length)));
  }
  if (protocol != 0) request.Number<uint8_t>(kIfaProto, protocol);
  return socket->Request(request, absl::StrCat("address ", prefix.Text(), " of ", name));
}

}  // namespace

absl::Status AddAddress(Socket* socket, const std::string& name, const IpPrefix& prefix,
                        uint8_t protocol) {
  return ChangeAddress(socket, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, name, prefix, protocol);
}

absl::Status DeleteAddress(Socket* socket, const std::string& name, const IpPrefix& prefix) {
  return ChangeAddress(socket, RTM_DELADDR, 0, name, prefix, 0);
}

}  // namespace atl::netlink
