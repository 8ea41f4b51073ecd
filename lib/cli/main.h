// SPDX-License-Identifier: Apache-2.0
// What every main() does: finds the subcommand, parses its options, answers
// --help, --version and --completion, runs it, prints "tool: message" for an
// error, and picks the exit code: 0 done, 1 failed, 2 called wrongly.
#ifndef LIB_CLI_MAIN_H_
#define LIB_CLI_MAIN_H_

#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/cli/option.h"

namespace atl::cli {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

struct Tool {
  absl::string_view name;     // "img": for completion and where argv[0] is empty
  absl::string_view summary;  // one line for --help
  absl::string_view version;
  std::span<const Command* const> commands;
  // Stands in where the first word is an option of no tool: "img -f qcow x 20G".
  const Command* implied = nullptr;
  // So does it where the first word is no command at all: "vnc guest1 -l :1".
  bool implied_by_operand = false;
  absl::string_view notes;  // paragraphs below the list of commands
  // Turns an error into its exit code; nullptr is ExitCode() below.
  int (*exit_code)(absl::string_view program, const Command* command,
                   const absl::Status& status) = nullptr;
};

// main() of a tool with subcommands. The name it speaks by is the last part of
// argv[0], so that a link gives it another.
int ToolMain(const Tool& tool, int argc, char** argv);

// main() of a tool without.
int CommandMain(const Command& command, absl::string_view version, int argc, char** argv);

// 0, kExitUsage for IsUsageError(), else kExitFailed.
int ExitCode(const absl::Status& status);

// Prints "program: message" to stderr; nothing for OK.
void PrintError(absl::string_view program, const absl::Status& status);
void PrintWarning(absl::string_view program, absl::string_view message);

// The last part of argv[0], for messages of a running command.
absl::string_view ProgramName();

// Writes all of `text` to stdout. What cannot be written (a full disk, a closed
// pipe) makes the tool end with an error after the command has returned.
void Print(absl::string_view text);

}  // namespace atl::cli

#endif  // LIB_CLI_MAIN_H_
