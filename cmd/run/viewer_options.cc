// SPDX-License-Identifier: Apache-2.0
#include "cmd/run/viewer_options.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/cli/suggest.h"
#include "lib/ui/layout.h"

namespace atl::run {
std::string LayoutNames() {
  std::string out;
  for (const ui::Layout& l : ui::Layouts()) absl::StrAppend(&out, out.empty() ? "" : " ", l.name());
  return out;
}

absl::StatusOr<ViewerOptions> ParseViewers(const cli::Parsed& args) {
  ViewerOptions out;
  out.socket = args.TextOr("-console-socket", "");
  if (out.socket == "none") {
    out.socket.clear();
    out.no_socket = true;
  }
  out.layout = args.TextOr("-k", out.layout);
  if (ui::FindLayout(out.layout) == nullptr) {
    std::vector<absl::string_view> names;
    for (const ui::Layout& l : ui::Layouts()) names.push_back(l.name());
    return cli::UsageError(absl::StrCat("option '-k': no such layout '", out.layout, "'",
                                        cli::DidYouMean(out.layout, names),
                                        " (valid: ", LayoutNames(), ")"));
  }
  for (const cli::Given* given : args.All("-vnc")) {
    const cli::Parsed& keys = given->keys;
    const std::string display = keys.TextOr("display", "");
    if (display == "none") continue;
    VncOptions vnc;
    vnc.arguments = {"-l", display};
    if (keys.OnOr("websocket", false)) vnc.arguments.push_back("--ws");
    for (const cli::Option& option : console::kVncOptions) {
      const cli::Given* const value = keys.Find(option.name.substr(2));
      if (value == nullptr || !value->on) continue;
      vnc.arguments.push_back(std::string(option.name));
      if (option.kind != cli::Kind::kFlag) vnc.arguments.push_back(value->text);
    }
    vnc.power = keys.OnOr("power-control", false);
    out.vnc.push_back(std::move(vnc));
  }
  return out;
}

}  // namespace atl::run
