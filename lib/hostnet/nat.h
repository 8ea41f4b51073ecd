// SPDX-License-Identifier: Apache-2.0
// Translation of the guests behind an interface to the host's addresses: a table
// of nftables of its own, and rules that let their packets pass where another's
// table would drop them (Docker, ufw, firewalld).
//
//   table ip atoll-br0 {
//     chain postrouting: from the subnet, not back to it: masquerade
//     chain forward:     new connections to guests from outside: dropped, unless
//                        somebody's port forward (dnat) leads there
//   }
//   ip filter FORWARD (iptables) that drops by policy: br0 accepted, both ways;
//   in DOCKER-USER where Docker is, which Docker leaves alone
//   firewalld: the interface is put into the zone "trusted"
//
// Where the host serves there, and iptables' chain INPUT drops by policy, DHCP and
// DNS are accepted in it. Each rule has a comment with a tag (tag.h) by which it is found again. A
// hand-made table that drops is left alone: check.h finds it.
#ifndef LIB_HOSTNET_NAT_H_
#define LIB_HOSTNET_NAT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/hostnet/nft.h"
#include "lib/hostnet/steps.h"
#include "lib/hostnet/tag.h"
#include "lib/netlink/address.h"

namespace atl::hostnet {

struct Nat {
  std::string link;          // name of the interface; CheckName() takes it
  netlink::IpPrefix subnet;  // of the guests; the host's bits do not matter
  Tag tag;                   // kept, or of the process that holds it; kind "nat"
  bool serves = false;       // this host answers DHCP and DNS there
};

// "atoll-br0"
std::string NatTable(absl::string_view link);

// The steps to `nat`; none where it is there. With `owner` the table is made by
// it, and goes with it; it must outlive the plan.
Plan PlanNat(const Nat& nat, const Ruleset& rules, NftOwner* owner);

// The commands that take away what there is of translation for `link`: its table,
// the accepting rules. Empty where there is nothing.
std::vector<std::string> NatRemoval(absl::string_view link, const Ruleset& rules);
// The step that makes it so, firewalld's zone with it.
Plan PlanNatRemoval(const std::string& link, const Ruleset& rules);

// The tables and rules of translation that are there, by interface, each once.
struct FoundNat {
  std::string link;
  std::optional<netlink::IpPrefix> subnet;  // from the table, which may be missing
  std::optional<Tag> tag;                   // from its rules
  bool table = false;
  bool owned = false;
};
std::vector<FoundNat> FindNats(const Ruleset& rules);

// firewalld runs, by its table.
bool FirewalldRuns(const Ruleset& rules);
// The zone's chain that firewalld sends packets from `link` to, such as
// "filter_FWD_trusted" or "filter_FORWARD_public"; empty where it names none.
std::string FirewalldChain(const Ruleset& rules, absl::string_view link);

// Base chains at the hook "forward" that drop by policy or with their last rule,
// as where accepting rules go: the chain itself, or Docker's DOCKER-USER. With
// `iptables_only` only FORWARD of iptables' table "filter".
struct AcceptPlace {
  std::string family;
  std::string table;
  std::string chain;
};
std::vector<AcceptPlace> DroppingChains(const Ruleset& rules, bool iptables_only);
// Whether packets that come in (or go out) through `link` are accepted there by
// a rule without other conditions.
bool Accepts(const Ruleset& rules, const AcceptPlace& place, absl::string_view link, bool in);
// "insert rule ip filter FORWARD iifname "br0" counter accept", and the comment.
std::string AcceptCommand(const AcceptPlace& place, absl::string_view link, bool in,
                          absl::string_view comment);

}  // namespace atl::hostnet

#endif  // LIB_HOSTNET_NAT_H_
