// SPDX-License-Identifier: Apache-2.0
#include "lib/host/filter.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"

namespace atl::host {
namespace {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

absl::StatusOr<Pipe> NewPipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// posix_spawn's two records, which want to be destroyed.
class SpawnSettings {
 public:
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
    // A tool may ignore SIGPIPE; what it runs should not inherit that.
    sigaddset(&none, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes_, &none);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  void Dup(int from, int to) { posix_spawn_file_actions_adddup2(&actions_, from, to); }
  absl::StatusOr<pid_t> Spawn(const std::string& path, const std::vector<std::string>& argv) {
    std::vector<char*> words;
    for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    pid_t pid = -1;
    const int error =
        posix_spawn(&pid, path.c_str(), &actions_, &attributes_, words.data(), environ);
    if (error != 0) return ErrnoError(error, path);
    return pid;
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

int WaitFor(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// One write without SIGPIPE, which would end the tool where the program has.
ssize_t WriteQuietly(int fd, absl::string_view text) {
  sigset_t pipe_signal;
  sigset_t old;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &old);
  const ssize_t n = write(fd, text.data(), text.size());
  const int error = errno;
  if (n < 0 && error == EPIPE) {
    const timespec now = {};
    sigtimedwait(&pipe_signal, nullptr, &now);
  }
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  errno = error;
  return n;
}

}  // namespace

absl::StatusOr<std::string> FindProgram(absl::string_view name) {
  if (absl::StrContains(name, '/')) return std::string(name);
  const char* path = getenv("PATH");
  const std::string folders =
      absl::StrCat(path == nullptr ? "/usr/bin:/bin" : path, ":/usr/local/sbin:/usr/sbin:/sbin");
  for (absl::string_view folder : absl::StrSplit(folders, ':', absl::SkipEmpty())) {
    const std::string file = absl::StrCat(folder, "/", name);
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return absl::NotFoundError(absl::StrCat(name, ": no such program in PATH or /usr/sbin"));
}

absl::StatusOr<FilterResult> RunFilter(const std::vector<std::string>& argv,
                                       absl::string_view input, size_t max_output) {
  ASSIGN_OR_RETURN(const std::string path, FindProgram(argv.at(0)));
  ASSIGN_OR_RETURN(Pipe in, NewPipe());
  ASSIGN_OR_RETURN(Pipe out, NewPipe());
  ASSIGN_OR_RETURN(Pipe err, NewPipe());
  SpawnSettings settings;
  settings.Dup(in.read.get(), STDIN_FILENO);
  settings.Dup(out.write.get(), STDOUT_FILENO);
  settings.Dup(err.write.get(), STDERR_FILENO);
  ASSIGN_OR_RETURN(const pid_t pid, settings.Spawn(path, argv));
  in.read.reset();
  out.write.reset();
  err.write.reset();
  fcntl(in.write.get(), F_SETFL, O_NONBLOCK);

  FilterResult result;
  bool too_long = false;
  while (out.read.valid() || err.read.valid()) {
    if (input.empty()) in.write.reset();
    std::array<pollfd, 3> fds = {{{.fd = in.write.get(), .events = POLLOUT},
                                  {.fd = out.read.get(), .events = POLLIN},
                                  {.fd = err.read.get(), .events = POLLIN}}};
    if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) break;
    if (fds[0].revents != 0) {
      const ssize_t n = WriteQuietly(in.write.get(), input);
      if (n > 0) input.remove_prefix(static_cast<size_t>(n));
      if (n < 0 && errno != EAGAIN && errno != EINTR) input = "";
    }
    for (int i : {1, 2}) {
      if (fds[i].revents == 0) continue;
      UniqueFd& fd = i == 1 ? out.read : err.read;
      std::string& to = i == 1 ? result.output : result.errors;
      char buffer[16384];
      const ssize_t n = read(fd.get(), buffer, sizeof buffer);
      if (n > 0) to.append(buffer, static_cast<size_t>(n));
      if (n == 0 || (n < 0 && errno != EINTR)) fd.reset();
    }
    if (result.output.size() + result.errors.size() > max_output) {
      too_long = true;
      kill(pid, SIGKILL);
      break;
    }
  }
  in.write.reset();
  result.exit_code = WaitFor(pid);
  if (too_long) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": it printed more than ", max_output, " bytes"));
  }
  return result;
}

absl::StatusOr<Coprocess> Coprocess::Start(const std::vector<std::string>& argv) {
  ASSIGN_OR_RETURN(const std::string path, FindProgram(argv.at(0)));
  ASSIGN_OR_RETURN(Pipe in, NewPipe());
  ASSIGN_OR_RETURN(Pipe out, NewPipe());
  SpawnSettings settings;
  settings.Dup(in.read.get(), STDIN_FILENO);
  settings.Dup(out.write.get(), STDOUT_FILENO);
  settings.Dup(out.write.get(), STDERR_FILENO);
  Coprocess program;
  ASSIGN_OR_RETURN(program.pid_, settings.Spawn(path, argv));
  program.input_ = std::move(in.write);
  program.output_ = std::move(out.read);
  program.ended_.reset(static_cast<int>(syscall(SYS_pidfd_open, program.pid_, 0)));
  if (!program.ended_.valid()) return ErrnoError(errno, absl::StrCat(path, ": pidfd"));
  return program;
}

Coprocess::Coprocess(Coprocess&& o) noexcept
    : pid_(std::exchange(o.pid_, -1)),
      input_(std::move(o.input_)),
      output_(std::move(o.output_)),
      ended_(std::move(o.ended_)) {}

Coprocess::~Coprocess() {
  if (pid_ < 0) return;
  input_.reset();
  WaitFor(pid_);
}

absl::Status Coprocess::Write(absl::string_view text) {
  while (!text.empty()) {
    const ssize_t n = WriteQuietly(input_.get(), text);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat("process ", pid_, ": stdin"));
    text.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

}  // namespace atl::host
