// SPDX-License-Identifier: Apache-2.0
// What the verbs that change the host's network have in one: how they look at
// it, and how a plan is shown or carried out.
#ifndef CMD_NET_REPORT_H_
#define CMD_NET_REPORT_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/cli/option.h"
#include "lib/hostnet/links.h"
#include "lib/hostnet/steps.h"
#include "lib/netlink/socket.h"

namespace atl::net_tool {

inline constexpr cli::Option kDryRun = {
    .name = "-n",
    .alias = "--dry-run",
    .help = "change nothing; print what would be done as commands of ip, nft and sysctl",
};
inline constexpr cli::Option kJson = {
    .name = "-j",
    .alias = "--json",
    .help = "print the result as JSON",
};
inline constexpr cli::Option kForce = {
    .name = "-F",
    .alias = "--force",
    .help = "delete what somebody else has made, or another process holds",
};

// The host as it is, with the socket that plans need.
struct View {
  std::unique_ptr<netlink::Socket> socket;
  hostnet::Host host;
};
enum class Rules {
  kNone,    // not asked for
  kIfAny,   // none where nft is not installed
  kNeeded,  // an error where nft cannot show them
};
absl::StatusOr<View> Look(Rules rules);

// A result's further facts, for people and for JSON: {"address", "10.77.1.1/24"}.
using Facts = std::vector<std::pair<std::string, std::string>>;

// Shows the plan, or carries it out and says whether anything changed. `args`
// has kDryRun and kJson. `done` is the word for people: "up".
absl::StatusOr<int> CarryOut(const cli::Parsed& args, const hostnet::Plan& plan,
                             absl::string_view object, absl::string_view done,
                             const Facts& facts = {});

// The same in two halves, for those who go on afterwards.
bool ShowOnly(const cli::Parsed& args, const hostnet::Plan& plan, absl::string_view object);
void Tell(const cli::Parsed& args, bool changed, const hostnet::Plan& plan,
          absl::string_view object, absl::string_view done, const Facts& facts);

// "auto" or 10.0.1.1/24; nullopt for auto.
absl::StatusOr<std::optional<netlink::IpPrefix>> ParseSubnet(const std::string& text);
// An option's MAC address, where it is given.
absl::StatusOr<std::optional<netlink::MacAddress>> MacOption(const cli::Parsed& args);
std::optional<uint32_t> MtuOption(const cli::Parsed& args);

}  // namespace atl::net_tool

#endif  // CMD_NET_REPORT_H_
