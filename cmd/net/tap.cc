// SPDX-License-Identifier: Apache-2.0
// net tap: a tap for the program that it runs, or one that stays.
#include "lib/hostnet/tap.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cmd/net/account.h"
#include "cmd/net/commands.h"
#include "cmd/net/report.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/hostnet/links.h"
#include "lib/hostnet/names.h"
#include "lib/netlink/rtnetlink.h"

namespace atl::net_tool {
namespace {

// As env(1) and the shells have it.
constexpr int kExitCannotRun = 126;
constexpr int kExitNotFound = 127;

constexpr cli::Option kOptions[] = {
    {.name = "-b",
     .alias = "--bridge",
     .arg = "NAME",
     .kind = cli::Kind::kString,
     .help = "make the tap a port of this bridge",
     .default_text = "none"},
    {.name = "-q",
     .alias = "--queues",
     .arg = "N",
     .kind = cli::Kind::kUnsigned,
     .help = "descriptors for CMD, a queue of the tap each",
     .default_text = "1",
     .min = 1,
     .max = hostnet::kMostQueues},
    {.name = "--vnet-hdr", .help = "each frame stands behind a virtio-net header of 12 bytes"},
    {.name = "--offload",
     .help = "CMD takes frames without checksums and of up to 64 KiB; means --vnet-hdr"},
    {.name = "--name",
     .arg = "NAME",
     .kind = cli::Kind::kString,
     .help = "the tap's name; with a %d the first free number stands there",
     .default_text = "tap%d"},
    {.name = "--mtu",
     .arg = "BYTES",
     .kind = cli::Kind::kUnsigned,
     .help = "the largest packet",
     .default_text = "the bridge's, else 1500",
     .min = 68,
     .max = 65521},
    {.name = "--mac",
     .arg = "ADDR",
     .kind = cli::Kind::kString,
     .help = "MAC address of the host's end",
     .default_text = "fe: and a hash of the host's identity and the tap's name"},
    {.name = "--vm",
     .arg = "NAME",
     .kind = cli::Kind::kString,
     .help = "the machine whose name {mac} is made from",
     .default_text = "the host's identity and the tap's name"},
    {.name = "--index",
     .arg = "N",
     .kind = cli::Kind::kUnsigned,
     .help = "the number of the card that {mac} is for",
     .default_text = "0",
     .max = 255},
    {.name = "--owner",
     .arg = "USER",
     .kind = cli::Kind::kString,
     .help = "up: who may open the tap without being root",
     .default_text = "nobody"},
    {.name = "--group",
     .arg = "GROUP",
     .kind = cli::Kind::kString,
     .help = "up: the group that may open it",
     .default_text = "none"},
    {.name = "--multi-queue", .help = "up: it may have several queues"},
    kForce,
    kDryRun,
    kJson,
};

absl::StatusOr<int> Up(const cli::Parsed& args, const std::string& name) {
  hostnet::TapWish wish = {
      .name = name,
      .bridge = args.TextOr("-b", ""),
      .mtu = MtuOption(args),
      .multi_queue = args.Has("--multi-queue"),
      .vnet_hdr = args.Has("--vnet-hdr") || args.Has("--offload"),
  };
  ASSIGN_OR_RETURN(wish.mac, MacOption(args));
  if (args.Has("--owner")) {
    ASSIGN_OR_RETURN(wish.uid, AccountId("/etc/passwd", args.TextOr("--owner", "")));
  }
  if (args.Has("--group")) {
    ASSIGN_OR_RETURN(wish.gid, AccountId("/etc/group", args.TextOr("--group", "")));
  }
  const hostnet::ChangeLock lock = hostnet::ChangeLock::Take();
  ASSIGN_OR_RETURN(View view, Look(Rules::kNone));
  ASSIGN_OR_RETURN(const hostnet::Plan plan, hostnet::PlanTapUp(view.host, wish));
  return CarryOut(args, plan, name, "up");
}

absl::StatusOr<int> Down(const cli::Parsed& args, const std::string& name) {
  const hostnet::ChangeLock lock = hostnet::ChangeLock::Take();
  ASSIGN_OR_RETURN(View view, Look(Rules::kIfAny));
  ASSIGN_OR_RETURN(const hostnet::Plan plan, hostnet::PlanTapDown(view.host, name, args.Has("-F")));
  return CarryOut(args, plan, name, "down");
}

// What a tap for CMD is made like, once its name is known.
absl::StatusOr<netlink::LinkChange> Setting(const cli::Parsed& args, netlink::Socket* socket,
                                            absl::string_view name) {
  ASSIGN_OR_RETURN(std::optional<netlink::MacAddress> mac, MacOption(args));
  netlink::LinkChange change = {.up = true, .mtu = MtuOption(args)};
  change.mac = mac.value_or(hostnet::TapMac(absl::StrCat(hostnet::HostIdentity(), name)));
  hostnet::Tag tag = {.kind = "tap", .by = hostnet::Process::Self()};
  change.alias = tag.Text();
  if (const std::optional<std::string> bridge = args.Text("-b")) {
    RETURN_IF_ERROR(hostnet::CheckName(*bridge));
    ASSIGN_OR_RETURN(const netlink::Link link, netlink::FindLink(socket, *bridge));
    hostnet::HostState only;
    only.links.push_back(link);
    RETURN_IF_ERROR(hostnet::FindBridge(only, *bridge).status());
    change.master = link.index;
    if (!change.mtu) change.mtu = link.mtu;
  }
  return change;
}

void ShowRun(const cli::Parsed& args, const hostnet::TapOptions& options,
             const std::vector<std::string>& command) {
  std::string text = absl::StrCat(
      "ip tuntap add dev ", options.name, " mode tap", options.vnet_hdr ? " vnet_hdr" : "",
      options.queues > 1 ? " multi_queue" : "", "\nip link set dev ", options.name);
  if (args.Has("--mac")) absl::StrAppend(&text, " address ", args.TextOr("--mac", ""));
  if (args.Has("--mtu")) absl::StrAppend(&text, " mtu ", *args.Number("--mtu"));
  if (args.Has("-b")) absl::StrAppend(&text, " master ", args.TextOr("-b", ""));
  absl::StrAppend(&text, " up\n");
  std::vector<std::string> words;
  for (const std::string& word : command) words.push_back(hostnet::ShellWord(word));
  cli::Print(
      absl::StrCat(text, absl::StrJoin(words, " "), "\nip link delete dev ", options.name, "\n"));
}

absl::StatusOr<int> RunCommand(const cli::Parsed& args) {
  hostnet::TapOptions options = {
      .name = args.TextOr("--name", "tap%d"),
      .queues = static_cast<unsigned>(args.NumberOr("-q", 1)),
      .multi_queue = args.Has("--multi-queue"),
      .vnet_hdr = args.Has("--vnet-hdr") || args.Has("--offload"),
      .offload = args.Has("--offload"),
  };
  RETURN_IF_ERROR(hostnet::CheckNamePattern(options.name));
  std::vector<std::string> command = args.operands;
  if (args.Has("-n")) {
    ShowRun(args, options, command);
    return cli::kExitDone;
  }
  ASSIGN_OR_RETURN(hostnet::OpenTap tap, hostnet::NewTap(options));
  ASSIGN_OR_RETURN(netlink::Socket socket, netlink::Socket::Open());
  ASSIGN_OR_RETURN(const netlink::LinkChange change, Setting(args, &socket, tap.name));
  RETURN_IF_ERROR(netlink::ChangeLink(&socket, tap.name, change));

  std::vector<int> numbers;
  for (const UniqueFd& fd : tap.fds) {
    numbers.push_back(fd.get());
    // CMD inherits these and no other.
    if (fcntl(fd.get(), F_SETFD, 0) != 0) return ErrnoError(errno, "tap");
  }
  const std::string fds = absl::StrJoin(numbers, ":");
  const std::string mac = netlink::FormatMac(
      hostnet::GuestMac(args.TextOr("--vm", absl::StrCat(hostnet::HostIdentity(), tap.name)),
                        static_cast<uint32_t>(args.NumberOr("--index", 0))));
  std::vector<char*> words;
  for (std::string& word : command) {
    word = absl::StrReplaceAll(word, {{"{}", fds}, {"{name}", tap.name}, {"{mac}", mac}});
    words.push_back(word.data());
  }
  words.push_back(nullptr);
  // CMD is this process from here on: its exit status is its own, and the tap
  // goes with the last descriptor, however it ends.
  execvp(words[0], words.data());
  cli::PrintError(cli::ProgramName(), ErrnoError(errno, command[0]));
  return errno == ENOENT ? kExitNotFound : kExitCannotRun;
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  const std::string& first = args.operands[0];
  if (first != "up" && first != "down") {
    for (absl::string_view option : {"--owner", "--group", "-F", "-j"}) {
      if (args.Has(option)) {
        return cli::UsageError(
            absl::StrCat("option '", option, "' belongs to tap up and tap down"));
      }
    }
    return RunCommand(args);
  }
  if (args.operands.size() != 2) {
    return cli::UsageError(absl::StrCat("expecting tap ", first, " NAME"));
  }
  return first == "up" ? Up(args, args.operands[1]) : Down(args, args.operands[1]);
}

}  // namespace

const cli::Command kTap = {
    .name = "tap",
    .operands = "up|down NAME | -- CMD [ARG]...",
    .summary = "run a program with a tap, or make a tap that stays",
    .options = kOptions,
    .min_operands = 1,
    .max_operands = 100000,
    .run = Run,
    .notes =
        "In CMD and its arguments {} stands for the numbers of the tap's descriptors\n"
        "(3, or 3:4 with two queues), {name} for its name and {mac} for a MAC address\n"
        "for the guest's card. The tap is gone when CMD is.",
};

}  // namespace atl::net_tool
