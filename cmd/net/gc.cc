// SPDX-License-Identifier: Apache-2.0
// net gc: removes what processes that are dead have left.
#include "cmd/net/commands.h"
#include "cmd/net/report.h"
#include "lib/base/status_macros.h"
#include "lib/hostnet/links.h"

namespace atl::net_tool {
namespace {

constexpr cli::Option kOptions[] = {kDryRun, kJson};

absl::StatusOr<int> Run(const cli::Parsed& args) {
  const hostnet::ChangeLock lock = hostnet::ChangeLock::Take();
  ASSIGN_OR_RETURN(View view, Look(Rules::kIfAny));
  return CarryOut(args, hostnet::PlanGc(view.host), "gc", "removed what was left");
}

}  // namespace

const cli::Command kGc = {
    .name = "gc",
    .summary = "remove what killed processes have left, and nothing else",
    .options = kOptions,
    .run = Run,
};

}  // namespace atl::net_tool
