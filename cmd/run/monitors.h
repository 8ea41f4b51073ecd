// SPDX-License-Identifier: Apache-2.0
// What -qmp, -monitor, -chardev and -mon say.
#ifndef CMD_RUN_MONITORS_H_
#define CMD_RUN_MONITORS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "lib/cli/option.h"
#include "lib/qmp/server.h"

namespace atl::run {

// Usage errors name the option and what is valid.
absl::StatusOr<std::vector<qmp::MonitorConfig>> ParseMonitors(const cli::Parsed& args);

}  // namespace atl::run

#endif  // CMD_RUN_MONITORS_H_
