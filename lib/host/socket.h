// SPDX-License-Identifier: Apache-2.0
// Stream (and packet) sockets: listening, connecting, accepting. All descriptors are
// close-on-exec; errors name the path or the address.
#ifndef LIB_HOST_SOCKET_H_
#define LIB_HOST_SOCKET_H_

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace atl::host {

// A listening unix socket that removes its name when it goes, if the name is
// still its own.
class UnixListener {
 public:
  // Only the user may connect (mode 0600). A socket that stands there and that
  // nobody listens on is replaced; anything else there is an error. `type`:
  // SOCK_STREAM or SOCK_SEQPACKET.
  static absl::StatusOr<UnixListener> Create(const std::string& path, int type = SOCK_STREAM);
  UnixListener(UnixListener&&) = default;
  UnixListener& operator=(UnixListener&&) = delete;
  ~UnixListener();

  // For whoever comes after a process that was killed with a listener at `path`, or while it made
  // one: removes the names that it has left, unless somebody listens there. False: there was none.
  static bool RemoveLeft(const std::string& path, int type = SOCK_STREAM);

  int fd() const { return fd_.get(); }

 private:
  UnixListener(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  UniqueFd fd_;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path, int type = SOCK_STREAM);

// `host` names the loopback: localhost, 127.x.y.z, ::1. Others are
// InvalidArgument: what is said on these sockets is said in clear, by anybody.
absl::StatusOr<UniqueFd> ListenLoopback(const std::string& host, uint16_t port);
absl::StatusOr<UniqueFd> ConnectLoopback(const std::string& host, uint16_t port);

// Any address of this host, or a name of one ("*" for all of both families): for
// services that look themselves after who comes. Several where a name has several
// addresses.
absl::StatusOr<std::vector<UniqueFd>> ListenTcp(const std::string& host, uint16_t port);

// Nonblocking. Unavailable where nobody waits (any more).
absl::StatusOr<UniqueFd> Accept(int listener);

}  // namespace atl::host

#endif  // LIB_HOST_SOCKET_H_
