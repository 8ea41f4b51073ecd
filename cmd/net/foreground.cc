// SPDX-License-Identifier: Apache-2.0
#include "cmd/net/foreground.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "cmd/net/report.h"
#include "lib/base/status_macros.h"
#include "lib/hostnet/links.h"
#include "lib/hostnet/tag.h"

namespace atl::net_tool {
namespace {

constexpr timespec kPause = {.tv_sec = 0, .tv_nsec = 5'000'000};

// The guardian's life. Never returns.
[[noreturn]] void Guard(int pipe, const hostnet::Process& parent,
                        const Guardian::CleanUp& clean_up) {
  setsid();
  prctl(PR_SET_NAME, "net-guardian");
  // What the parent has open is to end with the parent.
  if (pipe != 3) dup2(pipe, 3);
  pipe = 3;
  close_range(4, ~0U, 0);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd : {0, 1, 2}) dup2(null, fd);
  char byte = 0;
  ssize_t n = 0;
  while ((n = read(pipe, &byte, 1)) < 0 && errno == EINTR) {
  }
  if (n > 0) _exit(0);
  // Its descriptors are closed before it counts as dead.
  for (int i = 0; i < 400 && parent.Alive(); ++i) nanosleep(&kPause, nullptr);
  // A second look finds what a program of the parent's did meanwhile.
  for (int i = 0; i < 5; ++i) {
    if (!clean_up(parent) && i > 0) break;
    nanosleep(&kPause, nullptr);
  }
  _exit(0);
}

}  // namespace

bool RemoveNetworks(const hostnet::Process& dead) {
  absl::StatusOr<View> view = Look(Rules::kIfAny);
  if (!view.ok()) return true;  // once more
  const hostnet::Plan plan = hostnet::PlanGc(view->host, dead);
  (void)plan.Make();
  return !plan.empty();
}

absl::StatusOr<Guardian> Guardian::Start(const CleanUp& clean_up) {
  const hostnet::Process self = hostnet::Process::Self();
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  UniqueFd end(fds[0]);
  Guardian guardian;
  guardian.pipe_.reset(fds[1]);
  // Programs that this process runs have it, too: the guardian waits for the last of them,
  // since what one of them makes after the process was killed is to go as well.
  if (fcntl(fds[1], F_SETFD, 0) != 0) return ErrnoError(errno, "pipe");
  std::fflush(stdout);
  guardian.pid_ = fork();
  if (guardian.pid_ < 0) return ErrnoError(errno, "guardian process");
  if (guardian.pid_ == 0) {
    guardian.pipe_.reset();
    Guard(end.get(), self, clean_up);
  }
  guardian.ended_.reset(static_cast<int>(syscall(SYS_pidfd_open, guardian.pid_, 0)));
  if (!guardian.ended_.valid()) return ErrnoError(errno, "guardian process");
  return guardian;
}

void Guardian::Dismiss() {
  const char byte = 'q';
  // It may have been killed.
  signal(SIGPIPE, SIG_IGN);
  if (write(pipe_.get(), &byte, 1) < 0) pipe_.reset();
  waitpid(pid_, nullptr, 0);
}

absl::Status WaitForTheEnd(const Guardian& guardian, const hostnet::NftOwner* owner,
                           BridgeServices* services) {
  sigset_t signals;
  sigemptyset(&signals);
  for (int s : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, s);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const UniqueFd signalled(signalfd(-1, &signals, SFD_CLOEXEC));
  std::array<pollfd, 4> fds = {
      {{.fd = signalled.get(), .events = POLLIN},
       {.fd = guardian.ended_fd(), .events = POLLIN},
       {.fd = owner == nullptr ? -1 : owner->ended_fd(), .events = POLLIN},
       {.fd = services == nullptr ? -1 : services->fd(), .events = POLLIN}}};
  for (;;) {
    if (poll(fds.data(), fds.size(), -1) < 0) continue;  // EINTR
    if (fds[0].revents != 0) return absl::OkStatus();
    if (fds[1].revents != 0) return absl::AbortedError("the guardian process was killed");
    if (fds[2].revents != 0) {
      return absl::AbortedError("the nft process, which holds the translation, was killed");
    }
    services->Serve();
  }
}

}  // namespace atl::net_tool
