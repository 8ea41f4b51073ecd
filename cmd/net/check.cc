// SPDX-License-Identifier: Apache-2.0
// net check: why guests do not reach the network, and what mends it.
#include "lib/hostnet/check.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cmd/net/commands.h"
#include "cmd/net/report.h"
#include "lib/base/status_macros.h"
#include "lib/cli/json.h"
#include "lib/cli/main.h"
#include "lib/cli/table.h"
#include "lib/netlink/socket.h"

namespace atl::net_tool {
namespace {

constexpr int kExitFaults = 3;

constexpr cli::Option kOptions[] = {kJson};

std::string ToJson(const std::vector<hostnet::Fault>& faults,
                   const std::vector<std::string>& not_seen) {
  cli::JsonWriter json;
  json.BeginObject().Key("faults").BeginArray();
  for (const hostnet::Fault& fault : faults) {
    json.BeginObject().Key("name").String(fault.name).Key("what").String(fault.what);
    json.Key("fix").String(fault.fix).EndObject();
  }
  json.EndArray().Key("not-seen").BeginArray();
  for (const std::string& text : not_seen) json.String(text);
  json.EndArray().EndObject();
  return absl::StrCat(json.text(), "\n");
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  ASSIGN_OR_RETURN(netlink::Socket socket, netlink::Socket::Open());
  ASSIGN_OR_RETURN(const hostnet::Findings findings, hostnet::Gather(&socket));
  for (const std::string& name : args.operands) {
    if (findings.state.Find(name) == nullptr) {
      return absl::NotFoundError(absl::StrCat(name, ": there is no such interface"));
    }
  }
  const std::vector<hostnet::Fault> faults =
      hostnet::Check(findings, args.operands, cli::ProgramName());
  if (args.Has("-j")) {
    cli::Print(ToJson(faults, findings.not_seen));
  } else {
    for (const std::string& text : findings.not_seen) {
      cli::PrintWarning(cli::ProgramName(), absl::StrCat("not looked at: ", text));
    }
    for (const hostnet::Fault& fault : faults) {
      cli::Print(absl::StrCat(fault.name, ": ", cli::Printable(fault.what),
                              "\n  fix: ", cli::Printable(fault.fix), "\n"));
    }
    if (faults.empty()) cli::Print("no faults\n");
  }
  return faults.empty() ? cli::kExitDone : kExitFaults;
}

}  // namespace

const cli::Command kCheck = {
    .name = "check",
    .operands = "[IF]...",
    .summary = "find what keeps guests from the network, and the command that mends it",
    .options = kOptions,
    .max_operands = 1000,
    .run = Run,
    .notes = "Exit status: 0 no faults, 3 faults were found.",
};

}  // namespace atl::net_tool
