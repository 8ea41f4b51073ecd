// SPDX-License-Identifier: Apache-2.0
// A guest as people name it on a command line, and the way to its console.
#ifndef LIB_CONSOLE_ATTACH_H_
#define LIB_CONSOLE_ATTACH_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/console/viewer.h"

namespace atl::console {

// `guest`: "fd:N", a connected console socket that was inherited; a path, which
// has a slash in it; else the name of a running VM (lib/host/runtime_dir.h).
// NotFound names those that run.
absl::StatusOr<std::unique_ptr<Viewer>> Attach(absl::string_view guest, bool view_only = false);

}  // namespace atl::console

#endif  // LIB_CONSOLE_ATTACH_H_
