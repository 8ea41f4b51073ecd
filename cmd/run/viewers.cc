// SPDX-License-Identifier: Apache-2.0
#include "cmd/run/viewers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event.h"
#include "lib/ui/layout.h"

extern char** environ;

namespace atl::run {
namespace {

// Where a child finds its end of the console.
constexpr int kChildFd = 3;

// vnc as it is beside this program: installed under one of two names, or in the
// build tree.
absl::StatusOr<std::string> FindVnc() {
  char self[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self);
  if (n <= 0 || n == sizeof self) return ErrnoError(errno, "/proc/self/exe");
  std::string folder(self, static_cast<size_t>(n));
  folder.erase(folder.rfind('/'));
  for (const char* const name : {"/vnc", "/atoll-vnc", "/../vnc/vnc"}) {
    const std::string path = folder + name;
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return absl::NotFoundError(absl::StrCat("there is no program vnc or atoll-vnc in ", folder));
}

// `fd` becomes its kChildFd.
absl::Status Spawn(const std::string& program, const std::vector<std::string>& arguments, int fd) {
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, fd, kChildFd);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // Signals as they were before we took them for ourselves; those of the terminal
  // are for us, and it ends when we do.
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t pid;
  const int error = posix_spawn(&pid, program.c_str(), &files, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  return error == 0 ? absl::OkStatus() : ErrnoError(error, program);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Viewers>> Viewers::Create(
    const ViewerOptions& options, const std::string& folder, vm::Machine& machine,
    host::EventLoop& loop, std::function<void(absl::string_view)> say) {
  std::unique_ptr<Viewers> out(new Viewers);
  console::ServerOptions server;
  server.name = machine.config().name;
  server.layout = ui::FindLayout(options.layout);
  if (!options.socket.empty()) {
    server.path = options.socket;
  } else if (!options.no_socket && !folder.empty()) {
    server.path = folder + "/console";
  }
  if (machine.screen() == nullptr || (server.path.empty() && options.vnc.empty())) return out;
  console::ServerHooks hooks;
  if (std::any_of(options.vnc.begin(), options.vnc.end(),
                  [](const VncOptions& v) { return v.power; })) {
    hooks.power = [&machine, &loop](console::PowerAction action) {
      loop.Post([&machine, action] {
        if (action == console::PowerAction::kReset) {
          machine.ResetFromOutside();
        } else {
          machine.PressPowerButton();
        }
      });
    };
  }
  ASSIGN_OR_RETURN(out->server_, console::Server::Create(std::move(server), *machine.screen(),
                                                         machine.input(), std::move(hooks)));
  for (const VncOptions& vnc : options.vnc) {
    absl::Status started = out->StartVnc(vnc, say);
    if (!started.ok()) return Annotate(started, "-vnc");
  }
  return out;
}

absl::Status Viewers::StartVnc(const VncOptions& options,
                               std::function<void(absl::string_view)> say) {
  ASSIGN_OR_RETURN(const std::string program, FindVnc());
  ASSIGN_OR_RETURN(host::Event made, host::Event::Create());
  // vnc greets when it can serve. What these share outlives this call.
  struct State {
    host::Event event;
    bool serves = false;
    bool gone = false;
  };
  auto state = std::make_shared<State>(State{std::move(made)});
  console::ViewerHooks hooks;
  hooks.came = [state] {
    state->serves = true;
    state->event.Signal();
  };
  hooks.gone = [state, say] {
    if (state->serves) say("-vnc: vnc has ended; the guest goes on without");
    state->gone = true;
    state->event.Signal();
  };
  {
    ASSIGN_OR_RETURN(const UniqueFd end, server_->NewViewer(std::move(hooks)));
    std::vector<std::string> arguments = {"serve", absl::StrCat("fd:", kChildFd)};
    arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
    RETURN_IF_ERROR(Spawn(program, arguments, end.get()));
  }
  RETURN_IF_ERROR(server_->ServeUntil(state->event.fd()));
  state->event.Clear();
  if (!state->serves) return absl::UnavailableError("vnc could not start; it has said why");
  return absl::OkStatus();
}

absl::Status Viewers::Start() { return server_ == nullptr ? absl::OkStatus() : server_->Start(); }

void Viewers::Finish(absl::string_view reason) {
  if (server_ != nullptr) server_->Finish(reason);
}

}  // namespace atl::run
