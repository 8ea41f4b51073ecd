// SPDX-License-Identifier: Apache-2.0
#include "cmd/run/background.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::run {

absl::StatusOr<Background> Background::Enter() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  Background out;
  out.child_ = fork();
  if (out.child_ < 0) return ErrnoError(errno, "fork");
  if (out.child_ == 0) {
    setsid();
    out.null_.reset(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!out.null_.valid()) return ErrnoError(errno, "/dev/null");
  }
  out.pipe_ = std::move(out.child_ > 0 ? read_end : write_end);
  return out;
}

absl::StatusOr<int> Background::WaitForChild() {
  char ready;
  ssize_t n;
  do {
    n = read(pipe_.get(), &ready, 1);
  } while (n < 0 && errno == EINTR);
  if (n == 1) return 0;
  int status;
  if (waitpid(child_, &status, 0) != child_) return ErrnoError(errno, "waitpid");
  // It has said itself what was wrong.
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

absl::Status Background::Leave() {
  if (!pipe_.valid()) return absl::OkStatus();
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null_.get(), fd);
  null_.reset();
  const char ready = 1;
  (void)!write(pipe_.get(), &ready, 1);  // a parent that is gone waits for nothing
  pipe_.reset();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PidFile>> PidFile::Create(const std::string& path) {
  if (path.empty()) return nullptr;
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0644));
  if (!fd.valid()) return ErrnoError(errno, path);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd.get(), F_SETLK, &lock) != 0) {
    if (errno != EAGAIN && errno != EACCES) return ErrnoError(errno, path);
    return absl::AlreadyExistsError(absl::StrCat(path, ": another process holds this pid file"));
  }
  const std::string text = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd.get(), 0) != 0 ||
      pwrite(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return ErrnoError(errno, path);
  }
  return std::unique_ptr<PidFile>(new PidFile(path, std::move(fd)));
}

PidFile::~PidFile() { unlink(path_.c_str()); }

}  // namespace atl::run
