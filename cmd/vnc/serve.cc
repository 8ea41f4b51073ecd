// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "cmd/vnc/commands.h"
#include "cmd/vnc/console_link.h"
#include "cmd/vnc/endpoint.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/cli/main.h"
#include "lib/cli/option.h"
#include "lib/cli/table.h"
#include "lib/console/attach.h"
#include "lib/console/viewer.h"
#include "lib/console/vnc_options.h"
#include "lib/host/event_loop.h"
#include "lib/host/file.h"
#include "lib/host/lockdown.h"
#include "lib/host/signals.h"
#include "lib/host/socket.h"
#include "lib/rfb/access.h"
#include "lib/rfb/server.h"

namespace atl::vnc {
namespace {

constexpr cli::Option kBefore[] = {
    {.name = "-l",
     .alias = "--listen",
     .arg = "ENDPOINT",
     .kind = cli::Kind::kString,
     .help = "where viewers come in: HOST:DISPLAY, HOST::PORT, unix:PATH or fd:N",
     .default_text = "what systemd passed, else localhost:0",
     .repeat = cli::Repeat::kEach},
    {.name = "--ws",
     .help = "serve WebSocket and HTTP on the same ports, and on port 5700+DISPLAY"},
    {.name = "--web",
     .arg = "DIR",
     .kind = cli::Kind::kString,
     .help = "folder of the viewer's page that HTTP serves",
     .default_text = "/usr/share/novnc"},
    {.name = "--web-host",
     .arg = "NAME",
     .kind = cli::Kind::kString,
     .help = "web pages of this host may connect, beside those of this server's own addresses",
     .repeat = cli::Repeat::kEach},
};
constexpr cli::Option kBehind[] = {
    {.name = "--record",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "write what the guest shows to a new file, for players of VNC recordings"},
    {.name = "--name",
     .arg = "TEXT",
     .kind = cli::Kind::kString,
     .help = "title of viewers' windows",
     .default_text = "the guest's name"},
};
constexpr auto kOptions = [] {
  std::array<cli::Option, std::size(kBefore) + console::kVncOptions.size() + std::size(kBehind)>
      out;
  auto at = std::copy(std::begin(kBefore), std::end(kBefore), out.begin());
  at = std::copy(console::kVncOptions.begin(), console::kVncOptions.end(), at);
  std::copy(std::begin(kBehind), std::end(kBehind), at);
  return out;
}();

constexpr uint64_t kMaxSmallFile = 1 << 20;
constexpr char kWebFolder[] = "/usr/share/novnc";

absl::StatusOr<std::string> ReadSmall(const std::string& path) {
  ASSIGN_OR_RETURN(std::vector<uint8_t> bytes, host::ReadFile(path, kMaxSmallFile));
  return std::string(bytes.begin(), bytes.end());
}

absl::StatusOr<rfb::Access> ReadAccess(const cli::Parsed& args) {
  rfb::Access out;
  const std::optional<std::string> passwords = args.Text("--password-file");
  const std::optional<std::string> users = args.Text("--users-file");
  const std::string auth = args.TextOr("--auth", users ? "plain" : passwords ? "vnc" : "none");
  if (auth == "vnc") {
    if (!passwords) return cli::UsageError("option '--auth': vnc needs --password-file");
    ASSIGN_OR_RETURN(const std::string text, ReadSmall(*passwords));
    absl::StatusOr<std::vector<rfb::VncPassword>> parsed = rfb::ParsePasswordFile(text);
    if (!parsed.ok()) return Annotate(parsed.status(), *passwords);
    out.passwords = *std::move(parsed);
    out.auth = rfb::Auth::kVnc;
  } else if (auth == "plain") {
    if (!users) return cli::UsageError("option '--auth': plain needs --users-file");
    ASSIGN_OR_RETURN(const std::string text, ReadSmall(*users));
    absl::StatusOr<std::vector<rfb::User>> parsed = rfb::ParseUserFile(text);
    if (!parsed.ok()) return Annotate(parsed.status(), *users);
    if (parsed->empty()) return absl::InvalidArgumentError(absl::StrCat(*users, ": has no user"));
    out.users = *std::move(parsed);
    out.auth = rfb::Auth::kPlain;
  }
  rfb::TlsFiles tls;
  for (const auto& [name, to] :
       {std::pair("--tls-cert", &tls.certificate), std::pair("--tls-key", &tls.key),
        std::pair("--tls-ca", &tls.authority)}) {
    const std::optional<std::string> path = args.Text(name);
    if (!path) continue;
    ASSIGN_OR_RETURN(*to, ReadSmall(*path));
  }
  if (args.Has("--tls-cert") != args.Has("--tls-key")) {
    return cli::UsageError("options '--tls-cert' and '--tls-key' belong together");
  }
  if (args.Has("--tls-ca") && !args.Has("--tls-cert")) {
    return cli::UsageError("option '--tls-ca' needs --tls-cert");
  }
  // A password in clear is the only thing worse than none.
  out.tls_required = args.Has("--tls") || out.auth == rfb::Auth::kPlain;
  if (out.tls_required || args.Has("--tls-cert")) {
    absl::StatusOr<std::shared_ptr<rfb::TlsCredentials>> loaded = rfb::LoadTls(tls);
    if (!loaded.ok()) return Annotate(loaded.status(), args.TextOr("--tls-cert", "TLS"));
    out.tls = *std::move(loaded);
  }
  for (const cli::Given* g : args.All("--web-host")) out.web_hosts.push_back(g->text);
  char host_name[256] = "";
  if (gethostname(host_name, sizeof host_name - 1) == 0) out.web_hosts.push_back(host_name);
  return out;
}

// What keeps strangers out of an endpoint that they reach.
absl::Status CheckExposed(const Endpoint& endpoint, const rfb::Access& access, bool insecure) {
  if (endpoint.local || insecure) return absl::OkStatus();
  if (access.auth == rfb::Auth::kNone) {
    return cli::UsageError(absl::StrCat(
        "option '-l': ", endpoint.text,
        " is reached from other hosts, and anybody may come in: give --password-file or "
        "--users-file, or --insecure"));
  }
  if (!access.tls_required) {
    return cli::UsageError(absl::StrCat(
        "option '-l': ", endpoint.text,
        " is reached from other hosts, and what is typed goes in clear: give --tls (and "
        "--tls-cert, --tls-key), or --insecure"));
  }
  return absl::OkStatus();
}

struct Listening {
  std::vector<rfb::Listener> listeners;
  std::vector<host::UnixListener> unix_sockets;  // whose names go with them
};

absl::Status Listen(const Endpoint& e, bool web, Listening* out) {
  const auto add = [&](UniqueFd fd, bool http_only) {
    out->listeners.push_back(
        {.fd = std::move(fd), .name = e.text, .websocket = web, .http_only = http_only});
  };
  switch (e.kind) {
    case Endpoint::Kind::kFd:
      add(UniqueFd(e.fd), false);
      return absl::OkStatus();
    case Endpoint::Kind::kUnix: {
      ASSIGN_OR_RETURN(host::UnixListener listener, host::UnixListener::Create(e.path));
      UniqueFd fd(fcntl(listener.fd(), F_DUPFD_CLOEXEC, 0));
      if (!fd.valid()) return ErrnoError(errno, e.path);
      add(std::move(fd), false);
      out->unix_sockets.push_back(std::move(listener));
      return absl::OkStatus();
    }
    case Endpoint::Kind::kTcp: {
      const std::string host = e.host.empty() ? "localhost" : e.host;
      ASSIGN_OR_RETURN(std::vector<UniqueFd> fds, host::ListenTcp(host, e.port));
      for (UniqueFd& fd : fds) add(std::move(fd), false);
      if (!web || !e.web_port) return absl::OkStatus();
      ASSIGN_OR_RETURN(fds, host::ListenTcp(host, *e.web_port));
      for (UniqueFd& fd : fds) add(std::move(fd), true);
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

// Everything is open. What a viewer could make of a hole in this process is to be
// little: it has a picture, read-only, and a keyboard.
absl::Status GiveUpTheRest() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  absl::StatusOr<host::LockdownResult> done = host::LockDown({});
  if (absl::IsUnimplemented(done.status())) {
    cli::PrintWarning(cli::ProgramName(), absl::StrCat("no sandbox: ", done.status().message()));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(done.status());
  return host::CheckLockdown(*done);
#else
  // The sanitizers' runtime reads /proc.
  return absl::OkStatus();
#endif
}

rfb::Sharing SharingOf(const std::string& policy) {
  return policy == "force-shared" ? rfb::Sharing::kForceShared
         : policy == "exclusive"  ? rfb::Sharing::kExclusive
                                  : rfb::Sharing::kAllowExclusive;
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  std::vector<Endpoint> endpoints;
  for (const cli::Given* g : args.All("-l")) {
    ASSIGN_OR_RETURN(Endpoint e, ParseEndpoint(g->text));
    endpoints.push_back(std::move(e));
  }
  if (endpoints.empty()) endpoints = SystemdEndpoints();
  if (endpoints.empty()) {
    ASSIGN_OR_RETURN(Endpoint e, ParseEndpoint("localhost:0"));
    endpoints.push_back(std::move(e));
  }
  rfb::ServerOptions options;
  ASSIGN_OR_RETURN(options.access, ReadAccess(args));
  for (const Endpoint& e : endpoints) {
    RETURN_IF_ERROR(CheckExposed(e, options.access, args.Has("--insecure")));
  }
  const bool web = args.Has("--ws");
  if (web) {
    absl::StatusOr<std::shared_ptr<const rfb::WebFiles>> files =
        rfb::LoadWebFiles(args.TextOr("--web", kWebFolder));
    // Without a page there are still WebSockets.
    if (files.ok()) {
      options.web = *std::move(files);
    } else if (args.Has("--web") || !absl::IsNotFound(files.status())) {
      return files.status();
    }
  }
  options.sharing = SharingOf(args.TextOr("--share", ""));
  options.view_only = args.Has("--view-only");
  options.max_clients = static_cast<unsigned>(args.NumberOr("--max-clients", 32));
  options.name = args.TextOr("--name", args.operands[0]);
  const auto say = [](absl::string_view line) {
    const std::string text = absl::StrCat(cli::ProgramName(), ": ", cli::Printable(line), "\n");
    fwrite(text.data(), 1, text.size(), stderr);
  };
  options.log = say;
  // Large updates are made faster, but no machine is for this alone.
  constexpr unsigned kMostThreads = 4;
  options.encoder_threads = std::clamp(std::thread::hardware_concurrency(), 1u, kMostThreads) - 1;
  if (args.Has("--record")) {
    options.record_name = args.TextOr("--record", "");
    options.record.reset(
        open(options.record_name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!options.record.valid()) return ErrnoError(errno, options.record_name);
  }

  Listening listening;
  for (const Endpoint& e : endpoints) RETURN_IF_ERROR(Listen(e, web, &listening));
  ASSIGN_OR_RETURN(std::unique_ptr<host::EventLoop> loop, host::EventLoop::Create());
  int signal_number = 0;
  ASSIGN_OR_RETURN(const std::unique_ptr<host::SignalWatch> signals,
                   host::SignalWatch::Create(loop.get(), {SIGINT, SIGTERM, SIGHUP}, [&](int s) {
                     signal_number = s;
                     loop->Quit();
                   }));
  // The last step: whoever started this takes the greeting as "it serves".
  ASSIGN_OR_RETURN(const std::unique_ptr<console::Viewer> viewer,
                   console::Attach(args.operands[0], options.view_only));
  absl::Status end;
  ConsoleLink link(viewer.get(), loop.get(), [&](absl::Status status) {
    end = std::move(status);
    loop->Quit();
  });
  ASSIGN_OR_RETURN(
      const std::unique_ptr<rfb::Server> server,
      rfb::Server::Create(loop.get(), &link, std::move(options), std::move(listening.listeners)));
  RETURN_IF_ERROR(GiveUpTheRest());
  RETURN_IF_ERROR(link.Start(server.get()));
  loop->Run();
  server->DisconnectAll(end.ok() ? "the server ends" : end.message());
  // The guest's end is no failure of ours.
  if (absl::IsUnavailable(end)) {
    say(end.message());
    return cli::kExitDone;
  }
  RETURN_IF_ERROR(end);
  return signal_number == 0 ? cli::kExitDone : 128 + signal_number;
}

}  // namespace

const cli::Command kServe = {
    .name = "serve",
    .operands = kGuestOperand,
    .summary = "show a guest to viewers",
    .options = kOptions,
    .min_operands = 1,
    .max_operands = 1,
    .run = Run,
    .notes =
        "VM is the name of a running guest, or the path of its console socket. A port beyond this\n"
        "host needs a password and TLS, or --insecure.",
};

}  // namespace atl::vnc
