// SPDX-License-Identifier: Apache-2.0
#include "cmd/net/report.h"

#include <sys/socket.h>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/cli/json.h"
#include "lib/cli/main.h"

namespace atl::net_tool {

absl::StatusOr<View> Look(Rules rules) {
  View view;
  ASSIGN_OR_RETURN(netlink::Socket socket, netlink::Socket::Open());
  view.socket = std::make_unique<netlink::Socket>(std::move(socket));
  view.host.socket = view.socket.get();
  ASSIGN_OR_RETURN(view.host.state, hostnet::ReadHostState(view.socket.get()));
  if (rules == Rules::kNone) return view;
  absl::StatusOr<hostnet::Ruleset> ruleset = hostnet::ReadRuleset();
  if (ruleset.ok()) {
    view.host.rules = *std::move(ruleset);
  } else if (rules == Rules::kNeeded || ruleset.status().code() != absl::StatusCode::kNotFound) {
    return ruleset.status();
  }
  return view;
}

bool ShowOnly(const cli::Parsed& args, const hostnet::Plan& plan, absl::string_view object) {
  if (!args.Has("-n")) return false;
  if (args.Has("-j")) {
    Tell(args, false, plan, object, "", {});
    return true;
  }
  if (plan.empty()) cli::Print(absl::StrCat("# ", object, ": unchanged\n"));
  for (const std::string& line : plan.Lines()) cli::Print(absl::StrCat(line, "\n"));
  return true;
}

void Tell(const cli::Parsed& args, bool changed, const hostnet::Plan& plan,
          absl::string_view object, absl::string_view done, const Facts& facts) {
  if (!args.Has("-j")) {
    std::string line = absl::StrCat(object, ": ", changed ? done : "unchanged");
    for (const auto& [key, value] : facts) absl::StrAppend(&line, ", ", key, " ", value);
    cli::Print(absl::StrCat(line, "\n"));
    return;
  }
  cli::JsonWriter json;
  json.BeginObject().Key("name").String(object).Key("changed").Bool(changed);
  for (const auto& [key, value] : facts) json.Key(key).String(value);
  json.Key("steps").BeginArray();
  for (const std::string& line : plan.Lines()) json.String(line);
  json.EndArray().EndObject();
  cli::Print(absl::StrCat(json.text(), "\n"));
}

absl::StatusOr<int> CarryOut(const cli::Parsed& args, const hostnet::Plan& plan,
                             absl::string_view object, absl::string_view done, const Facts& facts) {
  if (ShowOnly(args, plan, object)) return cli::kExitDone;
  RETURN_IF_ERROR(plan.Make());
  Tell(args, !plan.empty(), plan, object, done, facts);
  return cli::kExitDone;
}

absl::StatusOr<std::optional<netlink::IpPrefix>> ParseSubnet(const std::string& text) {
  std::optional<netlink::IpPrefix> out;
  if (text == "auto") return out;
  absl::StatusOr<netlink::IpPrefix> parsed = netlink::ParseIpPrefix(text);
  if (!parsed.ok()) return cli::UsageError(parsed.status().message());
  // A network without a host: the first address is the host's.
  if (parsed->family == AF_INET && parsed->length < 31 && *parsed == parsed->Network()) {
    parsed = netlink::Ipv4(parsed->V4() + 1, parsed->length);
  }
  out = *parsed;
  return out;
}

absl::StatusOr<std::optional<netlink::MacAddress>> MacOption(const cli::Parsed& args) {
  std::optional<netlink::MacAddress> out;
  const std::optional<std::string> text = args.Text("--mac");
  if (!text) return out;
  absl::StatusOr<netlink::MacAddress> mac = netlink::ParseMac(*text);
  if (!mac.ok()) return cli::UsageError(mac.status().message());
  out = *mac;
  return out;
}

std::optional<uint32_t> MtuOption(const cli::Parsed& args) {
  const std::optional<uint64_t> mtu = args.Number("--mtu");
  if (!mtu) return std::nullopt;
  return static_cast<uint32_t>(*mtu);
}

}  // namespace atl::net_tool
