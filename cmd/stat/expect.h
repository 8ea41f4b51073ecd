// SPDX-License-Identifier: Apache-2.0
// --expect: what must hold of a counter, "exits<1000/s".
#ifndef CMD_STAT_EXPECT_H_
#define CMD_STAT_EXPECT_H_

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::stat {

struct Expectation {
  std::string text;
  std::string field;
  enum class Op { kLess, kAtMost, kGreater, kAtLeast, kEqual, kNotEqual } op = Op::kLess;
  double value = 0;
  bool rate = false;  // per second; else the total

  bool Holds(double measured) const;
};

// A UsageError shows what is valid.
absl::StatusOr<Expectation> ParseExpectation(absl::string_view text);

}  // namespace atl::stat

#endif  // CMD_STAT_EXPECT_H_
