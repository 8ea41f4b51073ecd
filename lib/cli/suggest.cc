// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/suggest.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace atl::cli {
namespace {

constexpr size_t kMaxLetters = 64;

}  // namespace

unsigned EditDistance(absl::string_view a, absl::string_view b) {
  if (a.size() > kMaxLetters || b.size() > kMaxLetters) return std::numeric_limits<unsigned>::max();
  // Three rows of the table: the row before the last is for swapped neighbours.
  unsigned rows[3][kMaxLetters + 1];
  for (size_t j = 0; j <= b.size(); ++j) rows[0][j] = static_cast<unsigned>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    unsigned* row = rows[i % 3];
    const unsigned* above = rows[(i + 2) % 3];
    const unsigned* above2 = rows[(i + 1) % 3];
    row[0] = static_cast<unsigned>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], above2[j - 2] + 1);
      }
    }
  }
  return rows[a.size() % 3][b.size()];
}

absl::string_view Nearest(absl::string_view word, const std::vector<absl::string_view>& known) {
  absl::string_view best;
  unsigned best_distance = std::numeric_limits<unsigned>::max();
  const std::string lower = absl::AsciiStrToLower(word);
  for (absl::string_view candidate : known) {
    const std::string name = absl::AsciiStrToLower(candidate);
    unsigned distance = EditDistance(lower, name);
    const size_t letters = std::max<size_t>(
        1, std::count_if(name.begin(), name.end(), [](char c) { return c != '-'; }));
    bool near = distance <= std::max<size_t>(1, letters / 3) && distance < letters;
    // "virtio" for "virtio-blk-pci", "qcow3" for "qcow".
    if (!near && lower.size() >= 3 &&
        (absl::StartsWith(name, lower) || (name.size() >= 3 && absl::StartsWith(lower, name)))) {
      near = true;
    }
    if (near && distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string DidYouMean(absl::string_view word, const std::vector<absl::string_view>& known) {
  absl::string_view nearest = Nearest(word, known);
  return nearest.empty() ? "" : absl::StrCat(": did you mean '", nearest, "'?");
}

}  // namespace atl::cli
