// SPDX-License-Identifier: Apache-2.0
// For tests that change the network: a user and a network namespace of the
// test's own, in which it is root. Needs unprivileged user namespaces or root.
#ifndef LIB_NETLINK_TESTING_NAMESPACE_H_
#define LIB_NETLINK_TESTING_NAMESPACE_H_

#include "absl/status/status.h"

namespace atl::netlink {

// Moves the process there, for good. Called first in main(), while there is one
// thread.
absl::Status EnterNamespace();

}  // namespace atl::netlink

#endif  // LIB_NETLINK_TESTING_NAMESPACE_H_
