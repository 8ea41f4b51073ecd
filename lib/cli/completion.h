// SPDX-License-Identifier: Apache-2.0
// Completion for bash, made from the option tables.
#ifndef LIB_CLI_COMPLETION_H_
#define LIB_CLI_COMPLETION_H_

#include <span>
#include <string>

#include "absl/strings/string_view.h"
#include "lib/cli/option.h"

namespace atl::cli {

// A script for share/bash-completion/completions that completes `program` and
// atoll-`program`: commands, options, the values of enums, keys of key lists,
// and files elsewhere.
std::string BashCompletion(absl::string_view program, std::span<const Command* const> commands);

// The same for a tool without subcommands.
std::string BashCompletion(absl::string_view program, const Command& command);

}  // namespace atl::cli

#endif  // LIB_CLI_COMPLETION_H_
