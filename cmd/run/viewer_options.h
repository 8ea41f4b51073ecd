// SPDX-License-Identifier: Apache-2.0
// -vnc, -console-socket and -k: who looks at the guest's screen from outside.
#ifndef CMD_RUN_VIEWER_OPTIONS_H_
#define CMD_RUN_VIEWER_OPTIONS_H_

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/cli/option.h"

namespace atl::run {

struct VncOptions {
  std::vector<std::string> arguments;  // of vnc, after the guest
  bool power = false;                  // viewers may use the power and reset buttons
};

struct ViewerOptions {
  // Of the console socket. Empty: in the VM's folder, where there is one.
  std::string socket;
  bool no_socket = false;
  std::string layout = "en-us";
  std::vector<VncOptions> vnc;

  bool any() const { return !no_socket || !vnc.empty(); }
};

inline constexpr cli::Option kVncKeys[] = {
    {.name = "display",
     .arg = "DISPLAY",
     .kind = cli::Kind::kString,
     .help = "HOST:DISPLAY, HOST::PORT, unix:PATH, fd:N or none",
     .required = true},
    {.name = "websocket",
     .arg = "on|off",
     .kind = cli::Kind::kBool,
     .help = "browsers too",
     .default_text = "off"},
    {.name = "tls",
     .arg = "on|off",
     .kind = cli::Kind::kBool,
     .help = "refuse what is not encrypted",
     .default_text = "off"},
    {.name = "tls-cert", .arg = "FILE", .kind = cli::Kind::kString, .help = "certificate, PEM"},
    {.name = "tls-key", .arg = "FILE", .kind = cli::Kind::kString, .help = "its key, PEM"},
    {.name = "tls-ca",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "authority of viewers' certificates, PEM"},
    {.name = "auth",
     .arg = "HOW",
     .kind = cli::Kind::kEnum,
     .help = "how viewers prove who they are",
     .choices = "none vnc plain"},
    {.name = "password-file",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "passwords as vncpasswd writes them"},
    {.name = "users-file",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "names and passwords"},
    {.name = "insecure",
     .arg = "on|off",
     .kind = cli::Kind::kBool,
     .help = "beyond this host without password or encryption",
     .default_text = "off"},
    {.name = "view-only",
     .arg = "on|off",
     .kind = cli::Kind::kBool,
     .help = "take no input",
     .default_text = "off"},
    {.name = "share",
     .arg = "POLICY",
     .kind = cli::Kind::kEnum,
     .help = "when a viewer wants the guest for itself",
     .default_text = "allow-exclusive",
     .choices = "allow-exclusive force-shared exclusive"},
    {.name = "max-clients",
     .arg = "N",
     .kind = cli::Kind::kUnsigned,
     .help = "viewers at one time",
     .default_text = "32",
     .min = 1,
     .max = 1024},
    {.name = "power-control",
     .arg = "on|off",
     .kind = cli::Kind::kBool,
     .help = "let viewers press the power and reset buttons",
     .default_text = "off"},
};

absl::StatusOr<ViewerOptions> ParseViewers(const cli::Parsed& args);
// "en-us en-gb …"
std::string LayoutNames();

}  // namespace atl::run

#endif  // CMD_RUN_VIEWER_OPTIONS_H_
