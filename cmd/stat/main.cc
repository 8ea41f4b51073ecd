// SPDX-License-Identifier: Apache-2.0
// stat: what virtual machines leave the guest for.
#include "lib/cli/main.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "cmd/stat/options.h"
#include "cmd/stat/print.h"
#include "cmd/stat/session.h"
#include "cmd/stat/terminal.h"
#include "lib/base/status_macros.h"

namespace atl::stat {
namespace {

// The words behind "--", taken from the command line before it is parsed.
std::vector<std::string> command_words;  // NOLINT: set once, by main()

absl::StatusOr<int> RunStat(const cli::Parsed& args) {
  const bool terminal = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
  ASSIGN_OR_RETURN(Options options, ReadOptions(args, command_words, terminal));
  switch (options.mode) {
    case Mode::kListFields:
      cli::Print(FieldList());
      return cli::kExitDone;
    case Mode::kView:
      return RunView(options);
    case Mode::kOnce:
      return RunOnce(options);
    case Mode::kLog:
      return RunLog(options);
    case Mode::kServe:
      return RunServe(options);
    case Mode::kCommand:
      return RunWithCommand(options);
    case Mode::kRecord:
      return RunRecord(options);
    case Mode::kDiff:
      return RunDiff(options);
  }
  return cli::kExitFailed;
}

}  // namespace
}  // namespace atl::stat

int main(int argc, char** argv) {
  // A closed pipe is an error of the write that hits it.
  signal(SIGPIPE, SIG_IGN);
  // A descriptor for each counter file of debugfs, or for each vCPU.
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--") != 0) continue;
    atl::stat::command_words.assign(argv + i + 1, argv + argc);
    argc = i;
  }
  atl::cli::Command command = atl::stat::kStatCommand;
  command.run = atl::stat::RunStat;
  return atl::cli::CommandMain(command, ATOLL_VERSION, argc, argv);
}
