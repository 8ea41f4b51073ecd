// SPDX-License-Identifier: Apache-2.0
#include "lib/stats/sources/source.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "lib/stats/sources/proc.h"

namespace atl::stats {

absl::string_view SourceName(SourceKind kind) {
  static constexpr absl::string_view kNames[kSourceKinds] = {"fd", "qmp", "debugfs", "trace"};
  return kNames[static_cast<unsigned>(kind)];
}

bool Wanted::Matches(absl::string_view vm, pid_t of, absl::string_view alias) const {
  if (pid && of != *pid) return false;
  return name.empty() || name == vm || (!alias.empty() && name == alias) ||
         (of > 0 && name == absl::StrCat(of));
}

std::string GuestName(const std::string& sysroot, pid_t pid) {
  const std::vector<std::string> words = CommandLine(sysroot, pid);
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] != "-name" && words[i] != "--name") continue;
    absl::string_view name = words[i + 1];
    for (absl::string_view item : absl::StrSplit(words[i + 1], ',')) {
      if (absl::ConsumePrefix(&item, "guest=")) name = item;
    }
    name = name.substr(0, name.find(','));
    if (!name.empty() && name.find('=') == absl::string_view::npos) return std::string(name);
  }
  return absl::StrCat(pid);
}

}  // namespace atl::stats
