// SPDX-License-Identifier: Apache-2.0
// What a process that runs a network keeps when it has opened all.
#ifndef LIB_USERNET_SANDBOX_H_
#define LIB_USERNET_SANDBOX_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/usernet/options.h"

namespace atl::usernet {

// Locks the process down (lib/host/lockdown.h): what is left are sockets of the
// Internet's families, /etc/resolv.conf, the TFTP folder for reading, and the removal of
// files beside `sockets`. On the only thread. Unimplemented where the kernel cannot; does
// nothing in sanitizer builds, whose runtime needs what it takes away.
absl::Status EnterSandbox(const Options& options, const std::vector<std::string>& sockets);

}  // namespace atl::usernet

#endif  // LIB_USERNET_SANDBOX_H_
