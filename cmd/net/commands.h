// SPDX-License-Identifier: Apache-2.0
// The verbs, one file each.
#ifndef CMD_NET_COMMANDS_H_
#define CMD_NET_COMMANDS_H_

#include "lib/cli/option.h"

namespace atl::net_tool {

extern const cli::Command kBridge;
extern const cli::Command kCheck;
extern const cli::Command kGc;
extern const cli::Command kHelper;
extern const cli::Command kIfDown;
extern const cli::Command kIfUp;
extern const cli::Command kList;
extern const cli::Command kNat;
extern const cli::Command kScript;
extern const cli::Command kTap;
extern const cli::Command kUser;

}  // namespace atl::net_tool

#endif  // CMD_NET_COMMANDS_H_
