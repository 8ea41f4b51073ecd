// SPDX-License-Identifier: Apache-2.0
// A tap: an interface of the host whose other end is the guest's.
#ifndef LIB_NET_TAP_H_
#define LIB_NET_TAP_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/net/backend.h"

namespace atl::net {

struct TapOptions {
  // At most 15 bytes; empty: the kernel picks tap0, tap1, ... Where it exists, it
  // is persistent, and stays.
  std::string ifname;
  // Programs that get the interface's name as $1: after it was opened, and when
  // the process has ended, however. Empty: none. One that fails at the start is
  // an error that shows what it said.
  std::string script, downscript;
  bool vnet_header = true;  // so that checksums and segmentation are left to the host
  bool vhost = false;       // the kernel may serve the card: kernel_path.h
};

// Makes or opens the interface, and runs the script. Errors say what to do.
absl::StatusOr<std::unique_ptr<Backend>> OpenTap(const TapOptions& options);
// One that somebody else has opened; of `options` the scripts and vhost only.
absl::StatusOr<std::unique_ptr<Backend>> AdoptTap(UniqueFd fd, const TapOptions& options);

// Whether a name can be an interface's, and why not.
absl::Status CheckInterfaceName(absl::string_view name);

}  // namespace atl::net

#endif  // LIB_NET_TAP_H_
