// SPDX-License-Identifier: Apache-2.0
// Who may have a tap in which bridge: the file that qemu-bridge-helper reads
// (/etc/qemu/bridge.conf), with the same words and the same meaning.
//
//   allow br0          include FILE        # to the end of the line
//   deny all
//
// A bridge is free where an "allow" names it, or all, and no "deny" does,
// wherever in the files they stand.
#ifndef LIB_HOSTNET_ACL_H_
#define LIB_HOSTNET_ACL_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::hostnet {

// OK where `bridge` is free by the file `path`; PermissionDenied names the line
// that denies it, or says that none allows it; InvalidArgument names a line that
// is wrong, since a rule that is not understood might be a denial. `read` gives a
// file's text. Includes nest 8 deep, 64 files in all.
absl::Status CheckBridgeAllowed(
    const std::string& path, absl::string_view bridge,
    const std::function<absl::StatusOr<std::string>(const std::string& path)>& read);

}  // namespace atl::hostnet

#endif  // LIB_HOSTNET_ACL_H_
