// SPDX-License-Identifier: Apache-2.0
// Frames over a stream socket as QEMU's -netdev stream and socket speak it, and
// passt: each frame after its length, 32 bits big-endian.
#ifndef LIB_NET_STREAM_H_
#define LIB_NET_STREAM_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/net/backend.h"

namespace atl::net {

struct StreamOptions {
  std::string name;  // for people: the path
  // A struct virtio_net_hdr_v1 stands before each frame, counted in its length:
  // between programs that agree on it, so that checksums and segmentation can be
  // left to the other side. What may be left to this side (Port::peer_accepts()) the other
  // is told by a header without a frame, at each change: flags 1 checksums, 2 and 4
  // segmentation of TCP over IPv4 and IPv6. Nothing, before it is told.
  bool vnet_header = false;
  Offloads accepts;  // with vnet_header
};

// `fd`: a connected stream socket; made non-blocking. InvalidArgument where it is
// something else.
absl::StatusOr<std::unique_ptr<Backend>> NewStream(UniqueFd fd, StreamOptions options);

}  // namespace atl::net

#endif  // LIB_NET_STREAM_H_
