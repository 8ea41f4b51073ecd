// SPDX-License-Identifier: Apache-2.0
// The verbs, one file each.
#ifndef CMD_NET_COMMANDS_H_
#define CMD_NET_COMMANDS_H_

#include "lib/cli/option.h"

namespace atl::net_tool {

extern const cli::Command kUser;

}  // namespace atl::net_tool

#endif  // CMD_NET_COMMANDS_H_
