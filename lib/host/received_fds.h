// SPDX-License-Identifier: Apache-2.0
// Descriptors that come with a message of a unix socket (unix(7), SCM_RIGHTS).
//
// Thread rule: any thread.
#ifndef LIB_HOST_RECEIVED_FDS_H_
#define LIB_HOST_RECEIVED_FDS_H_

#include <sys/socket.h>

#include <vector>

#include "lib/base/unique_fd.h"

namespace atl::host {

// Those of a message that recvmsg() gave, in their order; all become the caller's.
// Once for each message. What its control bytes had no room for the kernel closed.
std::vector<UniqueFd> ReceivedFds(msghdr& message);

}  // namespace atl::host

#endif  // LIB_HOST_RECEIVED_FDS_H_
