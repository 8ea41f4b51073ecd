// SPDX-License-Identifier: Apache-2.0
#include "cmd/stat/expect.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/cli/option.h"

namespace atl::stat {

bool Expectation::Holds(double measured) const {
  switch (op) {
    case Op::kLess:
      return measured < value;
    case Op::kAtMost:
      return measured <= value;
    case Op::kGreater:
      return measured > value;
    case Op::kAtLeast:
      return measured >= value;
    case Op::kEqual:
      return measured == value;
    case Op::kNotEqual:
      return measured != value;
  }
  return false;
}

absl::StatusOr<Expectation> ParseExpectation(absl::string_view text) {
  struct Name {
    absl::string_view text;
    Expectation::Op op;
  };
  // Longer ones first.
  static constexpr Name kOps[] = {
      {"<=", Expectation::Op::kAtMost}, {">=", Expectation::Op::kAtLeast},
      {"==", Expectation::Op::kEqual},  {"!=", Expectation::Op::kNotEqual},
      {"<", Expectation::Op::kLess},    {">", Expectation::Op::kGreater},
      {"=", Expectation::Op::kEqual},
  };
  const auto bad = [text] {
    return cli::UsageError(
        absl::StrCat("option '--expect': '", text,
                     "' is no FIELD<NUMBER or FIELD<NUMBER/s (valid: < <= > >= == !=)"));
  };
  Expectation out;
  out.text = std::string(text);
  const size_t at = text.find_first_of("<>=!");
  if (at == absl::string_view::npos) return bad();
  out.field = std::string(absl::StripAsciiWhitespace(text.substr(0, at)));
  absl::string_view rest = text.substr(at);
  bool found = false;
  for (const Name& n : kOps) {
    if (found || !absl::ConsumePrefix(&rest, n.text)) continue;
    out.op = n.op;
    found = true;
  }
  rest = absl::StripAsciiWhitespace(rest);
  out.rate = absl::ConsumeSuffix(&rest, "/s");
  double factor = 1;
  if (absl::ConsumeSuffix(&rest, "k")) factor = 1e3;
  if (absl::ConsumeSuffix(&rest, "M")) factor = 1e6;
  if (!found || out.field.empty() || !absl::SimpleAtod(rest, &out.value) ||
      !std::isfinite(out.value)) {
    return bad();
  }
  out.value *= factor;
  return out;
}

}  // namespace atl::stat
