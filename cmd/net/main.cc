// SPDX-License-Identifier: Apache-2.0
// net: the networks of virtual machines.
#include "lib/cli/main.h"

#include <sys/auxv.h>

#include <cstdio>
#include <cstring>

#include "cmd/net/commands.h"
#include "lib/cli/option.h"

namespace atl::net_tool {
namespace {

constexpr const cli::Command* kCommands[] = {
    &kTap, &kBridge, &kNat, &kIfUp, &kIfDown, &kScript, &kUser, &kList, &kGc, &kCheck, &kHelper,
};

constexpr cli::Tool kTool = {
    .name = "net",
    .summary = "Makes the networks of virtual machines.",
    .version = ATOLL_VERSION " (atoll)",
    .commands = kCommands,
    // net --use-vnet --fd=3 --br=br0: called as qemu-bridge-helper is.
    .implied = &kHelper,
};

// Installed with the set-user-id bit or file capabilities it may do for anybody
// what qemu-bridge-helper does, and nothing else.
bool RefusesAsSetuid(int argc, char** argv) {
  if (getauxval(AT_SECURE) == 0) return false;
  return argc < 2 || (std::strcmp(argv[1], "helper") != 0 && argv[1][0] != '-');
}

}  // namespace
}  // namespace atl::net_tool

int main(int argc, char** argv) {
  if (atl::net_tool::RefusesAsSetuid(argc, argv)) {
    // No option table, no name and no environment of the caller is looked at.
    std::fputs(
        "net: with another user's rights it is only a helper: net --use-vnet --fd=N --br=BR\n",
        stderr);
    return atl::cli::kExitUsage;
  }
  return atl::cli::ToolMain(atl::net_tool::kTool, argc, argv);
}
