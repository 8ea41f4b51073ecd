// SPDX-License-Identifier: Apache-2.0
// The texts of -h and --help, made from the option tables. tools and tests
// compare them with the man pages, so the layout is part of the contract:
// every option stands in a line that begins with two blanks and a dash.
#ifndef LIB_CLI_HELP_H_
#define LIB_CLI_HELP_H_

#include <span>
#include <string>

#include "absl/strings/string_view.h"
#include "lib/cli/option.h"

namespace atl::cli {

// "img create [-qu] [-b FILE] [-f FMT] FILE [SIZE]" on one line; `program` is
// the tool's name, with that of the subcommand where it has any.
std::string Synopsis(absl::string_view program, const Command& command);

// Usage, summary, options in their groups with defaults and valid values, the
// keys of key lists below their option, notes. Lines of at most `width`
// columns as far as words allow.
std::string CommandHelp(absl::string_view program, const Command& command, size_t width = 80);

}  // namespace atl::cli

#endif  // LIB_CLI_HELP_H_
