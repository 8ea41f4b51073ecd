// SPDX-License-Identifier: Apache-2.0
#include "lib/hostnet/links.h"

#include <sys/socket.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/hostnet/names.h"
#include "lib/hostnet/nat.h"
#include "lib/hostnet/tap.h"
#include "lib/netlink/rtnetlink.h"

namespace atl::hostnet {
namespace {

using netlink::IpPrefix;
using netlink::Link;
using netlink::LinkChange;

// IFA_PROTO of the addresses that we give: "a".
constexpr uint8_t kAddressProtocol = 0x61;

Tag NewTag(absl::string_view kind, bool kept) {
  Tag tag{.kind = std::string(kind), .kept = kept};
  if (!kept) tag.by = Process::Self();
  return tag;
}

std::string SetText(absl::string_view name, const LinkChange& change) {
  std::string text = absl::StrCat("ip link set dev ", name);
  if (change.mac) absl::StrAppend(&text, " address ", netlink::FormatMac(*change.mac));
  if (change.mtu) absl::StrAppend(&text, " mtu ", *change.mtu);
  if (change.alias) absl::StrAppend(&text, " alias ", ShellWord(*change.alias));
  if (change.up) absl::StrAppend(&text, *change.up ? " up" : " down");
  return text;
}

// One change of a link and the way back.
void AddChange(const Host& host, const std::string& name, const LinkChange& change,
               const LinkChange& back, std::string text, Plan* plan) {
  netlink::Socket* socket = host.socket;
  plan->Add(
      std::move(text), [=] { return netlink::ChangeLink(socket, name, change); },
      [=] { return netlink::ChangeLink(socket, name, back); });
}

void AddTag(const Host& host, const std::string& name, const Tag& tag, absl::string_view old,
            bool shown, Plan* plan) {
  const LinkChange change{.alias = tag.Text(), .group = 0};
  AddChange(host, name, change, {.alias = std::string(old)},
            shown ? absl::StrCat("ip link set dev ", name, " alias ", ShellWord(tag.Text())) : "",
            plan);
}

void AddAddress(const Host& host, const std::string& name, const IpPrefix& address, Plan* plan) {
  netlink::Socket* socket = host.socket;
  plan->Add(
      absl::StrCat("ip address add ", address.Text(), " brd + dev ", name),
      [=] { return netlink::AddAddress(socket, name, address, kAddressProtocol); },
      [=] { return netlink::DeleteAddress(socket, name, address); });
}

void AddAddressRemoval(const Host& host, const std::string& name, const IpPrefix& address,
                       Plan* plan) {
  netlink::Socket* socket = host.socket;
  plan->Add(
      absl::StrCat("ip address del ", address.Text(), " dev ", name),
      [=] { return netlink::DeleteAddress(socket, name, address); },
      [=] { return netlink::AddAddress(socket, name, address, kAddressProtocol); });
}

void AddDeletion(const Host& host, const std::string& name, Plan* plan) {
  netlink::Socket* socket = host.socket;
  plan->Add(absl::StrCat("ip link delete dev ", name),
            [=] { return netlink::DeleteLink(socket, name); });
}

absl::Status NotOurs(absl::string_view name, absl::string_view lacking) {
  return absl::FailedPreconditionError(
      absl::StrCat(name,
                   ": it was not made by this tool (no atoll: in its alias), so it is not "
                   "changed, and ",
                   lacking));
}

absl::Status InUse(absl::string_view name, const Process& by) {
  return absl::FailedPreconditionError(
      absl::StrCat(name, ": it belongs to process ", by.pid, ", which is running"));
}

bool HeldByAnother(const std::optional<Tag>& tag) {
  return tag && tag->by && !(*tag->by == Process::Self()) && tag->by->Alive();
}

bool HasAddress(const HostState& state, const Link& link, const IpPrefix& wanted) {
  for (const netlink::Address& a : state.addresses) {
    if (a.index == link.index && a.prefix == wanted) return true;
  }
  return false;
}

// That no other interface is in the subnet.
absl::Status CheckSubnetIsFree(const HostState& state, const IpPrefix& address,
                               absl::string_view link) {
  for (const netlink::Address& a : state.addresses) {
    if (a.prefix.Overlaps(address.Network()) && state.NameOf(a.index) != link) {
      return absl::AlreadyExistsError(absl::StrCat("subnet ", address.Network().Text(), ": ",
                                                   state.NameOf(a.index), " has ",
                                                   a.prefix.Text()));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckHostAddress(const IpPrefix& address) {
  const uint32_t host = address.V4() & ~address.Network().V4();
  const uint32_t most = address.length == 0 ? ~0u : 0xffffffffu >> address.length;
  if (address.family == AF_INET && address.length >= 8 && address.length <= 30 && host != 0 &&
      host != most) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", address.Text(),
                   "' is no IPv4 address of a host in a subnet of 8 to 30 "
                   "bits, such as 10.0.1.1/24"));
}

void PlanBridgeCreation(const Host& host, const BridgeWish& wish, const netlink::MacAddress& mac,
                        Plan* plan) {
  netlink::Socket* socket = host.socket;
  const std::string name = wish.name;
  const uint32_t mtu = wish.mtu.value_or(0);
  plan->Add(
      absl::StrCat("ip link add name ", name, " address ", netlink::FormatMac(mac),
                   " type bridge forward_delay 0 nf_call_iptables 0 nf_call_ip6tables 0 "
                   "nf_call_arptables 0\nip link set dev ",
                   name, mtu != 0 ? absl::StrCat(" mtu ", mtu) : "", " up"),
      [=] { return netlink::NewBridge(socket, name, mac, mtu, MakingGroup(Process::Self().pid)); },
      [=] { return netlink::DeleteLink(socket, name); });
}

// What the link is changed to, so that it is as the wish says.
LinkChange Difference(const Link& link, std::optional<uint32_t> mtu,
                      const std::optional<netlink::MacAddress>& mac, LinkChange* back) {
  LinkChange change;
  if (!link.up()) {
    change.up = true;
    back->up = false;
  }
  if (mtu && link.mtu != *mtu) {
    change.mtu = *mtu;
    back->mtu = link.mtu;
  }
  if (mac && link.mac && *link.mac != *mac) {
    change.mac = *mac;
    back->mac = *link.mac;
  }
  return change;
}

bool Empty(const LinkChange& change) { return !change.up && !change.mtu && !change.mac; }

}  // namespace

absl::StatusOr<const Link*> FindBridge(const HostState& state, absl::string_view name) {
  const Link* link = state.Find(name);
  if (link == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("bridge ", name, ": there is no such interface (net bridge up ", name, ")"));
  }
  if (link->kind != "bridge") {
    return absl::FailedPreconditionError(absl::StrCat(name, ": it is no bridge"));
  }
  return link;
}

absl::StatusOr<BridgePlan> PlanBridgeUp(const Host& host, const BridgeWish& wish) {
  RETURN_IF_ERROR(CheckName(wish.name));
  BridgePlan out;
  const HostState& state = host.state;
  const Link* link = state.Find(wish.name);
  std::optional<Tag> tag;
  std::optional<IpPrefix> has;
  bool adopted = false;
  if (link != nullptr) {
    RETURN_IF_ERROR(FindBridge(state, wish.name).status());
    tag = Tag::Parse(link->alias);
    const std::optional<pid_t> maker = MakerOfGroup(link->group);
    if (HeldByAnother(tag)) return InUse(wish.name, *tag->by);
    adopted = !tag && !(maker && link->alias.empty());
    has = state.AddressOf(*link);
  }
  // The address that it will have.
  std::optional<IpPrefix> address = wish.address;
  if (address) {
    RETURN_IF_ERROR(CheckHostAddress(*address));
    RETURN_IF_ERROR(CheckSubnetIsFree(state, *address, wish.name));
  } else if (wish.any_address) {
    address = has;
    if (!address) {
      ASSIGN_OR_RETURN(address, FreeSubnet(state));
    }
  }
  out.address = address;
  const bool add_address = address && (link == nullptr || !HasAddress(state, *link, *address));

  LinkChange back;
  LinkChange change;
  if (link != nullptr) change = Difference(*link, wish.mtu, wish.mac, &back);
  if (adopted) {
    if (wish.foreground)
      return NotOurs(wish.name, "a bridge that goes with a process is asked for");
    if (add_address) return NotOurs(wish.name, absl::StrCat("it has no ", address->Text()));
    if (!Empty(change)) return NotOurs(wish.name, "it is down, or has another MTU or MAC address");
  }
  if (link != nullptr && wish.foreground && tag && tag->kept) {
    return absl::FailedPreconditionError(
        absl::StrCat(wish.name, ": it is there and is kept: net bridge down ", wish.name,
                     " comes before one that goes with a process"));
  }

  const std::string old_alias = link == nullptr ? "" : link->alias;
  Tag last = NewTag("bridge", !wish.foreground);
  if (tag && !wish.address && !wish.any_address) {
    last.address = tag->address;
    last.address_state = tag->address_state;
  }
  if (address && (add_address || (tag && tag->address == address))) last.address = address;
  Plan changes;
  if (!Empty(change)) {
    AddChange(host, wish.name, change, back, SetText(wish.name, change), &changes);
  }
  if (link != nullptr && tag && tag->address && add_address &&
      HasAddress(state, *link, *tag->address)) {
    AddAddressRemoval(host, wish.name, *tag->address, &changes);
  }
  if (add_address) AddAddress(host, wish.name, *address, &changes);
  if (wish.nat && address) {
    Tag nat_tag = NewTag("nat", !wish.foreground);
    changes.Append(PlanNat({wish.name, *address, nat_tag, wish.serves}, host.rules, wish.owner));
  }
  const bool retag = !adopted && old_alias != last.Text();
  if (link != nullptr && changes.empty() && !retag) return out;
  if (adopted) {
    out.plan = std::move(changes);
    return out;
  }
  // Creation stands first, then the tag that says whose debris it would be.
  Tag during = NewTag("bridge", false);
  during.kept = tag && tag->kept;
  if (add_address) {
    during.address = address;
    during.address_state = Tag::AddressState::kAdding;
  } else if (tag) {
    during.address = tag->address;
    during.address_state = tag->address_state;
  }
  Plan all;
  if (link == nullptr) {
    PlanBridgeCreation(host, wish,
                       wish.mac.value_or(BridgeMac(absl::StrCat(HostIdentity(), wish.name))), &all);
    AddTag(host, wish.name, during, "", false, &all);
  } else if (!changes.empty()) {
    AddTag(host, wish.name, during, old_alias, false, &all);
  }
  all.Append(std::move(changes));
  AddTag(host, wish.name, last, old_alias, true, &all);
  out.plan = std::move(all);
  return out;
}

absl::StatusOr<Plan> PlanBridgeDown(const Host& host, const std::string& name, bool force) {
  RETURN_IF_ERROR(CheckName(name));
  Plan plan;
  const Link* link = host.state.Find(name);
  if (link != nullptr) {
    RETURN_IF_ERROR(FindBridge(host.state, name).status());
    const std::optional<Tag> tag = Tag::Parse(link->alias);
    if (!force) {
      if (!tag && !MakerOfGroup(link->group)) {
        return NotOurs(name, "it is deleted only with --force");
      }
      if (HeldByAnother(tag)) return InUse(name, *tag->by);
    }
    // From here on it is debris, should this process end half-way.
    AddTag(host, name, NewTag("bridge", false), link->alias, false, &plan);
  }
  plan.Append(PlanNatRemoval(name, host.rules));
  if (link != nullptr) AddDeletion(host, name, &plan);
  return plan;
}

absl::StatusOr<Plan> PlanTapUp(const Host& host, const TapWish& wish) {
  RETURN_IF_ERROR(CheckName(wish.name));
  const Link* bridge = nullptr;
  if (!wish.bridge.empty()) {
    ASSIGN_OR_RETURN(bridge, FindBridge(host.state, wish.bridge));
  }
  // A port larger than its bridge loses frames, so it takes the bridge's size.
  std::optional<uint32_t> mtu = wish.mtu;
  const Link* link = host.state.Find(wish.name);
  if (!mtu && bridge != nullptr && (link == nullptr || link->master != bridge->index)) {
    mtu = bridge->mtu;
  }
  netlink::Socket* socket = host.socket;
  const std::string name = wish.name;
  const std::string master_text =
      bridge == nullptr ? "" : absl::StrCat("ip link set dev ", name, " master ", wish.bridge);
  const bool owned = wish.uid || wish.gid;
  Plan plan;
  if (link == nullptr) {
    auto tap = std::make_shared<OpenTap>();
    const TapOptions options = {
        .name = name, .multi_queue = wish.multi_queue, .vnet_hdr = wish.vnet_hdr};
    plan.Add(
        absl::StrCat("ip tuntap add dev ", name, " mode tap",
                     wish.uid ? absl::StrCat(" user ", *wish.uid) : "",
                     wish.gid ? absl::StrCat(" group ", *wish.gid) : "",
                     wish.vnet_hdr ? " vnet_hdr" : "", wish.multi_queue ? " multi_queue" : ""),
        [=] {
          ASSIGN_OR_RETURN(*tap, NewTap(options));
          return SetTapOwner(*tap, wish.uid, wish.gid);
        },
        [=] {
          tap->fds.clear();
          return absl::OkStatus();
        });
    LinkChange change{.up = true,
                      .mtu = mtu,
                      .mac = wish.mac.value_or(TapMac(absl::StrCat(HostIdentity(), name)))};
    std::string text = SetText(name, change);
    if (bridge != nullptr) {
      change.master = bridge->index;
      absl::StrAppend(&text, "\n", master_text);
    }
    change.alias = NewTag("tap", false).Text();
    plan.Add(std::move(text), [=] { return netlink::ChangeLink(socket, name, change); });
    plan.Add(
        "", [=] { return SetPersistent(*tap, true); }, [=] { return SetPersistent(*tap, false); });
    AddTag(host, name, NewTag("tap", true), *change.alias, true, &plan);
    // The descriptor has done its work: another may open the tap now.
    plan.Add("", [=] {
      tap->fds.clear();
      return absl::OkStatus();
    });
    return plan;
  }

  if (!link->is_tap()) {
    return absl::AlreadyExistsError(
        absl::StrCat(name, ": there is an interface of that name, and it is no tap"));
  }
  if (link->tun->multi_queue != wish.multi_queue) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, ": it was made ", link->tun->multi_queue ? "with" : "without",
                     " --multi-queue, which the kernel fixes for a tap's life (EINVAL): net tap "
                     "down ",
                     name, " comes first"));
  }
  const std::optional<Tag> tag = Tag::Parse(link->alias);
  if (HeldByAnother(tag)) return InUse(name, *tag->by);
  LinkChange back;
  LinkChange change = Difference(*link, mtu, wish.mac, &back);
  const bool enslave = bridge != nullptr && link->master != bridge->index;
  const bool keep = !link->tun->persist;
  const bool new_owner = owned && (link->tun->owner != wish.uid || link->tun->group != wish.gid);
  if (Empty(change) && !enslave && !new_owner && !keep && (!tag || tag->kept)) return plan;
  if (!tag) return NotOurs(name, "it is not as it is asked for");
  if (new_owner || keep) {
    const TapOptions options = {
        .name = name, .multi_queue = wish.multi_queue, .vnet_hdr = wish.vnet_hdr};
    plan.Add(
        absl::StrCat("ip tuntap add dev ", name, " mode tap",
                     wish.uid ? absl::StrCat(" user ", *wish.uid) : "",
                     wish.gid ? absl::StrCat(" group ", *wish.gid) : ""),
        [=] {
          ASSIGN_OR_RETURN(const OpenTap tap, NewTap(options));
          RETURN_IF_ERROR(SetTapOwner(tap, wish.uid, wish.gid));
          return SetPersistent(tap, true);
        },
        [=, old = *link->tun] {
          ASSIGN_OR_RETURN(const OpenTap tap, NewTap(options));
          return SetTapOwner(tap, old.owner.value_or(~0u), old.group.value_or(~0u));
        });
  }
  if (!Empty(change)) AddChange(host, name, change, back, SetText(name, change), &plan);
  if (enslave) {
    AddChange(host, name, {.master = bridge->index}, {.master = link->master}, master_text, &plan);
  }
  if (!tag->kept) AddTag(host, name, NewTag("tap", true), link->alias, true, &plan);
  return plan;
}

absl::StatusOr<Plan> PlanTapDown(const Host& host, const std::string& name, bool force) {
  RETURN_IF_ERROR(CheckName(name));
  Plan plan;
  const Link* link = host.state.Find(name);
  if (link != nullptr && !link->is_tap()) {
    return absl::FailedPreconditionError(absl::StrCat(name, ": it is no tap"));
  }
  if (link != nullptr) {
    const std::optional<Tag> tag = Tag::Parse(link->alias);
    if (!tag && !force) return NotOurs(name, "it is deleted only with --force");
    if (!force && HeldByAnother(tag)) return InUse(name, *tag->by);
  }
  plan.Append(PlanNatRemoval(name, host.rules));
  if (link != nullptr) AddDeletion(host, name, &plan);
  return plan;
}

absl::StatusOr<Plan> PlanIfUp(const Host& host, const std::string& name, const std::string& bridge,
                              const std::optional<IpPrefix>& address) {
  Plan plan;
  const Link* link = host.state.Find(name);
  if (link == nullptr) {
    return absl::NotFoundError(absl::StrCat(name, ": there is no such interface"));
  }
  if (!bridge.empty()) {
    ASSIGN_OR_RETURN(const Link* master, FindBridge(host.state, bridge));
    if (link->mtu != master->mtu) {
      AddChange(host, name, {.mtu = master->mtu}, {.mtu = link->mtu},
                SetText(name, {.mtu = master->mtu}), &plan);
    }
    if (link->master != master->index) {
      AddChange(host, name, {.master = master->index}, {.master = link->master},
                absl::StrCat("ip link set dev ", name, " master ", bridge), &plan);
    }
  }
  if (address) {
    RETURN_IF_ERROR(CheckHostAddress(*address));
    RETURN_IF_ERROR(CheckSubnetIsFree(host.state, *address, name));
    if (!HasAddress(host.state, *link, *address)) AddAddress(host, name, *address, &plan);
  }
  if (!link->up()) {
    AddChange(host, name, {.up = true}, {.up = false}, SetText(name, {.up = true}), &plan);
  }
  return plan;
}

absl::StatusOr<Plan> PlanIfDown(const Host& host, const std::string& name) {
  Plan plan;
  const Link* link = host.state.Find(name);
  if (link == nullptr) return plan;  // it went with its last descriptor
  if (link->up()) {
    AddChange(host, name, {.up = false}, {.up = true}, SetText(name, {.up = false}), &plan);
  }
  for (const netlink::Address& a : host.state.addresses) {
    if (a.index == link->index && a.protocol == kAddressProtocol) {
      AddAddressRemoval(host, name, a.prefix, &plan);
    }
  }
  if (link->master != 0) {
    AddChange(host, name, {.master = 0}, {.master = link->master},
              absl::StrCat("ip link set dev ", name, " nomaster"), &plan);
  }
  return plan;
}

absl::StatusOr<BridgePlan> PlanNatUp(const Host& host, const NatWish& wish) {
  RETURN_IF_ERROR(CheckName(wish.link));
  const Link* link = host.state.Find(wish.link);
  if (link == nullptr) {
    return absl::NotFoundError(absl::StrCat(wish.link, ": there is no such interface"));
  }
  BridgePlan out;
  const std::optional<Tag> tag = Tag::Parse(link->alias);
  std::optional<IpPrefix> address = wish.address;
  if (address) {
    RETURN_IF_ERROR(CheckHostAddress(*address));
    RETURN_IF_ERROR(CheckSubnetIsFree(host.state, *address, wish.link));
  } else {
    address = host.state.AddressOf(*link);
    if (!address) {
      ASSIGN_OR_RETURN(address, FreeSubnet(host.state));
    }
  }
  out.address = address;
  const bool add = !HasAddress(host.state, *link, *address);
  if (add && !tag) return NotOurs(wish.link, absl::StrCat("it has no ", address->Text()));
  if (add && wish.foreground) {
    return absl::FailedPreconditionError(
        absl::StrCat(wish.link, ": it has no address of ", address->Network().Text(),
                     ", and one that goes with a process would need one"));
  }
  Plan nat =
      PlanNat({wish.link, *address, NewTag("nat", !wish.foreground)}, host.rules, wish.owner);
  if (!add) {
    out.plan = std::move(nat);
    return out;
  }
  Tag during = *tag;
  during.by = Process::Self();
  during.address = address;
  during.address_state = Tag::AddressState::kAdding;
  AddTag(host, wish.link, during, link->alias, false, &out.plan);
  if (tag->address && HasAddress(host.state, *link, *tag->address)) {
    AddAddressRemoval(host, wish.link, *tag->address, &out.plan);
  }
  AddAddress(host, wish.link, *address, &out.plan);
  out.plan.Append(std::move(nat));
  during.by = tag->by;
  during.address_state = Tag::AddressState::kNat;
  AddTag(host, wish.link, during, link->alias, true, &out.plan);
  return out;
}

absl::StatusOr<Plan> PlanNatDown(const Host& host, const std::string& name) {
  RETURN_IF_ERROR(CheckName(name));
  Plan plan;
  const Link* link = host.state.Find(name);
  const std::optional<Tag> tag = link == nullptr ? std::nullopt : Tag::Parse(link->alias);
  for (const FoundNat& nat : FindNats(host.rules)) {
    if (nat.link == name && nat.owned) {
      return nat.tag && nat.tag->by ? InUse(absl::StrCat("translation for ", name), *nat.tag->by)
                                    : NotOurs(name, "its table belongs to a process");
    }
  }
  plan.Append(PlanNatRemoval(name, host.rules));
  if (tag && tag->address && tag->address_state == Tag::AddressState::kNat) {
    Tag after = *tag;
    after.address.reset();
    if (HasAddress(host.state, *link, *tag->address)) {
      AddAddressRemoval(host, name, *tag->address, &plan);
    }
    AddTag(host, name, after, link->alias, true, &plan);
  }
  return plan;
}

Plan PlanRelease(const Host& host, const Process& self) {
  Plan plan;
  for (const FoundNat& nat : FindNats(host.rules)) {
    if (nat.tag && nat.tag->by == self) plan.Append(PlanNatRemoval(nat.link, host.rules));
  }
  for (const Link& link : host.state.links) {
    const std::optional<Tag> tag = Tag::Parse(link.alias);
    if (tag && !tag->kept && tag->by == self && link.kind == "bridge") {
      AddDeletion(host, link.name, &plan);
    }
  }
  return plan;
}

Plan PlanGc(const Host& host, const std::optional<Process>& of) {
  Plan plan;
  auto mine = [&of](const std::optional<Process>& by) { return !of || by == of; };
  for (const Link& link : host.state.links) {
    // A tap that is not persistent is held by somebody, and goes with them.
    if (link.tun && !link.tun->persist) continue;
    const std::optional<Tag> tag = Tag::Parse(link.alias);
    const std::optional<pid_t> maker = MakerOfGroup(link.group);
    if (!tag && maker && link.alias.empty() && link.kind == "bridge") {
      // Its maker was killed before it could tag it.
      const bool dead = of ? of->pid == *maker : !Process::Running(*maker);
      if (dead) AddDeletion(host, link.name, &plan);
      continue;
    }
    if (!tag || !mine(tag->by) || !CheckName(link.name).ok()) continue;
    if (tag->Dead()) {
      plan.Append(PlanNatRemoval(link.name, host.rules));
      AddDeletion(host, link.name, &plan);
    } else if (tag->HalfChanged()) {
      plan.Append(PlanNatRemoval(link.name, host.rules));
      if (tag->address && tag->address_state == Tag::AddressState::kAdding &&
          HasAddress(host.state, link, *tag->address)) {
        AddAddressRemoval(host, link.name, *tag->address, &plan);
      }
      Tag after{.kind = tag->kind, .kept = true};
      if (tag->address_state != Tag::AddressState::kAdding) {
        after.address = tag->address;
        after.address_state = tag->address_state;
      }
      AddTag(host, link.name, after, link.alias, true, &plan);
    }
  }
  for (const FoundNat& nat : FindNats(host.rules)) {
    const Link* link = host.state.Find(nat.link);
    const std::optional<Tag> link_tag = link == nullptr ? std::nullopt : Tag::Parse(link->alias);
    // Done above, together with the link.
    if (link_tag && mine(link_tag->by) && (link_tag->Dead() || link_tag->HalfChanged())) continue;
    const bool dead = nat.tag && nat.tag->Dead() && mine(nat.tag->by);
    const bool orphan = !of && nat.tag && nat.tag->kept && link == nullptr;
    if (dead || orphan) plan.Append(PlanNatRemoval(nat.link, host.rules));
  }
  return plan;
}

}  // namespace atl::hostnet
