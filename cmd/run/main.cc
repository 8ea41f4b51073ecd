// SPDX-License-Identifier: Apache-2.0
// run: boots an unmodified PC guest in this process.
#include "lib/cli/main.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cmd/run/background.h"
#include "cmd/run/check.h"
#include "cmd/run/curses.h"
#include "cmd/run/options.h"
#include "cmd/run/sandbox.h"
#include "cmd/run/screendump.h"
#include "cmd/run/viewers.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/char/stream.h"
#include "lib/cli/json.h"
#include "lib/host/event_loop.h"
#include "lib/host/runtime_dir.h"
#include "lib/host/signals.h"
#include "lib/qmp/server.h"
#include "lib/vm/accel.h"
#include "lib/vm/console.h"
#include "lib/vm/machine.h"

namespace atl::run {
namespace {

constexpr int kExitCrash = 3;
constexpr int kExitTimeout = 124;

// --events json: an object a line, written at once.
class EventLog {
 public:
  static absl::StatusOr<std::unique_ptr<EventLog>> Open(const Invocation& invocation) {
    std::unique_ptr<EventLog> log(new EventLog);
    log->guest_ = invocation.machine.name;
    if (!invocation.events) return log;
    if (invocation.events_file.empty()) {
      log->fd_.reset(dup(STDERR_FILENO));
    } else {
      log->fd_.reset(open(invocation.events_file.c_str(),
                          O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644));
    }
    if (!log->fd_.valid()) {
      return ErrnoError(errno, absl::StrCat("option '--events': ", invocation.events_file));
    }
    return log;
  }

  void Write(absl::string_view event, absl::string_view detail) { Write(event, detail, -1, 0); }
  void Write(absl::string_view event, absl::string_view detail, int exit_status,
             uint64_t instructions) {
    if (!fd_.valid()) return;
    cli::JsonWriter json(0);
    json.BeginObject().Key("event").String(event).Key("guest").String(guest_);
    json.Key("ns").Number(host::MonotonicNs());
    if (!detail.empty()) json.Key("detail").String(detail);
    if (exit_status >= 0) json.Key("status").Number(static_cast<uint64_t>(exit_status));
    // Where the backend counts them.
    if (instructions != 0) json.Key("instructions").Number(instructions);
    json.EndObject();
    const std::string line = json.text() + "\n";
    // A reader that is gone must not end the guest.
    if (write(fd_.get(), line.data(), line.size()) < 0) fd_.reset();
  }

 private:
  UniqueFd fd_;
  std::string guest_;
};

// What is no error but should not be silent.
void Say(absl::string_view message) {
  const std::string line = absl::StrCat(cli::ProgramName(), ": ", message, "\n");
  fputs(line.c_str(), stderr);
}

int ExitStatus(const vm::End& end) {
  switch (end.kind) {
    case vm::EndKind::kPowerOff:
    case vm::EndKind::kReset:
      return cli::kExitDone;
    case vm::EndKind::kCrash:
      return kExitCrash;
    case vm::EndKind::kDebugExit:
      return end.status;
    case vm::EndKind::kQuit:
      return end.status;
    case vm::EndKind::kTimeout:
      return kExitTimeout;
    case vm::EndKind::kError:
      return cli::kExitFailed;
  }
  return cli::kExitFailed;
}

// The folder where other tools find this guest. Only a user who said where it is to
// be hears that it cannot be made: nothing but those tools needs it.
absl::StatusOr<std::unique_ptr<host::VmFolder>> MakeFolder(const std::string& name) {
  absl::StatusOr<std::unique_ptr<host::VmFolder>> folder =
      host::VmFolder::Create(host::RuntimeRoot(), name);
  // A socket's path is at most 107 bytes long.
  if (folder.ok() && (*folder)->path().size() > 96) {
    folder = absl::InvalidArgumentError(
        absl::StrCat((*folder)->path(), ": is too long for the sockets in it"));
  }
  if (!folder.ok()) {
    if (getenv("ATOLL_RUNTIME_DIR") == nullptr) return nullptr;
    return Annotate(folder.status(), "ATOLL_RUNTIME_DIR");
  }
  if ((*folder)->name() != name) {
    Say(absl::StrCat("other tools find this guest as '", (*folder)->name(), "'"));
  }
  return folder;
}

absl::StatusOr<int> RunGuest(const Invocation& invocation, Background& background) {
  vm::MachineConfig config = invocation.machine;
  // ps -o comm and top show the guest's name.
  prctl(PR_SET_NAME, config.name.c_str());

  ASSIGN_OR_RETURN(std::unique_ptr<EventLog> events, EventLog::Open(invocation));
  ASSIGN_OR_RETURN(std::unique_ptr<PidFile> pidfile, PidFile::Create(invocation.pidfile));
  ASSIGN_OR_RETURN(vm::Selection selection, vm::SelectBackend(config));
  for (const vm::BackendVerdict& v : selection.verdicts) {
    const bool chosen = v.backend == selection.backend;
    if (selection.verdicts.size() > 1 || config.accel == "auto") {
      cli::PrintWarning(cli::ProgramName(), absl::StrCat(chosen ? "using " : "not using ",
                                                         v.backend->name, ": ", v.verdict.reason));
    }
    events->Write(chosen ? "backend" : "backend-refused",
                  absl::StrCat(v.backend->name, ": ", v.verdict.reason));
  }

  ASSIGN_OR_RETURN(std::unique_ptr<host::EventLoop> loop, host::EventLoop::Create());
  vm::Machine* machine_to_end = nullptr;
  // Blocked before any thread starts, so that every thread inherits that.
  std::unique_ptr<CursesDisplay> curses;
  ASSIGN_OR_RETURN(
      std::unique_ptr<host::SignalWatch> signals,
      host::SignalWatch::Create(
          loop.get(), {SIGINT, SIGTERM, SIGHUP, SIGWINCH}, [&machine_to_end, &curses](int number) {
            if (number == SIGWINCH) {
              if (curses != nullptr) curses->Resized();
              return;
            }
            if (machine_to_end == nullptr) return;
            machine_to_end->RequestEnd(
                {vm::EndKind::kQuit, 128 + number, absl::StrCat("signal ", strsignal(number))});
          }));
  ASSIGN_OR_RETURN(std::unique_ptr<host::VmFolder> folder, MakeFolder(config.name));
  std::vector<qmp::MonitorConfig> sockets = invocation.monitors;
  if (folder != nullptr) {
    sockets.push_back({.protocol = qmp::Protocol::kControl,
                       .label = "control",
                       .carrier = qmp::Carrier::kUnix,
                       .path = absl::StrCat(folder->path(), "/control"),
                       .listens = true});
  }
  // Before the machine, so that nothing is made where nobody could reach it.
  ASSIGN_OR_RETURN(std::unique_ptr<qmp::Server> monitors,
                   qmp::Server::Create(*loop, sockets, ATOLL_VERSION));
  config.start_paused |= monitors->waits();
  ASSIGN_OR_RETURN(std::unique_ptr<vm::Machine> machine,
                   vm::Machine::Create(config, selection, *loop,
                                       [&events, &monitors](const vm::MachineEvent& e) {
                                         // "end" is written with the exit status.
                                         if (e.name != "end") events->Write(e.name, e.detail);
                                         if (e.name == "warning") Say(e.detail);
                                         monitors->OnEvent(e);
                                       }));
  machine_to_end = machine.get();
  RETURN_IF_ERROR(monitors->Start(*machine, [&machine, &invocation] {
    if (!invocation.machine.start_paused) machine->Cont().IgnoreError();
  }));
  if (vm::MuxedConsole* console = machine->muxed_console()) monitors->Share(*console);
  if (monitors->waits()) Say("the guest starts when a client has come to its monitor");
  std::unique_ptr<host::LoopTimer> timeout;
  if (invocation.timeout) {
    timeout = loop->NewTimer([&machine] {
      machine->RequestEnd({vm::EndKind::kTimeout, 0, "the time of --timeout is over"});
    });
    timeout->Arm(host::MonotonicNs() +
                 static_cast<uint64_t>(std::chrono::nanoseconds(*invocation.timeout).count()));
  }

  std::unique_ptr<Screendump> screendump;
  if (invocation.screendump) {
    screendump = std::make_unique<Screendump>(
        *invocation.screendump, *loop, *machine->screen(),
        [](const absl::Status& status) { Say(absl::StrCat("-screendump: ", status.message())); });
  }

  if (invocation.curses) {
    ASSIGN_OR_RETURN(curses,
                     CursesDisplay::Create(*loop, *machine->screen(), machine->input(), [&machine] {
                       machine->RequestEnd({vm::EndKind::kQuit, 0, "asked for at the console"});
                     }));
  }

  ASSIGN_OR_RETURN(std::unique_ptr<Viewers> viewers,
                   Viewers::Create(invocation.viewers, folder == nullptr ? "" : folder->path(),
                                   *machine, *loop, Say));

  // All is open, and the machine's threads come with Run().
  ASSIGN_OR_RETURN(bool sandboxed, EnterSandbox(invocation, folder.get()));
  if (sandboxed) monitors->SetSandboxed();
  RETURN_IF_ERROR(background.Leave());
  RETURN_IF_ERROR(viewers->Start());
  const vm::End end = machine->Run();
  curses.reset();
  viewers->Finish(end.detail.empty() ? "the guest has ended" : end.detail);
  absl::Status pictured = screendump != nullptr ? screendump->AtEnd() : absl::OkStatus();
  screendump.reset();
  const int status = ExitStatus(end);
  const uint64_t instructions = machine->instructions();
  timeout.reset();
  machine_to_end = nullptr;
  monitors->Finish();
  machine.reset();
  chr::RestoreTerminal();
  events->Write("end", end.detail, status, instructions);
  switch (end.kind) {
    case vm::EndKind::kError:
      return absl::InternalError(end.detail);
    case vm::EndKind::kCrash:
    case vm::EndKind::kTimeout:
      Say(end.detail);
      break;
    default:
      break;
  }
  RETURN_IF_ERROR(pictured);
  return status;
}

// -daemonize: the guest runs in a child, and we are done when it runs.
absl::StatusOr<int> RunInBackground(const Invocation& invocation) {
  ASSIGN_OR_RETURN(Background background, Background::Enter());
  if (background.parent()) return background.WaitForChild();
  return RunGuest(invocation, background);
}

absl::StatusOr<int> RunCommand(const cli::Parsed& args) {
  ASSIGN_OR_RETURN(Invocation invocation, Configure(args));
  switch (invocation.mode) {
    case Mode::kRun: {
      if (invocation.daemonize) return RunInBackground(invocation);
      Background foreground;
      return RunGuest(invocation, foreground);
    }
    case Mode::kCheck:
      return CheckHost(invocation);
    case Mode::kDryRun:
      return DryRun(invocation);
    case Mode::kList:
      return ShowList(invocation.list);
  }
  return cli::kExitFailed;
}

}  // namespace
}  // namespace atl::run

int main(int argc, char** argv) {
  // A closed pipe is an error of the write that hits it.
  signal(SIGPIPE, SIG_IGN);
  atl::cli::Command command = atl::run::kRunCommand;
  command.run = atl::run::RunCommand;
  return atl::cli::CommandMain(command, ATOLL_VERSION, argc, argv);
}
