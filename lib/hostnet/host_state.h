// SPDX-License-Identifier: Apache-2.0
// What the host's network is at a moment: the answers of rtnetlink together, and
// the switches below /proc/sys.
#ifndef LIB_HOSTNET_HOST_STATE_H_
#define LIB_HOSTNET_HOST_STATE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/hostnet/tag.h"
#include "lib/netlink/rtnetlink.h"
#include "lib/netlink/socket.h"

namespace atl::hostnet {

struct HostState {
  std::vector<netlink::Link> links;
  std::vector<netlink::Address> addresses;
  std::vector<netlink::Route> routes;  // IPv4, main table

  const netlink::Link* Find(absl::string_view name) const;
  const netlink::Link* Find(int index) const;
  // "br0", or "#7" where it is gone.
  std::string NameOf(int index) const;
  // The first IPv4 address of an interface that is no link-local one.
  std::optional<netlink::IpPrefix> AddressOf(const netlink::Link& link) const;
  std::vector<const netlink::Link*> PortsOf(const netlink::Link& bridge) const;
};

absl::StatusOr<HostState> ReadHostState(netlink::Socket* socket);

// A switch such as "net.ipv4.ip_forward"; a '/' stands for a dot within a part
// ("net.ipv4.conf.eth0/7.forwarding"). nullopt where there is none.
std::optional<int> ReadSwitch(absl::string_view name);
absl::Status WriteSwitch(absl::string_view name, int value);
// The name of an interface's own switch.
std::string InterfaceSwitch(absl::string_view family, absl::string_view link,
                            absl::string_view name);

// A network that nothing on this host has an address in or a route to, as the
// address of the host in it: 10.X.Y.1/24. The same choice for the same state;
// NotFound where all are taken.
absl::StatusOr<netlink::IpPrefix> FreeSubnet(const HostState& state);

// One change at a time in this network namespace, among those who keep to it.
// Waits a few seconds for another's; then goes ahead without, since every change
// is checked by the kernel anyway.
class ChangeLock {
 public:
  static ChangeLock Take();

 private:
  UniqueFd fd_;
};

}  // namespace atl::hostnet

#endif  // LIB_HOSTNET_HOST_STATE_H_
