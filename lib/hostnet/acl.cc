// SPDX-License-Identifier: Apache-2.0
#include "lib/hostnet/acl.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"

namespace atl::hostnet {
namespace {

constexpr int kMostDepth = 8;
constexpr int kMostFiles = 64;

struct Reader {
  absl::string_view bridge;
  const std::function<absl::StatusOr<std::string>(const std::string&)>& read;
  bool allowed = false;
  std::string denied;  // where
  int files = 0;

  absl::Status File(const std::string& path, int depth) {
    if (depth > kMostDepth || ++files > kMostFiles) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": files include each other too often"));
    }
    ASSIGN_OR_RETURN(const std::string text, read(path));
    int number = 0;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      ++number;
      line = line.substr(0, line.find('#'));
      const std::vector<absl::string_view> words =
          absl::StrSplit(line, absl::ByAnyChar(" \t\r\v\f"), absl::SkipEmpty());
      if (words.empty()) continue;
      RETURN_IF_ERROR(Line(words, absl::StrCat(path, ":", number), depth));
    }
    return absl::OkStatus();
  }

  absl::Status Line(const std::vector<absl::string_view>& words, const std::string& where,
                    int depth) {
    if (words.size() != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": expecting allow, deny or include and one word"));
    }
    const bool meant = words[1] == bridge || words[1] == "all";
    if (words[0] == "allow") {
      if (meant) allowed = true;
    } else if (words[0] == "deny") {
      if (meant && denied.empty()) denied = where;
    } else if (words[0] == "include") {
      return Annotate(File(std::string(words[1]), depth + 1), where);
    } else {
      return absl::InvalidArgumentError(absl::StrCat(where, ": expecting allow, deny or include"));
    }
    return absl::OkStatus();
  }
};

}  // namespace

absl::Status CheckBridgeAllowed(
    const std::string& path, absl::string_view bridge,
    const std::function<absl::StatusOr<std::string>(const std::string& path)>& read) {
  Reader reader{.bridge = bridge, .read = read};
  RETURN_IF_ERROR(reader.File(path, 1));
  if (!reader.denied.empty()) {
    return absl::PermissionDeniedError(
        absl::StrCat("bridge ", bridge, ": ", reader.denied, " denies it"));
  }
  if (!reader.allowed) {
    return absl::PermissionDeniedError(
        absl::StrCat("bridge ", bridge, ": no line of ", path, " allows it"));
  }
  return absl::OkStatus();
}

}  // namespace atl::hostnet
