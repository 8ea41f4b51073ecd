// SPDX-License-Identifier: Apache-2.0
// net ifup, net ifdown, net script: what happens to an interface when a guest
// starts and ends.
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cmd/net/commands.h"
#include "cmd/net/report.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/host/filter.h"
#include "lib/hostnet/links.h"
#include "lib/hostnet/names.h"

namespace atl::net_tool {
namespace {

constexpr char kUpScript[] = "/etc/atoll-ifup";
constexpr char kDownScript[] = "/etc/atoll-ifdown";

constexpr cli::Option kBridgeName = {
    .name = "-b",
    .alias = "--bridge",
    .arg = "NAME",
    .kind = cli::Kind::kString,
    .help = "make the interface a port of this bridge",
    .default_text = "none",
};
constexpr cli::Option kAddress = {
    .name = "-a",
    .alias = "--address",
    .arg = "ADDR/BITS",
    .kind = cli::Kind::kString,
    .help = "give the interface this address",
    .default_text = "none",
};
constexpr cli::Option kUpOptions[] = {kBridgeName, kAddress, kDryRun, kJson};
constexpr cli::Option kDownOptions[] = {kDryRun, kJson};
constexpr cli::Option kScriptOptions[] = {
    kBridgeName,
    kAddress,
    {.name = "--down", .help = "the script for ifdown, that takes back what the other does"},
    {.name = "--ifconfig", .help = "with ifconfig and brctl instead of ip"},
};

// The script to run: the operand, else the usual one where it is there and
// nothing else is asked for.
std::optional<std::string> ScriptOf(const cli::Parsed& args, const char* usual) {
  if (args.operands.size() > 1) return args.operands[1];
  if (!args.Has("-b") && !args.Has("-a") && access(usual, X_OK) == 0) return usual;
  return std::nullopt;
}

absl::StatusOr<int> RunScript(const cli::Parsed& args, const std::string& script,
                              const std::string& name) {
  // The interface may be another's, or one that is made by the script.
  const std::string path = absl::StrContains(script, '/') ? script : absl::StrCat("./", script);
  if (args.Has("-n")) {
    cli::Print(absl::StrCat(hostnet::ShellWord(path), " ", hostnet::ShellWord(name), "\n"));
    return cli::kExitDone;
  }
  if (access(path.c_str(), F_OK) == 0 && access(path.c_str(), X_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": it cannot be executed: chmod +x ", hostnet::ShellWord(path)));
  }
  ASSIGN_OR_RETURN(const host::FilterResult result, host::RunFilter({path, name}));
  if (result.exit_code != 0) {
    std::string said = absl::StrCat(result.output, result.errors);
    while (!said.empty() && said.back() == '\n') said.pop_back();
    return absl::InternalError(absl::StrCat(path, " ", name, ": exit status ", result.exit_code,
                                            said.empty() ? "" : ": ", said));
  }
  if (args.Has("-j")) {
    hostnet::Plan ran;
    ran.Add(absl::StrCat(path, " ", name), [] { return absl::OkStatus(); });
    Tell(args, true, ran, name, "", {{"script", path}});
  } else {
    cli::Print(result.output);
  }
  return cli::kExitDone;
}

absl::StatusOr<std::optional<netlink::IpPrefix>> AddressOption(const cli::Parsed& args) {
  std::optional<netlink::IpPrefix> out;
  const std::optional<std::string> text = args.Text("-a");
  if (!text) return out;
  absl::StatusOr<netlink::IpPrefix> parsed = netlink::ParseIpPrefix(*text);
  if (!parsed.ok()) return cli::UsageError(parsed.status().message());
  out = *parsed;
  return out;
}

absl::StatusOr<int> RunUp(const cli::Parsed& args) {
  const std::string& name = args.operands[0];
  RETURN_IF_ERROR(hostnet::CheckName(name));
  if (const std::optional<std::string> script = ScriptOf(args, kUpScript)) {
    return RunScript(args, *script, name);
  }
  ASSIGN_OR_RETURN(const std::optional<netlink::IpPrefix> address, AddressOption(args));
  const hostnet::ChangeLock lock = hostnet::ChangeLock::Take();
  ASSIGN_OR_RETURN(View view, Look(Rules::kNone));
  ASSIGN_OR_RETURN(const hostnet::Plan plan,
                   hostnet::PlanIfUp(view.host, name, args.TextOr("-b", ""), address));
  return CarryOut(args, plan, name, "up");
}

absl::StatusOr<int> RunDown(const cli::Parsed& args) {
  const std::string& name = args.operands[0];
  RETURN_IF_ERROR(hostnet::CheckName(name));
  if (const std::optional<std::string> script = ScriptOf(args, kDownScript)) {
    return RunScript(args, *script, name);
  }
  const hostnet::ChangeLock lock = hostnet::ChangeLock::Take();
  ASSIGN_OR_RETURN(View view, Look(Rules::kNone));
  ASSIGN_OR_RETURN(const hostnet::Plan plan, hostnet::PlanIfDown(view.host, name));
  return CarryOut(args, plan, name, "down");
}

std::string Netmask(const netlink::IpPrefix& address) {
  return netlink::Ipv4(address.length == 0 ? 0 : ~0u << (32 - address.length), 32).AddressText();
}

absl::StatusOr<int> RunPrint(const cli::Parsed& args) {
  ASSIGN_OR_RETURN(const std::optional<netlink::IpPrefix> address, AddressOption(args));
  const std::string bridge = args.TextOr("-b", "");
  if (!bridge.empty()) {
    absl::Status valid = hostnet::CheckName(bridge);
    if (!valid.ok()) return cli::UsageError(valid.message());
  }
  const bool down = args.Has("--down");
  const bool old = args.Has("--ifconfig");
  if (old && address && address->family != AF_INET) {
    return cli::UsageError("option '--ifconfig': IPv6 addresses are given with ip");
  }
  std::string text = absl::StrCat("#!/bin/sh\n# Run when a guest ", down ? "ends" : "starts",
                                  "; $1 is the tap.\nset -e\n");
  std::vector<std::string> lines;
  if (!bridge.empty()) {
    lines.push_back(old ? absl::StrCat("brctl ", down ? "delif " : "addif ", bridge, " \"$1\"")
                        : absl::StrCat("ip link set dev \"$1\" ",
                                       down ? "nomaster" : absl::StrCat("master ", bridge)));
  }
  if (address && old) {
    if (!down) {
      lines.push_back(
          absl::StrCat("ifconfig \"$1\" ", address->AddressText(), " netmask ", Netmask(*address)));
    }
  } else if (address) {
    lines.push_back(down ? absl::StrCat("ip address del ", address->Text(), " dev \"$1\"")
                         : absl::StrCat("ip address replace ", address->Text(), " dev \"$1\""));
  }
  lines.push_back(old ? absl::StrCat("ifconfig \"$1\" ", down ? "down" : "up")
                      : absl::StrCat("ip link set dev \"$1\" ", down ? "down" : "up"));
  for (const std::string& line : lines) absl::StrAppend(&text, line, "\n");
  cli::Print(text);
  return cli::kExitDone;
}

}  // namespace

const cli::Command kIfUp = {
    .name = "ifup",
    .operands = "IF [SCRIPT]",
    .summary = "run the script that sets an interface up, or do it without one",
    .options = kUpOptions,
    .min_operands = 1,
    .max_operands = 2,
    .run = RunUp,
    .notes =
        "SCRIPT is /etc/atoll-ifup by default, where that is there and no option is\n"
        "given.",
};

const cli::Command kIfDown = {
    .name = "ifdown",
    .operands = "IF [SCRIPT]",
    .summary = "run the script that takes an interface down, or do it without one",
    .options = kDownOptions,
    .min_operands = 1,
    .max_operands = 2,
    .run = RunDown,
    .notes = "SCRIPT is /etc/atoll-ifdown by default, where that is there.",
};

const cli::Command kScript = {
    .name = "script",
    .summary = "print a script for ifup or ifdown",
    .options = kScriptOptions,
    .run = RunPrint,
};

}  // namespace atl::net_tool
