// SPDX-License-Identifier: Apache-2.0
// "did you mean": the known word nearest to one that was mistyped.
#ifndef LIB_CLI_SUGGEST_H_
#define LIB_CLI_SUGGEST_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace atl::cli {

// The number of letters to insert, remove, replace or swap with a neighbour.
// Words of more than 64 letters are further apart than any others.
unsigned EditDistance(absl::string_view a, absl::string_view b);

// The nearest of `known`, or "" when none is near: at most a third of its
// letters differ, or one begins with the other. The first of equals.
absl::string_view Nearest(absl::string_view word, const std::vector<absl::string_view>& known);

// ": did you mean 'x'?" or "", to stand behind a message.
std::string DidYouMean(absl::string_view word, const std::vector<absl::string_view>& known);

}  // namespace atl::cli

#endif  // LIB_CLI_SUGGEST_H_
