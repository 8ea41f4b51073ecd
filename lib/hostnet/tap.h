// SPDX-License-Identifier: Apache-2.0
// Taps: network interfaces whose frames a program reads and writes
// (Linux' Documentation/networking/tuntap.rst).
#ifndef LIB_HOSTNET_TAP_H_
#define LIB_HOSTNET_TAP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace atl::hostnet {

inline constexpr unsigned kMostQueues = 256;  // the kernel's MAX_TAP_QUEUES

struct TapOptions {
  std::string name = "tap%d";  // checked by CheckNamePattern()
  unsigned queues = 1;         // more than 1: IFF_MULTI_QUEUE
  bool multi_queue = false;    // IFF_MULTI_QUEUE with one queue too
  bool vnet_hdr = false;       // each frame after a virtio_net_hdr of 12 bytes
  bool offload = false;        // the reader takes frames without checksums and of 64 KiB
};

struct OpenTap {
  std::string name;           // that the kernel gave it
  std::vector<UniqueFd> fds;  // one a queue, close-on-exec
};

// Makes a tap that lives as long as one of its descriptors, or opens the
// persistent one of that name. Errors say what a bare EBUSY, EINVAL or EPERM of
// the kernel means here.
absl::StatusOr<OpenTap> NewTap(const TapOptions& options);

// Whether it goes on to live without descriptors, and whose descriptors are let
// in without CAP_NET_ADMIN.
absl::Status SetPersistent(const OpenTap& tap, bool persistent);
absl::Status SetTapOwner(const OpenTap& tap, std::optional<uint32_t> uid,
                         std::optional<uint32_t> gid);

}  // namespace atl::hostnet

#endif  // LIB_HOSTNET_TAP_H_
