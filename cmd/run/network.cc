// SPDX-License-Identifier: Apache-2.0
#include "cmd/run/network.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"
#include "lib/cli/suggest.h"
#include "lib/net/tap.h"
#include "lib/nic/nic.h"
#include "lib/usernet/options.h"

namespace atl::run {
namespace {

using cli::Kind;
using cli::Option;
using cli::Parsed;
using cli::Repeat;
using cli::UsageError;

constexpr uint64_t kMaxFd = 1 << 20;
constexpr uint64_t kMaxHub = 255;
constexpr absl::string_view kDefaultModel = "virtio";

constexpr Option kPlaceKeys[] = {
    {.name = "vlan",
     .arg = "N",
     .kind = Kind::kUnsigned,
     .help = "the hub that it hangs on",
     .default_text = "0",
     .max = kMaxHub},
};

constexpr Option kCardKeys[] = {
    {.name = "macaddr",
     .alias = "mac",
     .arg = "MAC",
     .kind = Kind::kString,
     .help = "the card's address",
     .default_text = "made from the guest's name"},
    {.name = "model",
     .arg = "MODEL",
     .kind = Kind::kString,
     .help = "the card; model=help lists them",
     .default_text = "virtio"},
    {.name = "romfile",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "ROM for booting over the network; empty: none",
     .default_text = "the model's, where -boot names n"},
    {.name = "id", .alias = "name", .arg = "ID", .kind = Kind::kString, .help = "its name"},
};

constexpr Option kNetdevKeys[] = {
    {.name = "netdev",
     .arg = "ID",
     .kind = Kind::kString,
     .help = "the -netdev that it is joined with, instead of a hub"},
};

constexpr Option kBackendKeys[] = {
    {.name = "id", .alias = "name", .arg = "ID", .kind = Kind::kString, .help = "its name"},
};

constexpr Option kTapKeys[] = {
    {.name = "ifname",
     .arg = "NAME",
     .kind = Kind::kString,
     .help = "the interface, made where it is not there",
     .default_text = "the next free tapN"},
    {.name = "fd",
     .arg = "N",
     .kind = Kind::kUnsigned,
     .help = "an inherited descriptor of a tap",
     .max = kMaxFd},
    {.name = "script",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "program that gets the interface's name when it is there",
     .default_text = "no"},
    {.name = "downscript",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "program that gets it when the guest has ended",
     .default_text = "no"},
    {.name = "vnet_hdr",
     .arg = "on|off",
     .kind = Kind::kBool,
     .help = "leave checksums and segmentation to the host",
     .default_text = "on"},
    {.name = "vhost",
     .arg = "on|off",
     .kind = Kind::kBool,
     .help = "on KVM, a virtio card is served by the kernel (vhost_net)",
     .default_text = "off"},
};

constexpr Option kStreamKeys[] = {
    {.name = "path",
     .alias = "addr.path",
     .arg = "SOCKET",
     .kind = Kind::kString,
     .help = "the unix socket to connect to"},
    {.name = "fd",
     .arg = "N",
     .kind = Kind::kUnsigned,
     .help = "an inherited descriptor of a connected socket",
     .max = kMaxFd},
    {.name = "addr.type",
     .arg = "unix",
     .kind = Kind::kEnum,
     .help = "accepted: unix",
     .default_text = "unix",
     .choices = "unix"},
    {.name = "server",
     .arg = "off",
     .kind = Kind::kEnum,
     .help = "accepted: off, always",
     .default_text = "off",
     .choices = "off"},
};

constexpr Option kUserKeys[] = {
    {.name = "net",
     .arg = "NET",
     .kind = Kind::kString,
     .help = "the guest's IPv4 network",
     .default_text = "10.0.2.0/24"},
    {.name = "ipv6-net",
     .arg = "NET",
     .kind = Kind::kString,
     .help = "the guest's IPv6 network, a /64",
     .default_text = "fec0::/64"},
    {.name = "host",
     .arg = "ADDR",
     .kind = Kind::kString,
     .help = "the gateway's address, which is also the host's",
     .default_text = "the network's .2"},
    {.name = "dns",
     .arg = "ADDR",
     .kind = Kind::kString,
     .help = "the name server's address",
     .default_text = "the network's .3"},
    {.name = "dhcpstart",
     .arg = "ADDR",
     .kind = Kind::kString,
     .help = "the first address that DHCP gives",
     .default_text = "the network's .15"},
    {.name = "hostname",
     .arg = "NAME",
     .kind = Kind::kString,
     .help = "what DHCP tells the guest it is called"},
    {.name = "domainname", .arg = "NAME", .kind = Kind::kString, .help = "domain that DHCP tells"},
    {.name = "dnssearch",
     .arg = "DOMAIN",
     .kind = Kind::kString,
     .help = "domain that the guest looks names up in",
     .repeat = Repeat::kEach},
    {.name = "tftp",
     .arg = "FOLDER",
     .kind = Kind::kString,
     .help = "serve the files below it by TFTP"},
    {.name = "bootfile",
     .arg = "NAME",
     .kind = Kind::kString,
     .help = "what a guest that boots from the network loads"},
    {.name = "tftp-server-name",
     .arg = "NAME",
     .kind = Kind::kString,
     .help = "what DHCP calls the server"},
    {.name = "hostfwd",
     .arg = "RULE",
     .kind = Kind::kString,
     .help = "forward a port: tcp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT, or udp:...",
     .repeat = Repeat::kEach},
    {.name = "restrict",
     .arg = "on|off",
     .kind = Kind::kBool,
     .help = "the guest reaches neither host nor world; forwards work",
     .default_text = "off"},
    {.name = "ipv4",
     .arg = "on|off",
     .kind = Kind::kBool,
     .help = "with IPv4",
     .default_text = "on"},
    {.name = "ipv6",
     .arg = "on|off",
     .kind = Kind::kBool,
     .help = "with IPv6",
     .default_text = "on"},
    {.name = "mtu",
     .arg = "N",
     .kind = Kind::kUnsigned,
     .help = "the largest packet",
     .default_text = "1500",
     .min = 576,
     .max = 65521},
    {.name = "pcap", .arg = "FILE", .kind = Kind::kString, .help = "write all frames to it"},
};

template <size_t... kSizes>
constexpr auto Joined(const Option (&... tables)[kSizes]) {
  std::array<Option, (kSizes + ...)> out{};
  size_t n = 0;
  const auto add = [&](std::span<const Option> table) {
    for (const Option& o : table) out[n++] = o;
  };
  (add(tables), ...);
  return out;
}

// As -net and -netdev take them, and as -nic does with the card's.
constexpr auto kNic = Joined(kPlaceKeys, kCardKeys, kNetdevKeys);
constexpr auto kTap = Joined(kPlaceKeys, kBackendKeys, kTapKeys);
constexpr auto kTapNic = Joined(kCardKeys, kTapKeys);
constexpr auto kUser = Joined(kPlaceKeys, kBackendKeys, kUserKeys);
constexpr auto kUserNic = Joined(kCardKeys, kUserKeys);
constexpr auto kStream = Joined(kPlaceKeys, kBackendKeys, kStreamKeys);
constexpr auto kStreamNic = Joined(kCardKeys, kStreamKeys);

constexpr NetworkKind kKinds[] = {
    {"nic", "a network card", kNic, kNic},
    {"tap", "an interface of the host", kTap, kTapNic},
    {"user", "a network that needs no rights", kUser, kUserNic},
    {"stream", "a stream socket, as QEMU's and passt's", kStream, kStreamNic},
    {"none", "nothing", {}, {}},
};

absl::string_view Canonical(absl::string_view device) {
  // As QEMU's -device calls it.
  if (device == "virtio-net-pci" || device == "virtio-net") return "virtio";
  return device;
}

// One -net, -nic, -netdev or -device.
struct Item {
  std::string what;  // "option '-net tap'"
  std::string option;
  const NetworkKind* kind = nullptr;
  Parsed keys;
};

class Networks {
 public:
  explicit Networks(vm::MachineConfig& machine) : machine_(machine) {}

  absl::Status AddNet(absl::string_view text);
  absl::Status AddShort(absl::string_view text, unsigned index);
  absl::Status AddNetdev(absl::string_view text);
  absl::Status AddDevice(absl::string_view type, absl::string_view rest);
  absl::Status Finish();

 private:
  absl::Status AddNic(const Item& item, std::string hub);
  absl::Status AddBackend(const Item& item, std::string hub);
  absl::StatusOr<std::string> HubOf(const Item& item) const;

  vm::MachineConfig& machine_;
  std::set<std::string> netdevs_;
  std::set<std::string> joined_;  // netdevs that a card has
};

std::string Names() {
  return absl::StrJoin(
      kKinds, ", ", [](std::string* out, const NetworkKind& k) { absl::StrAppend(out, k.name); });
}

// Takes the first word off and parses the rest by its table.
absl::StatusOr<Item> ParseItem(absl::string_view option, absl::string_view text,
                               bool with_card = false) {
  const size_t comma = std::min(text.find(','), text.size());
  absl::string_view name = text.substr(0, comma);
  absl::ConsumePrefix(&name, "type=");
  const auto* kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                  [name](const NetworkKind& k) { return k.name == name; });
  if (kind == std::end(kKinds)) {
    std::vector<absl::string_view> names;
    for (const NetworkKind& k : kKinds) names.push_back(k.name);
    return UsageError(absl::StrCat("option '", option, "': no such network '", name, "'",
                                   cli::DidYouMean(name, names), "; there is ", Names()));
  }
  Item item;
  item.option = absl::StrCat(option, " ", name);
  item.what = absl::StrCat("option '", item.option, "'");
  item.kind = kind;
  const absl::string_view rest = comma < text.size() ? text.substr(comma + 1) : "";
  if (rest.empty()) return item;
  ASSIGN_OR_RETURN(item.keys,
                   cli::ParseKeyList(item.what, rest, with_card ? kind->card_keys : kind->keys));
  return item;
}

absl::StatusOr<std::string> Networks::HubOf(const Item& item) const {
  if (item.keys.Has("netdev")) {
    if (item.keys.Has("vlan")) {
      return UsageError(absl::StrCat(item.what, ": either 'vlan' or 'netdev'"));
    }
    return absl::StrCat("netdev ", item.keys.TextOr("netdev", ""));
  }
  return absl::StrCat("vlan ", item.keys.NumberOr("vlan", 0));
}

absl::Status Networks::AddNet(absl::string_view text) {
  ASSIGN_OR_RETURN(const Item item, ParseItem("-net", text));
  if (item.kind->name == "none") return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string hub, HubOf(item));
  if (item.kind->name == "nic") return AddNic(item, std::move(hub));
  return AddBackend(item, std::move(hub));
}

absl::Status Networks::AddShort(absl::string_view text, unsigned index) {
  ASSIGN_OR_RETURN(const Item item, ParseItem("-nic", text, true));
  if (item.kind->name == "none") return absl::OkStatus();
  if (item.keys.Has("vlan") || item.keys.Has("netdev")) {
    return UsageError(absl::StrCat(item.what, ": the card and what it is joined with are one: no ",
                                   "'vlan' or 'netdev'"));
  }
  const std::string hub = absl::StrCat("nic ", index);
  RETURN_IF_ERROR(AddNic(item, hub));
  return item.kind->name == "nic" ? absl::OkStatus() : AddBackend(item, hub);
}

absl::Status Networks::AddNetdev(absl::string_view text) {
  ASSIGN_OR_RETURN(const Item item, ParseItem("-netdev", text));
  if (item.kind->name == "nic" || item.kind->name == "none") {
    return UsageError(absl::StrCat(item.what, ": a -netdev is what a card is joined with"));
  }
  const std::string id = item.keys.TextOr("id", "");
  if (id.empty()) return UsageError(absl::StrCat(item.what, ": needs 'id'"));
  if (!netdevs_.insert(id).second) {
    return UsageError(absl::StrCat(item.what, ": id '", id, "' is taken"));
  }
  return AddBackend(item, absl::StrCat("netdev ", id));
}

absl::Status Networks::AddDevice(absl::string_view type, absl::string_view rest) {
  ASSIGN_OR_RETURN(Item item, ParseItem("-device", absl::StrCat("nic,", rest)));
  item.option = absl::StrCat("-device ", type);
  item.what = absl::StrCat("option '", item.option, "'");
  if (item.keys.Has("model")) return UsageError(absl::StrCat(item.what, ": no key 'model'"));
  if (!item.keys.Has("netdev") && !item.keys.Has("vlan")) {
    return UsageError(absl::StrCat(item.what, ": needs 'netdev', the id of a -netdev"));
  }
  ASSIGN_OR_RETURN(std::string hub, HubOf(item));
  RETURN_IF_ERROR(AddNic(item, std::move(hub)));
  machine_.nics.back().model = std::string(Canonical(type));
  return absl::OkStatus();
}

absl::Status Networks::AddNic(const Item& item, std::string hub) {
  vm::NicConfig nic;
  nic.option = item.option;
  nic.hub = std::move(hub);
  nic.model = std::string(Canonical(item.keys.TextOr("model", kDefaultModel)));
  if (nic::FindNicModel(nic.model) == nullptr) {
    std::vector<absl::string_view> names;
    for (const nic::NicModel* m : nic::NicModels()) names.push_back(m->name);
    return UsageError(absl::StrCat(item.what, ": no such model '", nic.model, "'",
                                   cli::DidYouMean(nic.model, names), "; there is ", CardNames()));
  }
  nic.mac = net::MacFor(machine_.name, static_cast<unsigned>(machine_.nics.size()));
  if (const std::optional<std::string> text = item.keys.Text("macaddr")) {
    absl::StatusOr<net::MacAddress> mac = net::ParseMac(*text);
    if (!mac.ok()) {
      return UsageError(absl::StrCat(item.what, ": macaddr: ", mac.status().message()));
    }
    nic.mac = *mac;
  }
  nic.rom = item.keys.Text("romfile");
  if (item.keys.Has("netdev")) {
    const std::string id = item.keys.TextOr("netdev", "");
    if (!joined_.insert(id).second) {
      return UsageError(absl::StrCat(item.what, ": netdev '", id, "' has a card already"));
    }
  }
  machine_.nics.push_back(std::move(nic));
  return absl::OkStatus();
}

absl::StatusOr<usernet::Options> UserOptions(const Item& item) {
  usernet::Options o;
  const auto wrong = [&item](absl::string_view key, absl::string_view why) {
    return UsageError(absl::StrCat(item.what, ": ", key, ": ", why));
  };
  for (absl::string_view key : {"net", "ipv6-net"}) {
    if (const std::optional<std::string> text = item.keys.Text(key)) {
      const absl::Status parsed = usernet::ParseNetwork(*text, &o);
      if (!parsed.ok()) return wrong(key, parsed.message());
    }
  }
  const struct {
    absl::string_view key;
    uint32_t* to;
  } addresses[] = {{"host", &o.gateway}, {"dns", &o.nameserver}, {"dhcpstart", &o.first_lease}};
  for (const auto& [key, to] : addresses) {
    const std::optional<std::string> text = item.keys.Text(key);
    if (!text) continue;
    const std::optional<usernet::IpAddress> address = usernet::IpAddress::Parse(*text);
    if (!address || !address->is4()) {
      return wrong(key, absl::StrCat("'", *text, "' is no IPv4 address"));
    }
    *to = address->v4();
  }
  o.ipv4 = item.keys.OnOr("ipv4", true);
  o.ipv6 = item.keys.OnOr("ipv6", true);
  o.hostname = item.keys.TextOr("hostname", "");
  o.domain = item.keys.TextOr("domainname", "");
  for (const cli::Given* g : item.keys.All("dnssearch")) o.search.push_back(g->text);
  o.tftp = item.keys.TextOr("tftp", "");
  o.bootfile = item.keys.TextOr("bootfile", "");
  o.next_server = item.keys.TextOr("tftp-server-name", "");
  for (const cli::Given* g : item.keys.All("hostfwd")) {
    absl::StatusOr<usernet::Forward> forward = usernet::ParseForward(g->text);
    if (!forward.ok()) return wrong("hostfwd", forward.status().message());
    o.forwards.push_back(*std::move(forward));
  }
  o.restricted = item.keys.OnOr("restrict", false);
  o.mtu = static_cast<uint32_t>(item.keys.NumberOr("mtu", o.mtu));
  o.pcap = item.keys.TextOr("pcap", "");
  absl::StatusOr<usernet::Options> completed = usernet::Completed(o);
  if (!completed.ok())
    return UsageError(absl::StrCat(item.what, ": ", completed.status().message()));
  return completed;
}

absl::Status Networks::AddBackend(const Item& item, std::string hub) {
  vm::BackendConfig backend;
  backend.option = item.option;
  backend.hub = std::move(hub);
  if (std::optional<uint64_t> fd = item.keys.Number("fd")) {
    if (*fd < 3) {
      return UsageError(absl::StrCat(item.what, ": fd=", *fd, " is the terminal's"));
    }
    backend.fd = static_cast<int>(*fd);
  }
  if (item.kind->name == "user") {
    backend.kind = vm::BackendKind::kUser;
    ASSIGN_OR_RETURN(backend.user, UserOptions(item));
  } else if (item.kind->name == "stream") {
    backend.kind = vm::BackendKind::kStream;
    backend.path = item.keys.TextOr("path", "");
    if (backend.path.empty() == (backend.fd < 0)) {
      return UsageError(absl::StrCat(item.what, ": needs either 'path' or 'fd'"));
    }
  } else {
    backend.kind = vm::BackendKind::kTap;
    backend.ifname = item.keys.TextOr("ifname", "");
    if (!backend.ifname.empty()) {
      if (backend.fd >= 0) return UsageError(absl::StrCat(item.what, ": 'ifname' or 'fd'"));
      const absl::Status name = net::CheckInterfaceName(backend.ifname);
      if (!name.ok()) return UsageError(absl::StrCat(item.what, ": ifname: ", name.message()));
    }
    const auto program = [&item](absl::string_view key) {
      const std::string text = item.keys.TextOr(key, "no");
      return text == "no" ? std::string() : text;
    };
    backend.script = program("script");
    backend.down_script = program("downscript");
    backend.vnet_header = item.keys.OnOr("vnet_hdr", true);
    backend.vhost = item.keys.OnOr("vhost", false);
  }
  machine_.backends.push_back(std::move(backend));
  return absl::OkStatus();
}

absl::Status Networks::Finish() {
  for (const std::string& id : joined_) {
    if (netdevs_.count(id) != 0) continue;
    std::vector<absl::string_view> names(netdevs_.begin(), netdevs_.end());
    return UsageError(absl::StrCat("netdev=", id, ": there is no -netdev of that id",
                                   cli::DidYouMean(id, names)));
  }
  return absl::OkStatus();
}

}  // namespace

std::span<const NetworkKind> NetworkKinds() { return kKinds; }

bool IsCard(absl::string_view device) { return nic::FindNicModel(Canonical(device)) != nullptr; }

std::string CardNames() {
  return absl::StrJoin(nic::NicModels(), ", ", [](std::string* out, const nic::NicModel* m) {
    absl::StrAppend(out, m->name);
  });
}

absl::Status AddNetworks(const Parsed& args, vm::MachineConfig& machine) {
  Networks networks(machine);
  unsigned index = 0;
  // In the order given: cards are numbered.
  for (const cli::Given& given : args.given) {
    const absl::string_view name = given.option->name;
    if (name == "-net") RETURN_IF_ERROR(networks.AddNet(given.text));
    if (name == "-nic") RETURN_IF_ERROR(networks.AddShort(given.text, index++));
    if (name == "-netdev") RETURN_IF_ERROR(networks.AddNetdev(given.text));
    if (name != "-device") continue;
    const size_t comma = std::min(given.text.find(','), given.text.size());
    const std::string type = given.text.substr(0, comma);
    if (!IsCard(type)) continue;
    RETURN_IF_ERROR(
        networks.AddDevice(type, comma < given.text.size() ? given.text.substr(comma + 1) : ""));
  }
  return networks.Finish();
}

}  // namespace atl::run
