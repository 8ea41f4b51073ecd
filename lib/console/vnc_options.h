// SPDX-License-Identifier: Apache-2.0
// The options that say whom vnc lets in and how it shares a console: of vnc serve
// as they are, of run -vnc as keys, without the dashes and with on or off for flags.
// run only passes them on.
#ifndef LIB_CONSOLE_VNC_OPTIONS_H_
#define LIB_CONSOLE_VNC_OPTIONS_H_

#include <array>

#include "lib/cli/option.h"

namespace atl::console {

inline constexpr auto kVncOptions = std::to_array<cli::Option>({
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
     .default_text = "vnc with a password file, plain with a users file, else none",
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
});

}  // namespace atl::console

#endif  // LIB_CONSOLE_VNC_OPTIONS_H_
