// SPDX-License-Identifier: Apache-2.0
// -vnc, -console-socket and -k: who looks at the guest's screen from outside.
#ifndef CMD_RUN_VIEWER_OPTIONS_H_
#define CMD_RUN_VIEWER_OPTIONS_H_

#include <array>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/cli/option.h"
#include "lib/console/vnc_options.h"

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

// Of -vnc: where, and the options of vnc.
inline constexpr auto kVncKeys = [] {
  std::array<cli::Option, console::kVncOptions.size() + 3> out;
  out[0] = {.name = "display",
            .arg = "DISPLAY",
            .kind = cli::Kind::kString,
            .help = "HOST:DISPLAY, HOST::PORT, unix:PATH, fd:N or none",
            .required = true};
  out[1] = {.name = "websocket",
            .arg = "on|off",
            .kind = cli::Kind::kBool,
            .help = "browsers too",
            .default_text = "off"};
  auto at = out.begin() + 2;
  for (cli::Option option : console::kVncOptions) {
    option.name.remove_prefix(2);
    if (option.kind == cli::Kind::kFlag) {
      option.kind = cli::Kind::kBool;
      option.arg = "on|off";
      option.default_text = "off";
    }
    *at++ = option;
  }
  *at = {.name = "power-control",
         .arg = "on|off",
         .kind = cli::Kind::kBool,
         .help = "let viewers press the power and reset buttons",
         .default_text = "off"};
  return out;
}();

absl::StatusOr<ViewerOptions> ParseViewers(const cli::Parsed& args);
// "en-us en-gb …"
std::string LayoutNames();

}  // namespace atl::run

#endif  // CMD_RUN_VIEWER_OPTIONS_H_
