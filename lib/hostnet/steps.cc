// SPDX-License-Identifier: Apache-2.0
#include "lib/hostnet/steps.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace atl::hostnet {

std::vector<std::string> Plan::Lines() const {
  std::vector<std::string> lines;
  for (const Step& step : steps_) {
    for (const absl::string_view line : absl::StrSplit(step.text, '\n', absl::SkipEmpty())) {
      lines.emplace_back(line);
    }
  }
  return lines;
}

absl::Status Plan::Make() const {
  for (size_t i = 0; i < steps_.size(); ++i) {
    const absl::Status status = steps_[i].make();
    if (status.ok()) continue;
    std::string left;
    while (i-- > 0) {
      if (!steps_[i].undo) continue;
      const absl::Status undone = steps_[i].undo();
      if (!undone.ok()) {
        absl::StrAppend(&left, "; could not be undone: ", steps_[i].text, ": ", undone.message());
      }
    }
    return absl::Status(status.code(), absl::StrCat(status.message(), left));
  }
  return absl::OkStatus();
}

}  // namespace atl::hostnet
