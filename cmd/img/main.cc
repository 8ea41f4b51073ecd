// SPDX-License-Identifier: Apache-2.0
// img: makes, checks, converts and shows disk images, compatible with qemu-img
// 7.2. Called through a link named qemu-img it is qemu-img, exit codes
// included.
#include "lib/cli/main.h"

#include <malloc.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cmd/img/commands.h"
#include "lib/cli/option.h"

namespace atl::img {
namespace {

constexpr const cli::Command* kCommands[] = {
    &kCheck, &kCompare, &kConvert, &kCreate, &kDd, &kInfo, &kMap, &kMeasure, &kResize, &kSnapshot,
};

// check and compare say with 2 and above what they found, so what goes wrong
// before stays below (check) or is 2 (compare).
int ExitCode(absl::string_view program, const cli::Command* command, const absl::Status& status) {
  const bool usage = cli::IsUsageError(status);
  if (command == &kCompare && !usage) return 2;
  if (command == &kCheck || program == "qemu-img") return cli::kExitFailed;
  return cli::ExitCode(status);
}

constexpr cli::Tool kTool = {
    .name = "img",
    .summary = "Makes, checks, converts and shows disk images.",
    .version = "7.2 (atoll 0.1)",
    .commands = kCommands,
    .implied = &kCreate,
    .notes =
        "Without COMMAND it is create: img -f qcow gtes11.img 20G\n"
        "Formats: raw, qcow, qcow2.",
    .exit_code = ExitCode,
};

}  // namespace
}  // namespace atl::img

int main(int argc, char** argv) {
  // Buffers of a cluster come and go all the time: keep their memory.
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  mallopt(M_TOP_PAD, 1 << 20);
  return atl::cli::ToolMain(atl::img::kTool, argc, argv);
}
