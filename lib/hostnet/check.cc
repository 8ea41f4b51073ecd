// SPDX-License-Identifier: Apache-2.0
#include "lib/hostnet/check.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/hostnet/names.h"
#include "lib/hostnet/nat.h"
#include "lib/hostnet/tag.h"

namespace atl::hostnet {
namespace {

using netlink::IpPrefix;
using netlink::Link;
using netlink::Route;

// What a check gets: the host, and one interface that guests are behind.
struct Subject {
  const Findings& all;
  const Link& link;
  std::optional<IpPrefix> address;
  absl::string_view tool;
};
using Faults = std::vector<Fault>;

int Switch(const Findings& all, absl::string_view name, int otherwise) {
  return all.read_switch(name).value_or(otherwise);
}

std::string SetSwitch(absl::string_view name, int value) {
  return absl::StrCat("sysctl -w ", ShellWord(absl::StrCat(name, "=", value)));
}

void CheckForwarding(const Subject& s, Faults* out) {
  if (!s.address) return;
  const std::string own = InterfaceSwitch("ipv4", s.link.name, "forwarding");
  absl::string_view off;
  if (Switch(s.all, "net.ipv4.ip_forward", 1) == 0) {
    off = "net.ipv4.ip_forward";
  } else if (Switch(s.all, own, 1) == 0) {
    off = own;
  }
  if (off.empty()) return;
  out->push_back(
      {"forwarding",
       absl::StrCat(s.link.name, ": ", off, " is 0: guests reach this host and no other"),
       SetSwitch(off, 1)});
}

// Whether the chain lets through what guests send, and the answers.
bool LetsThrough(const Findings& all, const AcceptPlace& place, absl::string_view link) {
  bool in = Accepts(all.rules, place, link, true);
  bool out = Accepts(all.rules, place, link, false);
  for (const NftRule& rule : all.rules.rules) {
    if (rule.family != place.family || rule.table != place.table || rule.chain != place.chain) {
      continue;
    }
    const bool passes = rule.verdict == "accept";
    // A chain of its own for the interface knows what it does.
    if (rule.in == link && (rule.verdict == "jump" || rule.verdict == "goto")) in = true;
    if (rule.out == link && (rule.verdict == "jump" || rule.verdict == "goto")) out = true;
    // Answers are let in by "ct state established", for this interface or for all.
    if (passes && rule.other_matches && rule.in.empty() && (rule.out == link || rule.out.empty())) {
      out = true;
    }
  }
  return in && out;
}

void CheckForwardChains(const Subject& s, Faults* out) {
  if (!s.address) return;
  for (const AcceptPlace& place : DroppingChains(s.all.rules, /*iptables_only=*/false)) {
    if (place.table == "firewalld" || absl::StartsWith(place.table, "atoll-")) continue;
    if (LetsThrough(s.all, place, s.link.name)) continue;
    const std::string in = AcceptCommand(place, s.link.name, true, "");
    const std::string back = AcceptCommand(place, s.link.name, false, "");
    out->push_back(
        {"forward-drop",
         absl::StrCat(s.link.name, ": chain ", place.family, " ", place.table, " ", place.chain,
                      " drops what it forwards unless a rule accepts it, "
                      "and none does for this interface"),
         absl::StrCat("nft ", ShellWord(in), " && nft ", ShellWord(back))});
  }
  if (absl::StrContains(s.all.legacy_forward, "-P FORWARD DROP") &&
      !absl::StrContains(s.all.legacy_forward,
                         absl::StrCat("-A FORWARD -i ", s.link.name, " -j ACCEPT"))) {
    const std::string name = ShellWord(s.link.name);
    out->push_back(
        {"forward-drop",
         absl::StrCat(s.link.name,
                      ": iptables-legacy's chain FORWARD drops by policy, "
                      "and no rule accepts this interface"),
         absl::StrCat("iptables-legacy -I FORWARD -i ", name,
                      " -j ACCEPT && iptables-legacy -I FORWARD -o ", name, " -j ACCEPT")});
  }
}

void CheckFirewalld(const Subject& s, Faults* out) {
  if (!s.address || !FirewalldRuns(s.all.rules)) return;
  const std::string chain = FirewalldChain(s.all.rules, s.link.name);
  // Zones that come with firewalld and are not made for guests. Others are the
  // administrator's, who knows.
  static constexpr absl::string_view kClosed[] = {"public", "external", "dmz",  "work",
                                                  "home",   "internal", "drop", "block"};
  const size_t underscore = chain.rfind('_');
  const std::string zone = chain.empty() ? "" : chain.substr(underscore + 1);
  if (!zone.empty() && std::find(std::begin(kClosed), std::end(kClosed), zone) == std::end(kClosed))
    return;
  out->push_back(
      {"firewalld-zone",
       absl::StrCat(s.link.name, ": firewalld has it in ",
                    zone.empty() ? "its default zone" : absl::StrCat("zone ", zone),
                    ", which refuses what guests send through this host"),
       absl::StrCat("firewall-cmd --zone=trusted --change-interface=", ShellWord(s.link.name))});
}

void CheckBridgeFilter(const Subject& s, Faults* out) {
  if (s.link.kind != "bridge") return;
  constexpr absl::string_view kAll = "net.bridge.bridge-nf-call-iptables";
  const std::string effect =
      ": frames between guests go through the host's packet filter, and its rules drop or "
      "translate them";
  // The switch for all counts even where the bridge's own is off.
  if (Switch(s.all, kAll, 0) != 0) {
    out->push_back(
        {"bridge-nf", absl::StrCat(s.link.name, ": ", kAll, " is 1", effect), SetSwitch(kAll, 0)});
  } else if (s.link.bridge && s.link.bridge->nf_call_iptables) {
    out->push_back({"bridge-nf", absl::StrCat(s.link.name, ": its nf_call_iptables is 1", effect),
                    absl::StrCat("ip link set dev ", ShellWord(s.link.name),
                                 " type bridge nf_call_iptables 0")});
  }
}

// The route that a packet to `to` takes, or nullptr.
const Route* BestRoute(const HostState& state, const IpPrefix& to) {
  const Route* best = nullptr;
  for (const Route& r : state.routes) {
    if (r.type != RTN_UNICAST || !r.destination.Contains(to)) continue;
    if (best == nullptr || r.destination.length > best->destination.length ||
        (r.destination.length == best->destination.length && r.metric < best->metric)) {
      best = &r;
    }
  }
  return best;
}

// The kernel takes the larger of the two switches.
bool StrictReversePath(const Findings& all, absl::string_view link) {
  return std::max(Switch(all, "net.ipv4.conf.all.rp_filter", 0),
                  Switch(all, InterfaceSwitch("ipv4", link, "rp_filter"), 0)) == 1;
}

Fault ReversePathFault(absl::string_view link, absl::string_view because) {
  return {"rp-filter", absl::StrCat(link, ": rp_filter is strict (1), and ", because),
          SetSwitch(InterfaceSwitch("ipv4", link, "rp_filter"), 2)};
}

void CheckReversePath(const Subject& s, Faults* out) {
  if (!s.address || !StrictReversePath(s.all, s.link.name)) return;
  // A guest's address: the first that is not the host's.
  IpPrefix guest = netlink::Ipv4(s.address->Network().V4() + 1, 32);
  if (guest.V4() == s.address->V4()) guest = netlink::Ipv4(guest.V4() + 1, 32);
  const Route* back = BestRoute(s.all.state, guest);
  if (back != nullptr && back->index == s.link.index) return;
  out->push_back(ReversePathFault(
      s.link.name,
      absl::StrCat(
          "the way back to ", guest.AddressText(), " is ",
          back == nullptr ? "none" : absl::StrCat("through ", s.all.state.NameOf(back->index)),
          ": what guests send is dropped")));
}

// The same for the ways out of the host, when there is more than one.
void CheckUplinks(const Findings& all, Faults* out) {
  const Route* best = BestRoute(all.state, netlink::Ipv4(0x08080808, 32));
  std::set<int> said;
  for (const Route& r : all.state.routes) {
    if (best == nullptr || r.destination.length != 0 || r.index == best->index ||
        r.type != RTN_UNICAST || !said.insert(r.index).second) {
      continue;
    }
    const std::string name = all.state.NameOf(r.index);
    if (!StrictReversePath(all, name)) continue;
    out->push_back(ReversePathFault(
        name, absl::StrCat("the first default route is through ", all.state.NameOf(best->index),
                           ": what the world sends in here is dropped")));
  }
}

void CheckSubnets(const Subject& s, Faults* out) {
  if (!s.address || s.address->length > 30) return;
  for (const netlink::Address& a : s.all.state.addresses) {
    if (a.index == s.link.index || !a.prefix.Network().Overlaps(s.address->Network()) ||
        a.prefix.length > 30) {
      continue;
    }
    const absl::StatusOr<IpPrefix> free = FreeSubnet(s.all.state);
    if (!free.ok()) return;
    const std::string name = ShellWord(s.link.name);
    const std::optional<Tag> tag = Tag::Parse(s.link.alias);
    const bool ours = tag && tag->kept && tag->kind == "bridge" && tag->address == s.address;
    out->push_back({"duplicate-subnet",
                    absl::StrCat(s.link.name, ": its ", s.address->Text(), " and ",
                                 s.all.state.NameOf(a.index), "'s ", a.prefix.Text(),
                                 " are one subnet: one of the two is not reached"),
                    ours ? absl::StrCat(s.tool, " bridge up ", name, " --subnet ", free->Text())
                         : absl::StrCat("ip address del ", s.address->Text(), " dev ", name,
                                        " && ip address add ", free->Text(), " dev ", name)});
    return;
  }
}

void CheckRoutes(const Subject& s, Faults* out) {
  if (!s.address) return;
  for (const Route& r : s.all.state.routes) {
    // A connected route to the same subnet is the fault above.
    if (r.index == s.link.index || r.protocol == RTPROT_KERNEL || r.type == RTN_LOCAL) continue;
    const bool steals = s.address->Network().Contains(r.destination) &&
                        (r.destination.length > s.address->length || r.metric == 0);
    if (!steals) continue;
    const std::string through =
        r.index == 0 ? "nowhere" : absl::StrCat("through ", s.all.state.NameOf(r.index));
    std::string fix = absl::StrCat("ip route del ", r.destination.Text());
    if (r.gateway) absl::StrAppend(&fix, " via ", r.gateway->AddressText());
    if (r.index != 0) {
      absl::StrAppend(&fix, " dev ", ShellWord(s.all.state.NameOf(r.index)));
    }
    if (r.metric != 0) absl::StrAppend(&fix, " metric ", r.metric);
    out->push_back({"stale-route",
                    absl::StrCat(s.link.name, ": a route leads ", r.destination.Text(), " ",
                                 through, ": guests with these addresses are not reached"),
                    std::move(fix)});
  }
}

// A MAC address for `link` that no other has.
std::string OtherMac(const HostState& state, const Link& link) {
  std::string identity = absl::StrCat(HostIdentity(), link.name);
  for (;;) {
    const netlink::MacAddress mac = TapMac(identity);
    if (std::none_of(state.links.begin(), state.links.end(),
                     [&mac](const Link& l) { return l.mac == mac; })) {
      return netlink::FormatMac(mac);
    }
    identity += '+';
  }
}

void CheckMacs(const Subject& s, Faults* out) {
  const std::vector<const Link*> ports = s.all.state.PortsOf(s.link);
  for (size_t i = 0; i < ports.size(); ++i) {
    if (!ports[i]->mac) continue;
    const Link& port = *ports[i];
    const std::string fix = absl::StrCat("ip link set dev ", ShellWord(port.name), " address ",
                                         OtherMac(s.all.state, port));
    const auto same = std::find_if(ports.begin(), ports.begin() + static_cast<ptrdiff_t>(i),
                                   [&port](const Link* l) { return l->mac == port.mac; });
    if (same != ports.begin() + static_cast<ptrdiff_t>(i)) {
      out->push_back({"mac-clash",
                      absl::StrCat(s.link.name, ": its ports ", (*same)->name, " and ", port.name,
                                   " both have MAC address ", netlink::FormatMac(*port.mac)),
                      fix});
      continue;
    }
    const auto guest = std::find_if(
        s.all.neighbours.begin(), s.all.neighbours.end(),
        [&](const netlink::Neighbour& n) { return n.index == s.link.index && n.mac == port.mac; });
    if (guest != s.all.neighbours.end() && guest->address) {
      out->push_back({"mac-clash",
                      absl::StrCat(s.link.name, ": ", guest->address->AddressText(),
                                   " has the MAC address ", netlink::FormatMac(*port.mac),
                                   " of port ", port.name, ": the host takes its frames"),
                      fix});
    }
  }
}

void CheckMtus(const Subject& s, Faults* out) {
  std::vector<const Link*> links = s.all.state.PortsOf(s.link);
  if (s.link.kind != "bridge") return;
  links.push_back(&s.link);
  const Link* least = *std::min_element(
      links.begin(), links.end(), [](const Link* a, const Link* b) { return a->mtu < b->mtu; });
  for (const Link* link : links) {
    if (link->mtu == least->mtu) continue;
    out->push_back({"mtu-mismatch",
                    absl::StrCat(s.link.name, ": packets of ", link->name, " may have ", link->mtu,
                                 " bytes, those of ", least->name, " ", least->mtu,
                                 ": larger ones are lost between them"),
                    absl::StrCat("ip link set dev ", ShellWord(link->name), " mtu ", least->mtu)});
  }
}

void CheckModules(const Findings& all, Faults* out) {
  if (!all.tun_device) {
    out->push_back({"no-tun", "/dev/net/tun is not there: no tap can be made", "modprobe tun"});
  }
  if (!all.bridge_module) {
    out->push_back(
        {"no-bridge", "the kernel has no module bridge: no bridge can be made", "modprobe bridge"});
  }
  if (!all.nft_program) {
    out->push_back({"no-nft", "nft is not installed: no address can be translated",
                    "apt-get install nftables"});
  }
  if (!all.nf_tables) {
    out->push_back({"no-nf-tables", "the kernel has no nf_tables: no address can be translated",
                    "modprobe nf_tables"});
  }
}

constexpr void (*kChecks[])(const Subject&, Faults*) = {
    CheckForwarding, CheckForwardChains, CheckFirewalld, CheckBridgeFilter, CheckReversePath,
    CheckSubnets,    CheckRoutes,        CheckMacs,      CheckMtus,
};

bool GuestsAreBehind(const HostState& state, const Link& link) {
  if (Tag::Parse(link.alias)) return link.master == 0;
  if (link.is_tap()) return link.master == 0;
  const std::vector<const Link*> ports = state.PortsOf(link);
  return link.kind == "bridge" &&
         std::any_of(ports.begin(), ports.end(), [](const Link* port) { return port->is_tap(); });
}

}  // namespace

std::vector<Fault> Check(const Findings& findings, const std::vector<std::string>& links,
                         absl::string_view tool) {
  Faults faults;
  CheckModules(findings, &faults);
  CheckUplinks(findings, &faults);
  for (const Link& link : findings.state.links) {
    const bool wanted = links.empty()
                            ? GuestsAreBehind(findings.state, link)
                            : std::find(links.begin(), links.end(), link.name) != links.end();
    if (!wanted) continue;
    const Subject subject{findings, link, findings.state.AddressOf(link), tool};
    for (const auto check : kChecks) check(subject, &faults);
  }
  // What is wrong with the whole host is found once for each interface.
  Faults once;
  for (Fault& fault : faults) {
    if (std::none_of(once.begin(), once.end(), [&fault](const Fault& f) {
          return f.name == fault.name && f.fix == fault.fix;
        })) {
      once.push_back(std::move(fault));
    }
  }
  return once;
}

}  // namespace atl::hostnet
