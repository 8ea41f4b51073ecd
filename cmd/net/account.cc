// SPDX-License-Identifier: Apache-2.0
#include "cmd/net/account.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"
#include "lib/host/file.h"

namespace atl::net_tool {

absl::StatusOr<uint32_t> AccountId(const std::string& file, const std::string& name) {
  uint32_t id = 0;
  if (!name.empty() && std::all_of(name.begin(), name.end(), absl::ascii_isdigit) &&
      absl::SimpleAtoi(name, &id) && id != ~0u) {
    return id;
  }
  ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, host::ReadFile(file, 16 << 20));
  const absl::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    if (fields.size() >= 3 && fields[0] == name && absl::SimpleAtoi(fields[2], &id)) return id;
  }
  return absl::NotFoundError(absl::StrCat(file, ": there is no '", name, "'; a number works too"));
}

}  // namespace atl::net_tool
