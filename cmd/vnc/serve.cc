// SPDX-License-Identifier: Apache-2.0
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "cmd/vnc/commands.h"
#include "cmd/vnc/endpoint.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/cli/option.h"

namespace atl::vnc {
namespace {

constexpr cli::Option kOptions[] = {
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
    {.name = "--tls", .help = "refuse what is not encrypted; without a certificate anonymous TLS"},
    {.name = "--tls-cert",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "certificate of this server, PEM"},
    {.name = "--tls-key", .arg = "FILE", .kind = cli::Kind::kString, .help = "its key, PEM"},
    {.name = "--tls-ca",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "authority that viewers' certificates must be of, PEM"},
    {.name = "--auth",
     .arg = "HOW",
     .kind = cli::Kind::kEnum,
     .help = "how viewers prove who they are",
     .default_text = "vnc with --password-file, plain with --users-file, else none",
     .choices = "none vnc plain"},
    {.name = "--password-file",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "passwords as vncpasswd writes them"},
    {.name = "--users-file",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "lines NAME:HASH or NAME:HASH:view"},
    {.name = "--insecure",
     .help = "listen beyond this host although anybody may come in, or in clear"},
    {.name = "--view-only", .help = "take no keys, pointers or clipboards from viewers"},
    {.name = "--share",
     .arg = "POLICY",
     .kind = cli::Kind::kEnum,
     .help = "what happens to the others when a viewer wants the guest for itself",
     .default_text = "allow-exclusive",
     .choices = "allow-exclusive force-shared exclusive"},
    {.name = "--max-clients",
     .arg = "N",
     .kind = cli::Kind::kUnsigned,
     .help = "viewers at one time",
     .default_text = "32",
     .min = 1,
     .max = 1024},
    {.name = "--name",
     .arg = "TEXT",
     .kind = cli::Kind::kString,
     .help = "title of viewers' windows",
     .default_text = "the guest's name"},
};

absl::StatusOr<int> Run(const cli::Parsed& args) {
  std::vector<Endpoint> endpoints;
  for (const cli::Given* g : args.All("-l")) {
    ASSIGN_OR_RETURN(Endpoint e, ParseEndpoint(g->text));
    endpoints.push_back(std::move(e));
  }
  return absl::UnavailableError(absl::StrCat(args.operands[0], ": no guest of that name"));
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
