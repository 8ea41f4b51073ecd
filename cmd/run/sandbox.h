// SPDX-License-Identifier: Apache-2.0
// What run gives up before the guest's first instruction; see SECURITY.md.
#ifndef CMD_RUN_SANDBOX_H_
#define CMD_RUN_SANDBOX_H_

#include "absl/status/statusor.h"
#include "cmd/run/options.h"
#include "lib/host/runtime_dir.h"

namespace atl::run {

// When all is open and no thread has been made. Says on standard error what the
// kernel cannot do, where that is no error. False where there is no sandbox.
// `folder`, the VM's own in the runtime directory, may be null; it can be removed
// afterwards.
absl::StatusOr<bool> EnterSandbox(const Invocation& invocation, const host::VmFolder* folder);

}  // namespace atl::run

#endif  // CMD_RUN_SANDBOX_H_
