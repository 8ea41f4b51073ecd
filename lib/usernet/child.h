// SPDX-License-Identifier: Apache-2.0
// A user-mode network in a process of its own: what the guest's packets can
// reach if they break it is a process that has nothing but sockets.
#ifndef LIB_USERNET_CHILD_H_
#define LIB_USERNET_CHILD_H_

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/usernet/options.h"

namespace atl::usernet {

struct Child {
  // Frames of the guest, as the QEMU stream protocol has them: a be32 length,
  // then that many bytes. Where `vnet_header` was asked for, those bytes begin with
  // the 12 bytes of a virtio_net_hdr_v1 (num_buffers 1 or 0): checksums and the
  // segmentation of TCP may be left to the child, in frames up to 64 KiB. It leaves
  // neither to the guest until a header without a frame says that it may: 1 in `flags`
  // for checksums, 2 and 4 for TCP over IPv4 and IPv6; sent again at each change.
  // Nonblocking; the child ends when the other end of this is closed.
  UniqueFd stream;
  // Lines as of `net user --control`: "hostfwd_add tcp::2222-:22\n",
  // "hostfwd_remove tcp::2222\n", "info\n"; each is answered by lines of which the
  // last is "ok" or "error: ...". Nonblocking.
  UniqueFd control;
  pid_t pid = -1;
};

struct ChildOptions {
  bool vnet_header = false;
  // Give up what the process does not need (SECURITY.md). Off in sanitizer builds.
  bool lockdown = true;
};

// Before the process has other threads (a fork keeps but one) and before it is
// locked down. The host's side (forwards, pcap, folders) is set up when this
// returns: an error says what cannot be had, as `run` would. The child holds none of
// this process' other descriptors, and ends with it.
absl::StatusOr<Child> StartChild(const Options& options, const ChildOptions& child);

// A command of `control`, without its end of line, and what is answered before "ok".
// What the child refuses is InvalidArgument with its text; DeadlineExceeded where it
// says nothing for two seconds: then `control` is of no more use. Waits.
absl::StatusOr<std::string> TellChild(int control, absl::string_view command);

}  // namespace atl::usernet

#endif  // LIB_USERNET_CHILD_H_
