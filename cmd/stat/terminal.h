// SPDX-License-Identifier: Apache-2.0
// The live view in a terminal, by curses. It gives the terminal back as it was,
// however it ends.
#ifndef CMD_STAT_TERMINAL_H_
#define CMD_STAT_TERMINAL_H_

#include "absl/status/statusor.h"
#include "cmd/stat/options.h"

namespace atl::stat {

absl::StatusOr<int> RunView(const Options& options);

}  // namespace atl::stat

#endif  // CMD_STAT_TERMINAL_H_
