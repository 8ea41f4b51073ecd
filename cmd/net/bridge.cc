// SPDX-License-Identifier: Apache-2.0
// net bridge, net nat: networks of the host that guests are connected to.
#include <signal.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "cmd/net/commands.h"
#include "cmd/net/foreground.h"
#include "cmd/net/report.h"
#include "cmd/net/services.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/hostnet/links.h"
#include "lib/hostnet/nat.h"

namespace atl::net_tool {
namespace {

constexpr cli::Option kForeground = {
    .name = "-f",
    .alias = "--foreground",
    .help = "stay, until a signal comes; what was made goes with the process",
};

constexpr cli::Option kBridgeOptions[] = {
    {.name = "-s",
     .alias = "--subnet",
     .arg = "auto|ADDR/BITS",
     .kind = cli::Kind::kString,
     .help = "the host's address on the bridge; auto takes a subnet that is free",
     .default_text = "none: the bridge only connects its ports",
     .choices = "auto"},
    {.name = "--no-nat", .help = "with a subnet: do not translate its addresses"},
    {.name = "--mtu",
     .arg = "BYTES",
     .kind = cli::Kind::kUnsigned,
     .help = "the largest packet",
     .default_text = "the kernel's, 1500",
     .min = 68,
     .max = 65535},
    {.name = "--mac",
     .arg = "ADDR",
     .kind = cli::Kind::kString,
     .help = "the bridge's MAC address",
     .default_text = "from the host's identity and the name"},
    kForeground,
    {.name = "--no-dhcp",
     .help = "in the foreground: do not answer guests' DHCP and DNS on the bridge"},
    {.name = "--resolver",
     .arg = "ADDR",
     .kind = cli::Kind::kString,
     .help = "in the foreground: who is asked for names",
     .default_text = "those of /etc/resolv.conf",
     .repeat = cli::Repeat::kEach},
    kForce,
    kDryRun,
    kJson,
};

constexpr cli::Option kNatOptions[] = {
    {.name = "-s",
     .alias = "--subnet",
     .arg = "auto|ADDR/BITS",
     .kind = cli::Kind::kString,
     .help = "the host's address on the interface",
     .default_text = "the one it has, else auto: a subnet that is free",
     .choices = "auto"},
    kForeground,
    kDryRun,
    kJson,
};

Facts AddressFact(const std::optional<netlink::IpPrefix>& address) {
  if (!address) return {};
  return {{"address", address->Text()}};
}

// A plan of the foreground.
using Planner = absl::StatusOr<hostnet::BridgePlan> (*)(const hostnet::Host&, const void* wish,
                                                        hostnet::NftOwner* owner);

absl::StatusOr<std::unique_ptr<BridgeServices>> StartServices(const cli::Parsed& args,
                                                              const std::string& bridge,
                                                              const netlink::IpPrefix& address,
                                                              bool router) {
  BridgeServices::Wish wish = {.bridge = bridge, .address = address, .router = router};
  wish.mtu = static_cast<uint32_t>(args.NumberOr("--mtu", 1500));
  for (const cli::Given* given : args.All("--resolver")) wish.resolvers.push_back(given->text);
  return BridgeServices::Start(wish);
}

// Makes it, serves those who are on it, and takes it away.
absl::StatusOr<int> Stay(const cli::Parsed& args, const std::string& name, bool nat, bool serve,
                         const void* wish, Planner planner) {
  sigset_t signals;
  sigemptyset(&signals);
  for (int s : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, s);
  if (args.Has("-n")) {
    ASSIGN_OR_RETURN(View view, Look(nat ? Rules::kNeeded : Rules::kNone));
    ASSIGN_OR_RETURN(hostnet::BridgePlan made, planner(view.host, wish, nullptr));
    ShowOnly(args, made.plan, name);
    return cli::kExitDone;
  }
  ASSIGN_OR_RETURN(Guardian guardian, Guardian::Start(RemoveNetworks));
  // A signal from here on waits until everything is made, and then unmade.
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  absl::Status ended;
  std::unique_ptr<BridgeServices> services;
  {
    std::optional<hostnet::NftOwner> owner;
    if (nat) {
      absl::StatusOr<hostnet::NftOwner> started = hostnet::NftOwner::Start();
      if (!started.ok()) {
        guardian.Dismiss();
        return started.status();
      }
      owner.emplace(*std::move(started));
    }
    hostnet::NftOwner* const tables = owner ? &*owner : nullptr;
    auto make = [&]() -> absl::Status {
      const hostnet::ChangeLock lock = hostnet::ChangeLock::Take();
      ASSIGN_OR_RETURN(View view, Look(nat ? Rules::kNeeded : Rules::kNone));
      ASSIGN_OR_RETURN(hostnet::BridgePlan made, planner(view.host, wish, tables));
      RETURN_IF_ERROR(made.plan.Make());
      if (serve && made.address) {
        // What is made goes with this process; so it does where this fails.
        ASSIGN_OR_RETURN(services, StartServices(args, name, *made.address, nat));
      }
      Tell(args, true, made.plan, name, "up", AddressFact(made.address));
      std::fflush(stdout);
      return absl::OkStatus();
    };
    ended = make();
    if (ended.ok()) ended = WaitForTheEnd(guardian, tables, services.get());
  }
  const hostnet::ChangeLock lock = hostnet::ChangeLock::Take();
  ASSIGN_OR_RETURN(View view, Look(Rules::kIfAny));
  const hostnet::Plan plan = hostnet::PlanRelease(view.host, hostnet::Process::Self());
  const absl::Status removed = plan.Make();
  guardian.Dismiss();
  RETURN_IF_ERROR(removed);
  RETURN_IF_ERROR(ended);
  return cli::kExitDone;
}

absl::StatusOr<std::string> Direction(const cli::Parsed& args) {
  const std::string& word = args.operands[0];
  if (word == "up" || word == "down") return word;
  return cli::UsageError(absl::StrCat("'", word, "' is neither up nor down"));
}

absl::StatusOr<int> RunBridge(const cli::Parsed& args) {
  ASSIGN_OR_RETURN(const std::string direction, Direction(args));
  const std::string& name = args.operands[1];
  if (direction == "down") {
    const hostnet::ChangeLock lock = hostnet::ChangeLock::Take();
    ASSIGN_OR_RETURN(View view, Look(Rules::kIfAny));
    ASSIGN_OR_RETURN(const hostnet::Plan plan,
                     hostnet::PlanBridgeDown(view.host, name, args.Has("-F")));
    return CarryOut(args, plan, name, "down");
  }
  hostnet::BridgeWish wish = {.name = name, .mtu = MtuOption(args)};
  ASSIGN_OR_RETURN(wish.mac, MacOption(args));
  if (args.Has("-s")) {
    ASSIGN_OR_RETURN(wish.address, ParseSubnet(args.TextOr("-s", "")));
    wish.any_address = !wish.address;
    wish.nat = !args.Has("--no-nat");
  }
  if (args.Has("-f")) {
    wish.foreground = true;
    wish.serves = !args.Has("--no-dhcp");
    return Stay(args, name, wish.nat, wish.serves, &wish,
                [](const hostnet::Host& host, const void* about, hostnet::NftOwner* owner) {
                  hostnet::BridgeWish mine = *static_cast<const hostnet::BridgeWish*>(about);
                  mine.owner = owner;
                  return hostnet::PlanBridgeUp(host, mine);
                });
  }
  const hostnet::ChangeLock lock = hostnet::ChangeLock::Take();
  ASSIGN_OR_RETURN(View view, Look(wish.nat ? Rules::kNeeded : Rules::kNone));
  ASSIGN_OR_RETURN(const hostnet::BridgePlan made, hostnet::PlanBridgeUp(view.host, wish));
  return CarryOut(args, made.plan, name, "up", AddressFact(made.address));
}

absl::StatusOr<int> RunNat(const cli::Parsed& args) {
  ASSIGN_OR_RETURN(const std::string direction, Direction(args));
  const std::string& name = args.operands[1];
  const std::string object = absl::StrCat("nat ", name);
  if (direction == "down") {
    const hostnet::ChangeLock lock = hostnet::ChangeLock::Take();
    ASSIGN_OR_RETURN(View view, Look(Rules::kIfAny));
    ASSIGN_OR_RETURN(const hostnet::Plan plan, hostnet::PlanNatDown(view.host, name));
    return CarryOut(args, plan, object, "down");
  }
  hostnet::NatWish wish = {.link = name};
  if (args.Has("-s")) {
    ASSIGN_OR_RETURN(wish.address, ParseSubnet(args.TextOr("-s", "")));
  }
  if (args.Has("-f")) {
    wish.foreground = true;
    return Stay(args, object, true, false, &wish,
                [](const hostnet::Host& host, const void* about, hostnet::NftOwner* owner) {
                  hostnet::NatWish mine = *static_cast<const hostnet::NatWish*>(about);
                  mine.owner = owner;
                  return hostnet::PlanNatUp(host, mine);
                });
  }
  const hostnet::ChangeLock lock = hostnet::ChangeLock::Take();
  ASSIGN_OR_RETURN(View view, Look(Rules::kNeeded));
  ASSIGN_OR_RETURN(const hostnet::BridgePlan made, hostnet::PlanNatUp(view.host, wish));
  return CarryOut(args, made.plan, object, "up", AddressFact(made.address));
}

}  // namespace

const cli::Command kBridge = {
    .name = "bridge",
    .operands = "up|down NAME",
    .summary = "make or delete a bridge, with a subnet of its own if asked",
    .options = kBridgeOptions,
    .min_operands = 2,
    .max_operands = 2,
    .run = RunBridge,
};

const cli::Command kNat = {
    .name = "nat",
    .operands = "up|down IF",
    .summary = "let guests behind an interface reach the world by the host's address",
    .options = kNatOptions,
    .min_operands = 2,
    .max_operands = 2,
    .run = RunNat,
};

}  // namespace atl::net_tool
