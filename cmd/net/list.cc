// SPDX-License-Identifier: Apache-2.0
// net list: the taps, bridges and translations of this host, and whose they are.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cmd/net/commands.h"
#include "cmd/net/report.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/cli/json.h"
#include "lib/cli/main.h"
#include "lib/cli/table.h"
#include "lib/hostnet/nat.h"
#include "lib/hostnet/tag.h"

namespace atl::net_tool {
namespace {

constexpr cli::Option kOptions[] = {kJson};

struct Item {
  std::string name;
  std::string kind;   // tap, bridge, nat
  std::string state;  // up, down
  std::string owner;  // kept, "process 12", "dead process 12", "-"
  std::string bridge;
  std::string address;
  std::vector<std::string> users;  // "812 qemu"
};

std::string FirstBytes(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[1024];
  const ssize_t n = fd.valid() ? read(fd.get(), text, sizeof text) : -1;
  return n > 0 ? std::string(text, static_cast<size_t>(n)) : "";
}

std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(folder.c_str()), closedir);
  while (const dirent* entry = dir ? readdir(dir.get()) : nullptr) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  return names;
}

// Which processes have each tap open, as far as this user may see.
std::map<std::string, std::vector<std::string>> TapUsers() {
  std::map<std::string, std::vector<std::string>> users;
  for (const std::string& pid : Names("/proc")) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(pid[0]))) continue;
    const std::string folder = absl::StrCat("/proc/", pid, "/fd");
    for (const std::string& fd : Names(folder)) {
      char target[32];
      const ssize_t n = readlink(absl::StrCat(folder, "/", fd).c_str(), target, sizeof target);
      if (n < 0 || absl::string_view(target, static_cast<size_t>(n)) != "/dev/net/tun") continue;
      for (absl::string_view line :
           absl::StrSplit(FirstBytes(absl::StrCat("/proc/", pid, "/fdinfo/", fd)), '\n')) {
        if (!absl::ConsumePrefix(&line, "iff:")) continue;
        const std::string name(absl::StripAsciiWhitespace(line));
        const std::string command = FirstBytes(absl::StrCat("/proc/", pid, "/comm"));
        std::string user =
            absl::StrCat(pid, " ", cli::Printable(absl::StripAsciiWhitespace(command)));
        std::vector<std::string>& all = users[name];
        if (all.empty() || all.back() != user) all.push_back(std::move(user));
      }
    }
  }
  return users;
}

std::string Owner(const std::optional<hostnet::Tag>& tag) {
  if (!tag) return "-";
  if (tag->HalfChanged()) return absl::StrCat("kept, half-changed by dead process ", tag->by->pid);
  if (tag->kept) return "kept";
  return absl::StrCat(tag->Dead() ? "dead process " : "process ", tag->by->pid);
}

std::vector<Item> Items(const hostnet::Host& host) {
  std::vector<Item> items;
  auto users = TapUsers();
  for (const netlink::Link& link : host.state.links) {
    if (!link.is_tap() && link.kind != "bridge") continue;
    const std::optional<netlink::IpPrefix> address = host.state.AddressOf(link);
    items.push_back({.name = link.name,
                     .kind = link.is_tap() ? "tap" : "bridge",
                     .state = link.up() ? "up" : "down",
                     .owner = Owner(hostnet::Tag::Parse(link.alias)),
                     .bridge = link.master == 0 ? "" : host.state.NameOf(link.master),
                     .address = address ? address->Text() : "",
                     .users = users[link.name]});
  }
  for (const hostnet::FoundNat& nat : hostnet::FindNats(host.rules)) {
    items.push_back({.name = nat.link,
                     .kind = "nat",
                     .state = nat.table ? "up" : "half",
                     .owner = Owner(nat.tag),
                     .address = nat.subnet ? nat.subnet->Text() : ""});
  }
  return items;
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  absl::StatusOr<View> looked = Look(Rules::kIfAny);
  // Without rights the packet filter cannot be read, but the rest can.
  if (absl::IsPermissionDenied(looked.status())) {
    cli::PrintWarning(cli::ProgramName(),
                      absl::StrCat("not looked at: ", looked.status().message()));
    looked = Look(Rules::kNone);
  }
  ASSIGN_OR_RETURN(const View view, std::move(looked));
  const std::vector<Item> items = Items(view.host);
  if (args.Has("-j")) {
    cli::JsonWriter json;
    json.BeginArray();
    for (const Item& item : items) {
      json.BeginObject().Key("name").String(item.name).Key("kind").String(item.kind);
      json.Key("state").String(item.state).Key("owner").String(item.owner);
      json.Key("bridge").String(item.bridge).Key("address").String(item.address);
      json.Key("users").BeginArray();
      for (const std::string& user : item.users) json.String(user);
      json.EndArray().EndObject();
    }
    json.EndArray();
    cli::Print(absl::StrCat(json.text(), "\n"));
    return cli::kExitDone;
  }
  cli::TextTable table;
  for (absl::string_view column :
       {"NAME", "KIND", "STATE", "BRIDGE", "ADDRESS", "OWNER", "USED BY"})
    table.AddColumn(column);
  for (const Item& item : items) {
    table.AddRow({cli::Printable(item.name), item.kind, item.state, cli::Printable(item.bridge),
                  item.address, item.owner, absl::StrJoin(item.users, ", ")});
  }
  cli::Print(table.ToString());
  return cli::kExitDone;
}

}  // namespace

const cli::Command kList = {
    .name = "list",
    .summary = "show taps, bridges and translations, and whose they are",
    .options = kOptions,
    .run = Run,
};

}  // namespace atl::net_tool
