// SPDX-License-Identifier: Apache-2.0
// -daemonize and -pidfile.
#ifndef CMD_RUN_BACKGROUND_H_
#define CMD_RUN_BACKGROUND_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace atl::run {

// The two halves of a process that goes to the background: the parent waits
// until the child says that its guest runs, or has failed.
class Background {
 public:
  Background() = default;  // the process stays where it is

  // Splits the process; before it has threads.
  static absl::StatusOr<Background> Enter();
  bool parent() const { return child_ > 0; }
  // In the parent: the exit status to end with.
  absl::StatusOr<int> WaitForChild();
  // In the child, when the machine is made: away from the terminal, and the
  // parent may go. Nothing in a process that was not split.
  absl::Status Leave();

 private:
  pid_t child_ = 0;
  UniqueFd pipe_;
  UniqueFd null_;  // for Leave(), after which nothing could be opened
};

// A file with the process id, locked as long as the process lives, removed
// when this object goes.
class PidFile {
 public:
  // An empty path is no file. AlreadyExists where another process has the lock.
  static absl::StatusOr<std::unique_ptr<PidFile>> Create(const std::string& path);
  ~PidFile();

 private:
  PidFile(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  const std::string path_;
  const UniqueFd fd_;
};

}  // namespace atl::run

#endif  // CMD_RUN_BACKGROUND_H_
