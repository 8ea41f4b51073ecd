// SPDX-License-Identifier: Apache-2.0
#include "lib/host/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"

namespace atl::host {
namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
  UniqueFd read, write;
};

absl::StatusOr<Pipe> NewPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// What of its descriptors the program gets as which number, all else closed on
// exec; and signals as a program expects them, whatever this process does.
class Spawn {
 public:
  Spawn() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    sigset_t none, standard;
    sigemptyset(&none);
    sigemptyset(&standard);
    for (const int s : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&standard, s);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &standard);
    flags_ = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  }
  ~Spawn() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  Spawn(const Spawn&) = delete;
  Spawn& operator=(const Spawn&) = delete;

  void Give(int fd, int as) { posix_spawn_file_actions_adddup2(&actions_, fd, as); }
  void GiveNothing(int as) {
    posix_spawn_file_actions_addopen(&actions_, as, "/dev/null", O_RDONLY, 0);
  }
  void NewSession() { flags_ |= POSIX_SPAWN_SETSID; }

  absl::StatusOr<pid_t> Start(const std::vector<std::string>& arguments) {
    std::vector<char*> argv;
    argv.reserve(arguments.size() + 1);
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    posix_spawnattr_setflags(&attributes_, static_cast<short>(flags_));
    pid_t pid = 0;
    const int error = posix_spawnp(&pid, argv[0], &actions_, &attributes_, argv.data(), environ);
    if (error != 0) return ErrnoError(error, arguments[0]);
    return pid;
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
  int flags_ = 0;
};

// Appends what has come from `fd`, a non-blocking pipe, to `out`; true where it
// was closed.
absl::StatusOr<bool> ReadPipe(int fd, std::string& out) {
  char bytes[4096];
  for (;;) {
    const ssize_t n = read(fd, bytes, sizeof bytes);
    if (n == 0) return true;
    if (n > 0) {
      out.append(bytes, std::min(static_cast<size_t>(n), kMaxProgramOutput - out.size()));
    } else if (errno == EAGAIN) {
      return false;
    } else if (errno != EINTR) {
      return ErrnoError(errno, "pipe");
    }
  }
}

// Reads `fd` until it is closed or, where `process` is one, that has ended: what a
// daemon it left behind may still say is not waited for. False after `limit`.
absl::StatusOr<bool> ReadToEnd(int fd, int process, Clock::time_point limit, std::string& out) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(limit - Clock::now()).count();
    if (left <= 0) return false;
    pollfd wait[] = {{fd, POLLIN, 0}, {process, POLLIN, 0}};
    const int ready = poll(wait, 2, static_cast<int>(std::min<int64_t>(left, 1 << 30)));
    if (ready < 0 && errno != EINTR) return ErrnoError(errno, "poll");
    if (ready <= 0) continue;
    bool closed = false;
    if (fd >= 0) {
      ASSIGN_OR_RETURN(closed, ReadPipe(fd, out));
    }
    if (wait[1].revents != 0) return true;
    if (!closed) continue;
    if (process < 0) return true;
    fd = -1;  // it has closed its output and goes on
  }
}

absl::Status SetNonBlocking(int fd) {
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return ErrnoError(errno, "pipe");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ProgramResult> RunProgram(const std::vector<std::string>& arguments,
                                         std::chrono::milliseconds limit) {
  ASSIGN_OR_RETURN(Pipe output, NewPipe());
  Spawn spawn;
  spawn.GiveNothing(STDIN_FILENO);
  spawn.Give(output.write.get(), STDOUT_FILENO);
  spawn.Give(output.write.get(), STDERR_FILENO);
  spawn.NewSession();
  ASSIGN_OR_RETURN(const pid_t pid, spawn.Start(arguments));
  output.write.reset();
  RETURN_IF_ERROR(SetNonBlocking(output.read.get()));
  const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  ProgramResult result;
  absl::StatusOr<bool> ended =
      ReadToEnd(output.read.get(), process.get(), Clock::now() + limit, result.output);
  const bool late = !ended.ok() || !*ended;
  // Its session, which is ours to end.
  if (late) kill(-pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return ErrnoError(errno, arguments[0]);
  }
  RETURN_IF_ERROR(ended.status());
  if (late) {
    return absl::DeadlineExceededError(
        absl::StrCat(arguments[0], ": has not ended after ", limit.count() / 1000, " s"));
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

absl::StatusOr<std::unique_ptr<AtEnd>> AtEnd::Create(const std::vector<std::string>& arguments) {
  ASSIGN_OR_RETURN(Pipe hold, NewPipe());
  ASSIGN_OR_RETURN(Pipe result, NewPipe());
  // The last shell of all has the pipes as 0 and 3; its program has neither.
  constexpr int kResult = 3;
  std::vector<std::string> words = {
      "/bin/sh", "-c",
      "while read -r line; do :; done; \"$0\" \"$@\" </dev/null >&2 3>&-; echo $? >&3"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  Spawn spawn;
  // dup2() onto 3 must not hit an end that is still to be given.
  if (hold.read.get() == kResult) {
    hold.read.reset(fcntl(hold.read.get(), F_DUPFD_CLOEXEC, kResult + 1));
  }
  if (result.write.get() == kResult) {
    result.write.reset(fcntl(result.write.get(), F_DUPFD_CLOEXEC, kResult + 1));
  }
  spawn.Give(hold.read.get(), STDIN_FILENO);
  spawn.Give(result.write.get(), kResult);
  spawn.Give(STDERR_FILENO, STDOUT_FILENO);
  spawn.NewSession();
  RETURN_IF_ERROR(spawn.Start(words).status());
  return std::unique_ptr<AtEnd>(
      new AtEnd(arguments[0], std::move(hold.write), std::move(result.read)));
}

absl::Status AtEnd::Run(std::chrono::milliseconds limit) {
  hold_.reset();
  std::string text;
  RETURN_IF_ERROR(SetNonBlocking(result_.get()));
  ASSIGN_OR_RETURN(const bool ended, ReadToEnd(result_.get(), -1, Clock::now() + limit, text));
  if (!ended) {
    return absl::DeadlineExceededError(
        absl::StrCat(name_, ": has not ended after ", limit.count() / 1000, " s"));
  }
  int status = -1;
  if (!absl::SimpleAtoi(absl::StripSuffix(text, "\n"), &status)) {
    return absl::InternalError(absl::StrCat(name_, ": its shell was killed"));
  }
  if (status == 0) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat(name_, ": failed with status ", status));
}

}  // namespace atl::host
