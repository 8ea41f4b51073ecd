// SPDX-License-Identifier: Apache-2.0
// Giving up what a process does not need any more, for good: what takes it over
// later finds little to do. No new privileges, no core files, Landlock (paths, TCP,
// abstract sockets, signals: linux/landlock.h) and a seccomp filter.
//
// After it: files can be opened only below the paths named; no program can be
// executed, no process made, traced or signalled, no socket made, bound or
// connected (but see `internet`), no memory made executable. Descriptors that are open stay so, and
// threads can be made. What is refused fails with EPERM or EACCES.
#ifndef LIB_HOST_LOCKDOWN_H_
#define LIB_HOST_LOCKDOWN_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace atl::host {

struct LockdownOptions {
  // Files and folders that may be read. What is not there is left out.
  std::vector<std::string> read;
  // Folders in which files may be made, read, written, renamed and removed.
  std::vector<std::string> write;
  // Folders whose empty folders may be removed.
  std::vector<std::string> remove_folders;
  // Folders from which files may be removed: those of sockets that the process made.
  std::vector<std::string> remove_files;
  // TCP and UDP sockets (and ICMP echo, as the host allows) can be made, bound and
  // connected, for IPv4 and IPv6; no others.
  bool internet = false;
  // io_uring of rings that are there; none can be made or changed.
  bool rings = false;
  // Requests to a vhost device that is open.
  bool vhost = false;
};

struct LockdownResult {
  // False where the kernel has no Landlock: then every file that the user can
  // read can be read, and none written.
  bool paths = false;
  bool internet = false;  // as was asked for
};

// On the process' only thread: FailedPrecondition where there are others, which
// Landlock would not reach, and Unimplemented where the kernel has no seccomp.
absl::StatusOr<LockdownResult> LockDown(const LockdownOptions& options);

// Tries what LockDown() took away. An error names what was not refused.
absl::Status CheckLockdown(const LockdownResult& result);

}  // namespace atl::host

#endif  // LIB_HOST_LOCKDOWN_H_
