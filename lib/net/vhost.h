// SPDX-License-Identifier: Apache-2.0
// /dev/vhost-net (linux/vhost.h) as a KernelPath.
#ifndef LIB_NET_VHOST_H_
#define LIB_NET_VHOST_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "lib/net/kernel_path.h"

namespace atl::net {

// Serves the tap `tap`, which has virtio headers of 12 bytes and outlives it. `serves` is
// told when that begins and ends: nobody else reads the tap meanwhile. NotFound where the
// kernel has no vhost-net.
absl::StatusOr<std::unique_ptr<KernelPath>> OpenVhost(int tap, std::function<void(bool)> serves);

}  // namespace atl::net

#endif  // LIB_NET_VHOST_H_
