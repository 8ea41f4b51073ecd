// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/control.h"
#include "lib/usernet/engine.h"
#include "lib/usernet/sandbox.h"

namespace atl::usernet {
namespace {

constexpr size_t kLongestError = 4096;
constexpr size_t kLongestAnswer = 1 << 20;
constexpr uint64_t kPatienceNs = 2'000'000'000;

// A pair of stream sockets: ours, nonblocking, and the child's.
absl::Status Pair(UniqueFd* ours, UniqueFd* theirs) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    return ErrnoError(errno, "socketpair");
  }
  ours->reset(fds[0]);
  theirs->reset(fds[1]);
  if (fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0) return ErrnoError(errno, "socketpair");
  return absl::OkStatus();
}

// Leaves nothing open but standard error and `keep`, which get the numbers from 3 on.
void CloseOthers(UniqueFd* keep, int count) {
  // Above all of them first, so that none is closed by another's move.
  for (int i = 0; i < count; ++i) keep[i].reset(fcntl(keep[i].release(), F_DUPFD_CLOEXEC, 64));
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  dup2(null, 0);
  dup2(null, 1);
  close_range(3, 63, 0);
  for (int i = 0; i < count; ++i) {
    dup2(keep[i].get(), 3 + i);
    keep[i].release();
    keep[i].reset(3 + i);
  }
  close_range(static_cast<unsigned>(3 + count), ~0u, 0);
}

absl::Status Serve(const Options& options, const ChildOptions& child, UniqueFd stream,
                   UniqueFd control, UniqueFd* ready) {
  ASSIGN_OR_RETURN(const std::unique_ptr<host::EventLoop> loop, host::EventLoop::Create());
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(loop.get(), options));
  engine->SetGuestGone([&loop] { loop->Quit(); });
  RETURN_IF_ERROR(engine->AddStream(std::move(stream), child.vnet_header));
  std::unique_ptr<ControlConnection> commands;
  ASSIGN_OR_RETURN(commands, ControlConnection::Create(loop.get(), std::move(control), engine.get(),
                                                       [&commands] { commands.reset(); }));
  if (child.lockdown) {
    const absl::Status locked = EnterSandbox(engine->options(), {});
    if (!locked.ok() && !absl::IsUnimplemented(locked)) return Annotate(locked, "user network");
  }
  ready->reset();  // nothing said: all is well
  loop->Run();
  return absl::OkStatus();
}

[[noreturn]] void ChildMain(const Options& options, const ChildOptions& child, pid_t parent,
                            UniqueFd stream, UniqueFd control, UniqueFd ready) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  prctl(PR_SET_NAME, "net-user");
  // A Ctrl-C at the terminal is for whoever started this.
  for (const int s : {SIGINT, SIGQUIT, SIGHUP, SIGPIPE, SIGTSTP}) signal(s, SIG_IGN);
  signal(SIGTERM, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  UniqueFd keep[] = {std::move(stream), std::move(control), std::move(ready)};
  CloseOthers(keep, 3);
  const absl::Status status =
      Serve(options, child, std::move(keep[0]), std::move(keep[1]), &keep[2]);
  if (!status.ok() && keep[2].valid()) {
    const std::string text(status.message());
    (void)!write(keep[2].get(), text.data(), std::min(text.size(), kLongestError));
  }
  _exit(status.ok() ? 0 : 1);
}

}  // namespace

absl::StatusOr<Child> StartChild(const Options& options, const ChildOptions& child) {
  RETURN_IF_ERROR(Completed(options).status());
  Child out;
  UniqueFd stream, control;
  RETURN_IF_ERROR(Pair(&out.stream, &stream));
  RETURN_IF_ERROR(Pair(&out.control, &control));
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  UniqueFd said(pipe_fds[0]), ready(pipe_fds[1]);
  const pid_t parent = getpid();
  out.pid = fork();
  if (out.pid < 0) return ErrnoError(errno, "fork");
  if (out.pid == 0) {
    ChildMain(options, child, parent, std::move(stream), std::move(control), std::move(ready));
  }
  ready.reset();
  std::string error(kLongestError, '\0');
  ssize_t n;
  do {
    n = read(said.get(), error.data(), error.size());
  } while (n < 0 && errno == EINTR);
  if (n == 0) return out;
  error.resize(n < 0 ? 0 : static_cast<size_t>(n));
  waitpid(out.pid, nullptr, 0);
  return absl::UnavailableError(error);
}

absl::StatusOr<std::string> TellChild(int control, absl::string_view command) {
  if (command.find('\n') != absl::string_view::npos) {
    return absl::InvalidArgumentError("a command is one line");
  }
  const std::string line(absl::StrCat(command, "\n"));
  if (send(control, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
      static_cast<ssize_t>(line.size())) {
    return absl::UnavailableError("the user-mode network takes no commands");
  }
  std::string answer;
  const uint64_t until = host::MonotonicNs() + kPatienceNs;
  while (answer.size() < kLongestAnswer) {
    const uint64_t now = host::MonotonicNs();
    pollfd p{control, POLLIN, 0};
    if (now >= until || poll(&p, 1, static_cast<int>((until - now) / 1'000'000 + 1)) == 0) {
      return absl::DeadlineExceededError("the user-mode network does not answer");
    }
    char bytes[4096];
    const ssize_t n = recv(control, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return absl::UnavailableError("the user-mode network has ended");
    answer.append(bytes, static_cast<size_t>(n));
    // The last line says how it went.
    absl::string_view text = answer;
    if (!absl::ConsumeSuffix(&text, "\n")) continue;
    const size_t end = text.rfind('\n');
    absl::string_view last = text.substr(end == absl::string_view::npos ? 0 : end + 1);
    if (last == "ok") return std::string(text.substr(0, text.size() - last.size()));
    if (absl::ConsumePrefix(&last, "error: ")) return absl::InvalidArgumentError(last);
  }
  return absl::DeadlineExceededError("the user-mode network does not come to an end");
}

}  // namespace atl::usernet
