// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/main.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/status_macros.h"
#include "lib/cli/completion.h"
#include "lib/cli/help.h"
#include "lib/cli/suggest.h"

namespace atl::cli {
namespace {

// Set once by main(), before any thread is there.
absl::string_view program_name;  // NOLINT: the one name of the process

void SetProgramName(absl::string_view name, int argc, char** argv) {
  program_name = name;
  if (argc < 1 || argv[0] == nullptr) return;
  absl::string_view path = argv[0];
  size_t slash = path.rfind('/');
  if (slash != absl::string_view::npos) path.remove_prefix(slash + 1);
  if (!path.empty()) program_name = path;
}

std::string ToolHelp(const Tool& tool) {
  std::string out = absl::StrCat("usage: ", program_name, " COMMAND [OPTION]... [ARGUMENT]...\n\n",
                                 tool.summary, "\n\nCommands:\n");
  for (const Command* c : tool.commands) {
    std::string head = absl::StrCat("  ", c->name);
    head.resize(std::max<size_t>(head.size() + 2, 14), ' ');
    absl::StrAppend(&out, head, c->summary, "\n");
  }
  absl::StrAppend(&out, "\n  -h, --help            this text; `", program_name,
                  " COMMAND --help` shows a command's options\n",
                  "  -V, --version         the version\n",
                  "  --completion=SHELL    completion code for a shell (bash)\n");
  if (!tool.notes.empty()) absl::StrAppend(&out, "\n", tool.notes, "\n");
  return out;
}

// The end of every main(): what stdout could not take is an error.
int Close(int code) {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    PrintError(program_name, ErrnoError(errno, "standard output"));
    return code == kExitDone ? kExitFailed : code;
  }
  return code;
}

int Fail(const Tool& tool, const Command* command, const absl::Status& status) {
  PrintError(program_name, status);
  if (IsUsageError(status)) {
    std::fprintf(stderr, "Try '%s%s%s --help' for more information\n",
                 std::string(program_name).c_str(), command ? " " : "",
                 command ? std::string(command->name).c_str() : "");
  }
  std::fflush(stdout);
  return tool.exit_code ? tool.exit_code(program_name, command, status) : ExitCode(status);
}

// Whether `word` is "--completion" of a shell, which is then in `shell`.
bool WantsCompletion(std::span<const std::string> args, std::string* shell) {
  if (args.empty()) return false;
  if (absl::StartsWith(args[0], "--completion=")) {
    *shell = args[0].substr(13);
    return true;
  }
  if (args[0] != "--completion") return false;
  *shell = args.size() > 1 ? args[1] : "";
  return true;
}

absl::Status CheckShell(absl::string_view shell) {
  if (shell == "bash") return absl::OkStatus();
  return UsageError(
      absl::StrCat("option '--completion': unknown shell '", shell, "' (valid: bash)"));
}

int RunCommand(const Tool& tool, const Command& command, absl::string_view shown_as,
               std::span<const std::string> args) {
  absl::StatusOr<ParseResult> parsed = Parse(command, args);
  if (!parsed.ok()) return Fail(tool, command.name.empty() ? nullptr : &command, parsed.status());
  if (parsed->help_wanted) {
    Print(CommandHelp(shown_as, command));
    return Close(kExitDone);
  }
  absl::StatusOr<int> code = command.run(parsed->args);
  if (!code.ok()) return Fail(tool, command.name.empty() ? nullptr : &command, code.status());
  return Close(*code);
}

}  // namespace

int ExitCode(const absl::Status& status) {
  if (status.ok()) return kExitDone;
  return IsUsageError(status) ? kExitUsage : kExitFailed;
}

void PrintError(absl::string_view program, const absl::Status& status) {
  if (status.ok()) return;
  // What was printed before stands before it where both go to one file; one
  // write, so that lines of several processes do not mix.
  std::fflush(stdout);
  const std::string line = absl::StrCat(program, ": ", status.message(), "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void PrintWarning(absl::string_view program, absl::string_view message) {
  std::fflush(stdout);
  const std::string line = absl::StrCat(program, ": warning: ", message, "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
}

absl::string_view ProgramName() { return program_name; }

void Print(absl::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

int ToolMain(const Tool& tool, int argc, char** argv) {
  SetProgramName(tool.name, argc, argv);
  std::vector<std::string> args(argv + std::min(argc, 1), argv + argc);
  std::string shell;
  if (args.empty()) return Fail(tool, nullptr, UsageError("Not enough arguments"));
  if (args[0] == "-h" || args[0] == "--help" || args[0] == "help") {
    Print(ToolHelp(tool));
    return Close(kExitDone);
  }
  if (args[0] == "-V" || args[0] == "--version") {
    Print(absl::StrCat(program_name, " version ", tool.version, "\n"));
    return Close(kExitDone);
  }
  if (WantsCompletion(args, &shell)) {
    absl::Status valid = CheckShell(shell);
    if (!valid.ok()) return Fail(tool, nullptr, valid);
    Print(BashCompletion(tool.name, tool.commands));
    return Close(kExitDone);
  }
  std::vector<absl::string_view> names;
  for (const Command* c : tool.commands) {
    if (c->name == args[0]) {
      return RunCommand(tool, *c, absl::StrCat(program_name, " ", c->name),
                        std::span(args).subspan(1));
    }
    names.push_back(c->name);
  }
  if ((absl::StartsWith(args[0], "-") || tool.implied_by_operand) && tool.implied != nullptr) {
    return RunCommand(tool, *tool.implied, program_name, args);
  }
  return Fail(
      tool, nullptr,
      UsageError(absl::StrCat(
          absl::StartsWith(args[0], "-") ? "unknown option: " : "Command not found: ", args[0],
          DidYouMean(args[0], names), " (valid: ", absl::StrJoin(names, ", "), ")")));
}

int CommandMain(const Command& command, absl::string_view version, int argc, char** argv) {
  SetProgramName(command.name, argc, argv);
  std::vector<std::string> args(argv + std::min(argc, 1), argv + argc);
  Tool tool;
  tool.name = command.name;
  Command nameless = command;
  nameless.name = "";
  std::string shell;
  if (args.size() == 1 && (args[0] == "-V" || args[0] == "--version" || args[0] == "-version")) {
    Print(absl::StrCat(program_name, " version ", version, "\n"));
    return Close(kExitDone);
  }
  if (WantsCompletion(args, &shell)) {
    absl::Status valid = CheckShell(shell);
    if (!valid.ok()) return Fail(tool, nullptr, valid);
    Print(BashCompletion(command.name, command));
    return Close(kExitDone);
  }
  return RunCommand(tool, nameless, program_name, args);
}

}  // namespace atl::cli
