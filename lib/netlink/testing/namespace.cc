// SPDX-License-Identifier: Apache-2.0
#include "lib/netlink/testing/namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "lib/base/status_macros.h"

namespace atl::netlink {
namespace {

absl::Status Write(const char* path, const std::string& text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoError(errno, path);
  const ssize_t n = write(fd, text.data(), text.size());
  const int error = errno;
  close(fd);
  if (n != static_cast<ssize_t>(text.size())) return ErrnoError(error, path);
  return absl::OkStatus();
}

}  // namespace

absl::Status EnterNamespace() {
  const std::string uid = std::to_string(getuid());
  const std::string gid = std::to_string(getgid());
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
    return ErrnoError(errno, "a user and a network namespace for the test");
  }
  RETURN_IF_ERROR(Write("/proc/self/setgroups", "deny"));
  RETURN_IF_ERROR(Write("/proc/self/uid_map", "0 " + uid + " 1"));
  return Write("/proc/self/gid_map", "0 " + gid + " 1");
}

}  // namespace atl::netlink
