// SPDX-License-Identifier: Apache-2.0
// run's command line: one table, and what it makes of it.
#ifndef CMD_RUN_OPTIONS_H_
#define CMD_RUN_OPTIONS_H_

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cmd/run/viewer_options.h"
#include "lib/cli/option.h"
#include "lib/qmp/server.h"
#include "lib/vm/config.h"

namespace atl::run {

extern const cli::Command kRunCommand;

enum class Mode : uint8_t {
  kRun,
  kCheck,   // --check: self-tests of backends and files
  kDryRun,  // --dry-run: what would be started
  kList,    // an option's value was "help"
};

struct ScreendumpOptions {
  std::string file;
  std::optional<std::chrono::seconds> after;  // not set: at the end
};

enum class Sandbox : uint8_t {
  kTry,  // a kernel that cannot is warned of
  kOn,   // or no start
  kOff,
};

struct Invocation {
  Mode mode = Mode::kRun;
  bool json = false;        // --json, with --check and --dry-run
  bool events = false;      // --events json
  std::string events_file;  // empty: standard error
  std::string list;         // kList: what to print
  std::optional<std::chrono::milliseconds> timeout;
  bool curses = false;  // -display curses
  std::optional<ScreendumpOptions> screendump;
  ViewerOptions viewers;
  std::vector<qmp::MonitorConfig> monitors;
  Sandbox sandbox = Sandbox::kTry;
  std::vector<std::string> sandbox_dirs;
  std::string runas;    // empty: the user who started it
  std::string chroot;   // empty: as it is
  std::string pidfile;  // empty: none
  bool daemonize = false;
  vm::MachineConfig machine;
};

// From parsed options to a machine. Usage errors name the option and what is
// valid; nothing is opened.
absl::StatusOr<Invocation> Configure(const cli::Parsed& args);

}  // namespace atl::run

#endif  // CMD_RUN_OPTIONS_H_
