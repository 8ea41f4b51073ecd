// SPDX-License-Identifier: Apache-2.0
// The doctor: what is known to keep guests from the network, looked for one by
// one, each with the command that mends it.
#ifndef LIB_HOSTNET_CHECK_H_
#define LIB_HOSTNET_CHECK_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/hostnet/host_state.h"
#include "lib/hostnet/nft.h"
#include "lib/netlink/rtnetlink.h"
#include "lib/netlink/socket.h"

namespace atl::hostnet {

struct Fault {
  std::string name;  // "forwarding"; the man page lists them
  std::string what;  // one line: where, what, what comes of it
  std::string fix;   // one line for a root shell
};

// All that the checks look at, gathered before them.
struct Findings {
  HostState state;
  std::vector<netlink::Neighbour> neighbours;
  Ruleset rules;
  // `iptables-legacy -S FORWARD`, where the kernel has such tables.
  std::string legacy_forward;
  std::function<std::optional<int>(absl::string_view)> read_switch = ReadSwitch;
  bool tun_device = true;     // /dev/net/tun
  bool bridge_module = true;  // loaded, built in, or there to be loaded
  bool nft_program = true;
  bool nf_tables = true;  // the kernel has them
  // What could not be looked at, for want of rights.
  std::vector<std::string> not_seen;
};

// Never fails for what is missing: that is a finding.
absl::StatusOr<Findings> Gather(netlink::Socket* socket);

// The faults, those of the whole host first. `links` are the interfaces that
// guests are behind; empty: those with a tag of ours, bridges with taps in them,
// taps in no bridge. `tool` is what this program is called in a fix.
std::vector<Fault> Check(const Findings& findings, const std::vector<std::string>& links,
                         absl::string_view tool);

}  // namespace atl::hostnet

#endif  // LIB_HOSTNET_CHECK_H_
