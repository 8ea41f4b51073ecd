// SPDX-License-Identifier: Apache-2.0
// What run says without starting a guest: --check, --dry-run, help lists.
#ifndef CMD_RUN_CHECK_H_
#define CMD_RUN_CHECK_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cmd/run/options.h"

namespace atl::run {

// The backends' verdicts and whether every file named can be used. The value is
// the exit code: 1 where a guest could not start.
absl::StatusOr<int> CheckHost(const Invocation& invocation);

// The machine that would be started. Opens nothing.
absl::StatusOr<int> DryRun(const Invocation& invocation);

// "-accel help", "-device help".
absl::StatusOr<int> ShowList(absl::string_view what);

}  // namespace atl::run

#endif  // CMD_RUN_CHECK_H_
