// SPDX-License-Identifier: Apache-2.0
// net: the networks of virtual machines.
#include "lib/cli/main.h"

#include "cmd/net/commands.h"
#include "lib/cli/option.h"

namespace atl::net_tool {
namespace {

constexpr const cli::Command* kCommands[] = {
    &kUser,
};

constexpr cli::Tool kTool = {
    .name = "net",
    .summary = "Makes the networks of virtual machines.",
    .version = ATOLL_VERSION " (atoll)",
    .commands = kCommands,
};

}  // namespace
}  // namespace atl::net_tool

int main(int argc, char** argv) { return atl::cli::ToolMain(atl::net_tool::kTool, argc, argv); }
