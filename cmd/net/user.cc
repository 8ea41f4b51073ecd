// SPDX-License-Identifier: Apache-2.0
// net user: a network for guests that needs no rights.
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "cmd/net/commands.h"
#include "cmd/net/foreground.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/cli/main.h"
#include "lib/cli/option.h"
#include "lib/host/event_loop.h"
#include "lib/host/signals.h"
#include "lib/host/socket.h"
#include "lib/hostnet/tag.h"
#include "lib/usernet/control.h"
#include "lib/usernet/engine.h"
#include "lib/usernet/options.h"
#include "lib/usernet/sandbox.h"

namespace atl::net_tool {
namespace {

constexpr cli::Option kOptions[] = {
    {.name = "-4", .alias = "--ipv4-only", .help = "no IPv6"},
    {.name = "-6", .alias = "--ipv6-only", .help = "no IPv4"},
    {.name = "-n",
     .alias = "--net",
     .arg = "NET",
     .kind = cli::Kind::kString,
     .help = "the guests' network; once for IPv4, once for IPv6",
     .default_text = "10.0.2.0/24 fec0::/64",
     .repeat = cli::Repeat::kEach},
    {.name = "--host",
     .arg = "ADDR",
     .kind = cli::Kind::kString,
     .help = "the gateway's address, which is also the host's",
     .default_text = "the network's .2"},
    {.name = "--dns",
     .arg = "ADDR",
     .kind = cli::Kind::kString,
     .help = "the name server's address",
     .default_text = "the network's .3"},
    {.name = "--dhcp-start",
     .arg = "ADDR",
     .kind = cli::Kind::kString,
     .help = "the first address that DHCP gives",
     .default_text = "the network's .15"},
    {.name = "--hostname",
     .arg = "NAME",
     .kind = cli::Kind::kString,
     .help = "what DHCP tells guests they are called"},
    {.name = "--domain",
     .arg = "NAME",
     .kind = cli::Kind::kString,
     .help = "domain that DHCP tells"},
    {.name = "--search",
     .arg = "DOMAIN",
     .kind = cli::Kind::kString,
     .help = "domain that guests look names up in",
     .repeat = cli::Repeat::kEach},
    {.name = "-t",
     .alias = "--tftp",
     .arg = "FOLDER",
     .kind = cli::Kind::kString,
     .help = "serve the files below it by TFTP"},
    {.name = "-b",
     .alias = "--bootfile",
     .arg = "NAME",
     .kind = cli::Kind::kString,
     .help = "what a guest that boots from the network loads"},
    {.name = "-f",
     .alias = "--forward",
     .arg = "RULE",
     .kind = cli::Kind::kString,
     .help = "forward a port: tcp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT, or udp:...",
     .repeat = cli::Repeat::kEach},
    {.name = "-r",
     .alias = "--restrict",
     .help = "guests reach neither host nor world; forwards work"},
    {.name = "--no-loopback", .help = "the gateway's address does not lead to the host's loopback"},
    {.name = "-m",
     .alias = "--mtu",
     .arg = "N",
     .kind = cli::Kind::kUnsigned,
     .help = "the largest packet",
     .default_text = "1500",
     .min = 576,
     .max = 65521},
    {.name = "--resolver",
     .arg = "ADDR",
     .kind = cli::Kind::kString,
     .help = "name server of the host that queries go to",
     .default_text = "those of /etc/resolv.conf",
     .repeat = cli::Repeat::kEach},
    {.name = "-p",
     .alias = "--pcap",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "write all frames to it"},
    {.name = "-c",
     .alias = "--control",
     .arg = "SOCKET",
     .kind = cli::Kind::kString,
     .help = "take commands there: hostfwd_add RULE, hostfwd_remove RULE, info"},
    {.name = "--fd",
     .arg = "N",
     .kind = cli::Kind::kUnsigned,
     .help = "a connected stream socket with a guest at the other end",
     .repeat = cli::Repeat::kEach,
     .max = 1 << 20},
    {.name = "-1", .alias = "--one-off", .help = "end when the last guest has gone"},
    {.name = "--no-sandbox", .help = "keep rights that are not needed"},
};

constexpr size_t kMaxControllers = 8;

absl::StatusOr<uint32_t> Address(absl::string_view option, const std::string& text) {
  const std::optional<usernet::IpAddress> address = usernet::IpAddress::Parse(text);
  if (!address || !address->is4()) {
    return cli::UsageError(absl::StrCat("option '", option, "': '", text, "' is no IPv4 address"));
  }
  return address->v4();
}

absl::Status Usage(absl::string_view option, const absl::Status& status) {
  if (status.ok()) return status;
  return cli::UsageError(absl::StrCat("option '", option, "': ", status.message()));
}

absl::StatusOr<usernet::Options> NetworkOptions(const cli::Parsed& args) {
  usernet::Options o;
  o.ipv4 = !args.Has("-6");
  o.ipv6 = !args.Has("-4");
  for (const cli::Given* g : args.All("-n")) {
    RETURN_IF_ERROR(Usage("-n", usernet::ParseNetwork(g->text, &o)));
  }
  const struct {
    absl::string_view name;
    uint32_t* to;
  } kAddresses[] = {
      {"--host", &o.gateway}, {"--dns", &o.nameserver}, {"--dhcp-start", &o.first_lease}};
  for (const auto& [name, to] : kAddresses) {
    if (const std::optional<std::string> text = args.Text(name)) {
      ASSIGN_OR_RETURN(*to, Address(name, *text));
    }
  }
  o.hostname = args.TextOr("--hostname", "");
  o.domain = args.TextOr("--domain", "");
  for (const cli::Given* g : args.All("--search")) o.search.push_back(g->text);
  o.tftp = args.TextOr("-t", "");
  o.bootfile = args.TextOr("-b", "");
  for (const cli::Given* g : args.All("-f")) {
    const absl::StatusOr<usernet::Forward> f = usernet::ParseForward(g->text);
    RETURN_IF_ERROR(Usage("-f", f.status()));
    o.forwards.push_back(*f);
  }
  o.restricted = args.Has("-r");
  o.loopback = !args.Has("--no-loopback");
  o.mtu = static_cast<uint32_t>(args.NumberOr("-m", o.mtu));
  for (const cli::Given* g : args.All("--resolver")) {
    const std::optional<usernet::IpAddress> address = usernet::IpAddress::Parse(g->text);
    if (!address) {
      return cli::UsageError(absl::StrCat("option '--resolver': '", g->text, "' is no IP address"));
    }
    o.resolvers.push_back(*address);
  }
  o.pcap = args.TextOr("-p", "");
  absl::StatusOr<usernet::Options> completed = usernet::Completed(o);
  if (!completed.ok()) return cli::UsageError(completed.status().message());
  return completed;
}

// Who connects to a socket, one after the other.
class Door {
 public:
  static absl::StatusOr<std::unique_ptr<Door>> Open(host::EventLoop* loop, const std::string& path,
                                                    std::function<void(UniqueFd)> enter) {
    ASSIGN_OR_RETURN(host::UnixListener listener, host::UnixListener::Create(path));
    std::unique_ptr<Door> door(new Door(std::move(listener)));
    const int fd = door->listener_.fd();
    ASSIGN_OR_RETURN(door->watch_, loop->Watch(fd, EPOLLIN, [fd, enter](uint32_t) {
      absl::StatusOr<UniqueFd> guest = host::Accept(fd);
      if (guest.ok()) enter(*std::move(guest));
    }));
    return door;
  }

 private:
  explicit Door(host::UnixListener listener) : listener_(std::move(listener)) {}

  host::UnixListener listener_;
  std::unique_ptr<host::FdWatch> watch_;
};

absl::Status CheckStreamSocket(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
    return ErrnoError(errno, absl::StrCat("--fd ", fd));
  }
  if (type == SOCK_STREAM) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--fd ", fd, ": is no stream socket"));
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  ASSIGN_OR_RETURN(const usernet::Options options, NetworkOptions(args));
  if (args.operands.empty() && !args.Has("--fd")) {
    return cli::UsageError("where do guests come from? SOCKET or --fd is missing");
  }
  const std::string program(cli::ProgramName());
  std::vector<std::string> sockets(args.operands.begin(), args.operands.end());
  if (const std::optional<std::string> path = args.Text("-c")) sockets.push_back(*path);
  // The names of sockets outlive whoever is killed.
  std::optional<Guardian> guardian;
  if (!sockets.empty()) {
    ASSIGN_OR_RETURN(guardian, Guardian::Start([&sockets](const hostnet::Process&) {
                       bool left = false;
                       for (const std::string& path : sockets) {
                         left |= host::UnixListener::RemoveLeft(path);
                       }
                       return left;
                     }));
  }
  const absl::Cleanup dismiss = [&guardian] {
    if (guardian) guardian->Dismiss();
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<host::EventLoop> loop, host::EventLoop::Create());
  ASSIGN_OR_RETURN(const std::unique_ptr<host::SignalWatch> signals,
                   host::SignalWatch::Create(loop.get(), {SIGINT, SIGTERM, SIGHUP},
                                             [&loop](int) { loop->Quit(); }));
  ASSIGN_OR_RETURN(const std::unique_ptr<usernet::Engine> engine,
                   usernet::Engine::Create(loop.get(), options));
  const bool one_off = args.Has("-1");
  engine->SetGuestGone([&] {
    if (one_off && engine->guests() == 0) loop->Quit();
  });
  for (const cli::Given* g : args.All("--fd")) {
    const int fd = static_cast<int>(g->number);
    RETURN_IF_ERROR(CheckStreamSocket(fd));
    RETURN_IF_ERROR(engine->AddStream(UniqueFd(fd), /*vnet_header=*/false));
  }
  std::list<std::unique_ptr<usernet::ControlConnection>> controllers;
  std::unique_ptr<Door> control;
  if (const std::optional<std::string> path = args.Text("-c")) {
    ASSIGN_OR_RETURN(control, Door::Open(loop.get(), *path, [&](UniqueFd fd) {
                       if (controllers.size() >= kMaxControllers) return;
                       const auto place = controllers.emplace(controllers.end());
                       auto made = usernet::ControlConnection::Create(
                           loop.get(), std::move(fd), engine.get(),
                           [&controllers, place] { controllers.erase(place); });
                       if (made.ok()) {
                         *place = *std::move(made);
                       } else {
                         controllers.erase(place);
                       }
                     }));
  }
  std::unique_ptr<Door> guests;
  if (!args.operands.empty()) {
    ASSIGN_OR_RETURN(guests, Door::Open(loop.get(), args.operands[0], [&](UniqueFd fd) {
                       const absl::Status added =
                           engine->AddStream(std::move(fd), /*vnet_header=*/false);
                       if (!added.ok()) cli::PrintWarning(program, added.message());
                     }));
  }
  if (!args.Has("--no-sandbox")) {
    const absl::Status locked = usernet::EnterSandbox(options, sockets);
    if (absl::IsUnimplemented(locked)) {
      cli::PrintWarning(program, absl::StrCat("no sandbox: ", locked.message()));
    } else {
      RETURN_IF_ERROR(locked);
    }
  }
  bool guarded = true;
  std::unique_ptr<host::FdWatch> guard;
  if (guardian) {
    ASSIGN_OR_RETURN(guard, loop->Watch(guardian->ended_fd(), EPOLLIN, [&](uint32_t) {
      guarded = false;
      guard.reset();
      loop->Quit();
    }));
  }
  loop->Run();
  if (!guarded) return absl::AbortedError("the guardian process was killed");
  return cli::kExitDone;
}

}  // namespace

const cli::Command kUser = {
    .name = "user",
    .operands = "[SOCKET]",
    .summary = "serve a network without rights to guests that connect to SOCKET",
    .options = kOptions,
    .max_operands = 1,
    .run = Run,
};

}  // namespace atl::net_tool
