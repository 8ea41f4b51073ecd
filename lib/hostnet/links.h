// SPDX-License-Identifier: Apache-2.0
// Bridges and persistent taps as they are wanted: the steps from what is there
// to that. What bears no tag of ours (tag.h) is used as it is or refused, never
// changed.
#ifndef LIB_HOSTNET_LINKS_H_
#define LIB_HOSTNET_LINKS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/hostnet/host_state.h"
#include "lib/hostnet/nft.h"
#include "lib/hostnet/steps.h"
#include "lib/hostnet/tag.h"
#include "lib/netlink/address.h"
#include "lib/netlink/socket.h"

namespace atl::hostnet {

// What plans are made from. The socket must outlive the plans.
struct Host {
  netlink::Socket* socket = nullptr;
  HostState state;
  // What nft shows, where the plan needs it.
  Ruleset rules;
};

struct BridgeWish {
  std::string name;
  std::optional<uint32_t> mtu;
  std::optional<netlink::MacAddress> mac;    // else BridgeMac() of host and name
  std::optional<netlink::IpPrefix> address;  // of the host, with the subnet's length
  bool any_address = false;                  // a free subnet, or the one that it has
  bool nat = false;                          // needs an address
  bool serves = false;                       // DHCP and DNS, as Nat::serves
  // Not kept: the bridge belongs to this process and the table to `owner`, which
  // must outlive the plan.
  bool foreground = false;
  NftOwner* owner = nullptr;
};
struct BridgePlan {
  Plan plan;
  std::optional<netlink::IpPrefix> address;
};
absl::StatusOr<BridgePlan> PlanBridgeUp(const Host& host, const BridgeWish& wish);
// With its translation. `force`: whoever made it.
absl::StatusOr<Plan> PlanBridgeDown(const Host& host, const std::string& name, bool force);

struct TapWish {
  std::string name;
  std::string bridge;  // or empty
  std::optional<uint32_t> mtu;
  std::optional<netlink::MacAddress> mac;  // of the host's end; else TapMac() of host and name
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  bool multi_queue = false;
  bool vnet_hdr = false;
};
absl::StatusOr<Plan> PlanTapUp(const Host& host, const TapWish& wish);
absl::StatusOr<Plan> PlanTapDown(const Host& host, const std::string& name, bool force);

// What `net ifup` does where there is no script: an interface up, in a bridge or
// with an address where they are given. Whose it is does not matter: it is named.
absl::StatusOr<Plan> PlanIfUp(const Host& host, const std::string& name, const std::string& bridge,
                              const std::optional<netlink::IpPrefix>& address);
// Down, out of its bridge, without the addresses that PlanIfUp() gave.
absl::StatusOr<Plan> PlanIfDown(const Host& host, const std::string& name);

struct NatWish {
  std::string link;
  std::optional<netlink::IpPrefix> address;  // else the one it has, else a free one
  bool foreground = false;
  NftOwner* owner = nullptr;
};
absl::StatusOr<BridgePlan> PlanNatUp(const Host& host, const NatWish& wish);
absl::StatusOr<Plan> PlanNatDown(const Host& host, const std::string& link);

// What nobody owns any more: tagged, its process dead. With `of` only what that
// process has left.
Plan PlanGc(const Host& host, const std::optional<Process>& of = std::nullopt);

// What this process itself made in the foreground, when it is done: as PlanGc(),
// but of one that lives.
Plan PlanRelease(const Host& host, const Process& self);

// The bridge of that name that a tap may be a port of.
absl::StatusOr<const netlink::Link*> FindBridge(const HostState& state, absl::string_view name);

}  // namespace atl::hostnet

#endif  // LIB_HOSTNET_LINKS_H_
