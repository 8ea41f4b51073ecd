// SPDX-License-Identifier: Apache-2.0
// vnc: shows a guest's screen to viewers over RFB, and hands it their keyboards
// and mice.
#include "lib/cli/main.h"

#include "cmd/vnc/commands.h"
#include "lib/cli/option.h"

namespace atl::vnc {
namespace {

constexpr const cli::Command* kCommands[] = {&kServe, &kShot, &kType, &kKey, &kWait, &kBench};

constexpr cli::Tool kTool = {
    .name = "vnc",
    .summary = "Serves the screen, keyboard and mouse of a guest over VNC.",
    .version = "0.1",
    .commands = kCommands,
    .implied = &kServe,
    .implied_by_operand = true,
    .notes = "Without COMMAND it is serve: vnc guest1 -l localhost:1",
};

}  // namespace
}  // namespace atl::vnc

int main(int argc, char** argv) { return atl::cli::ToolMain(atl::vnc::kTool, argc, argv); }
