// SPDX-License-Identifier: Apache-2.0
// net user: a network for guests that needs no rights.
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cmd/net/commands.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/cli/option.h"
#include "lib/usernet/options.h"

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

absl::StatusOr<int> Run(const cli::Parsed& args) {
  usernet::Options options;
  for (const cli::Given* g : args.All("-n")) {
    RETURN_IF_ERROR(usernet::ParseNetwork(g->text, &options));
  }
  RETURN_IF_ERROR(usernet::Completed(options).status());
  return absl::UnimplementedError("user: the network itself is not built yet");
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
