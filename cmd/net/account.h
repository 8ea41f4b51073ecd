// SPDX-License-Identifier: Apache-2.0
#ifndef CMD_NET_ACCOUNT_H_
#define CMD_NET_ACCOUNT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace atl::net_tool {

// The number of a user or a group: as given, or from `file`, which has the form
// of /etc/passwd or /etc/group. Only these: the tool is one static file and asks
// no name service.
absl::StatusOr<uint32_t> AccountId(const std::string& file, const std::string& name);

}  // namespace atl::net_tool

#endif  // CMD_NET_ACCOUNT_H_
