// SPDX-License-Identifier: Apache-2.0
#include "lib/base/units.h"

#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace atl {
namespace {

constexpr absl::string_view kSuffixes = "bkmgtpe";

absl::Status NotASize(absl::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("not a size: '", text, "' (a number and an optional k, M, G, T, P or E)"));
}

}  // namespace

absl::StatusOr<uint64_t> ParseSize(absl::string_view text, uint64_t default_unit) {
  absl::string_view digits = text;
  uint64_t unit = default_unit;
  const bool hex = absl::StartsWithIgnoreCase(text, "0x");
  if (!digits.empty() && !hex) {
    size_t at = kSuffixes.find(absl::ascii_tolower(digits.back()));
    if (at != absl::string_view::npos) {
      unit = uint64_t{1} << (10 * at);
      digits.remove_suffix(1);
    }
  }
  if (digits.empty()) return NotASize(text);

  absl::string_view whole_text = digits;
  absl::string_view fraction_text;
  size_t dot = digits.find('.');
  if (dot != absl::string_view::npos && !hex) {
    whole_text = digits.substr(0, dot);
    fraction_text = digits.substr(dot + 1);
    if (fraction_text.empty() || fraction_text.size() > 15) return NotASize(text);
  }
  for (char c : digits) {
    // SimpleAtoi takes blanks and signs, which are no part of a size.
    if (!(hex ? absl::ascii_isalnum(c) : absl::ascii_isdigit(c) || c == '.')) return NotASize(text);
  }
  uint64_t whole = 0;
  if (!(hex ? absl::SimpleHexAtoi(whole_text, &whole) : absl::SimpleAtoi(whole_text, &whole))) {
    return NotASize(text);
  }
  unsigned __int128 bytes = static_cast<unsigned __int128>(whole) * unit;
  if (!fraction_text.empty()) {
    uint64_t numerator = 0;
    if (!absl::SimpleAtoi(fraction_text, &numerator)) return NotASize(text);
    unsigned __int128 part = static_cast<unsigned __int128>(numerator) * unit;
    for (size_t i = 0; i < fraction_text.size(); ++i) part /= 10;
    bytes += part;
  }
  if (bytes > static_cast<unsigned __int128>(std::numeric_limits<int64_t>::max())) {
    return absl::InvalidArgumentError(
        absl::StrCat("size '", text, "' is too large: the most is 8 EiB less one byte"));
  }
  return static_cast<uint64_t>(bytes);
}

std::string FormatSize(uint64_t bytes) {
  static constexpr const char* kNames[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  int i = 0;
  double v = static_cast<double>(bytes);
  while (v >= 1000 && i < 6) {
    v /= 1024;
    ++i;
  }
  return absl::StrFormat("%0.3g %s", v, kNames[i]);
}

}  // namespace atl
