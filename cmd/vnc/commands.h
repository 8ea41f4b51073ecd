// SPDX-License-Identifier: Apache-2.0
// The subcommands, one file each.
#ifndef CMD_VNC_COMMANDS_H_
#define CMD_VNC_COMMANDS_H_

#include "lib/cli/option.h"

namespace atl::vnc {

extern const cli::Command kBench;
extern const cli::Command kKey;
extern const cli::Command kServe;
extern const cli::Command kShot;
extern const cli::Command kType;
extern const cli::Command kWait;

// The first operand of every command.
inline constexpr absl::string_view kGuestOperand = "VM";

}  // namespace atl::vnc

#endif  // CMD_VNC_COMMANDS_H_
