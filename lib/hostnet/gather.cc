// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/host/filter.h"
#include "lib/hostnet/check.h"

namespace atl::hostnet {
namespace {

bool There(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

std::string Contents(const std::string& path) {
  std::string out;
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[65536];
  ssize_t n = 0;
  // modules.dep has about half a megabyte.
  while (fd.valid() && out.size() < (8u << 20) && (n = read(fd.get(), buffer, sizeof buffer)) > 0) {
    out.append(buffer, static_cast<size_t>(n));
  }
  return out;
}

// True also where it cannot be told: a kernel without modules has no lists.
bool ModuleThere(const std::string& name) {
  if (There(absl::StrCat("/sys/module/", name))) return true;
  struct utsname kernel = {};
  if (uname(&kernel) != 0) return true;
  const std::string folder = absl::StrCat("/lib/modules/", kernel.release);
  if (!There(folder)) return true;
  const std::string file = absl::StrCat("/", name, ".ko");
  return absl::StrContains(Contents(folder + "/modules.builtin"), file) ||
         absl::StrContains(Contents(folder + "/modules.dep"), file);
}

}  // namespace

absl::StatusOr<Findings> Gather(netlink::Socket* socket) {
  Findings out;
  ASSIGN_OR_RETURN(out.state, ReadHostState(socket));
  ASSIGN_OR_RETURN(out.neighbours, netlink::ListNeighbours(socket));
  out.tun_device = There("/dev/net/tun");
  out.bridge_module = ModuleThere("bridge");
  absl::StatusOr<Ruleset> rules = ReadRuleset();
  if (rules.ok()) {
    out.rules = *std::move(rules);
  } else if (rules.status().code() == absl::StatusCode::kNotFound) {
    out.nft_program = false;
  } else if (absl::StrContains(rules.status().message(), "not supported")) {
    out.nf_tables = false;
  } else {
    out.not_seen.push_back(absl::StrCat("packet filters: ", rules.status().message()));
  }
  if (absl::StrContains(Contents("/proc/net/ip_tables_names"), "filter")) {
    absl::StatusOr<host::FilterResult> legacy =
        host::RunFilter({"iptables-legacy", "-S", "FORWARD"});
    if (legacy.ok() && legacy->exit_code == 0) {
      out.legacy_forward = legacy->output;
    } else {
      out.not_seen.push_back(absl::StrCat(
          "iptables' old tables: ", legacy.ok() ? legacy->errors : legacy.status().ToString()));
    }
  }
  return out;
}

}  // namespace atl::hostnet
