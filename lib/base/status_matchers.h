// SPDX-License-Identifier: Apache-2.0
// For tests: ASSERT_OK, EXPECT_OK and ASSERT_OK_AND_ASSIGN print the status of
// what failed; StatusIs(code, substring) matches both parts of an error.
#ifndef LIB_BASE_STATUS_MATCHERS_H_
#define LIB_BASE_STATUS_MATCHERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_macros.h"

namespace atl {

inline const absl::Status& StatusOf(const absl::Status& s) { return s; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& s) {
  return s.status();
}

MATCHER(IsOk, negation ? "is an error" : "is OK") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

MATCHER_P2(StatusIs, code, text, "") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code &&
         std::string(StatusOf(arg).message()).find(text) != std::string::npos;
}

}  // namespace atl

#define EXPECT_OK(expr) EXPECT_THAT((expr), ::atl::IsOk())
#define ASSERT_OK(expr) ASSERT_THAT((expr), ::atl::IsOk())
#define ASSERT_OK_AND_ASSIGN(lhs, expr) \
  ASSERT_OK_AND_ASSIGN_IMPL(ATOLL_CONCAT(atoll_status_or_, __LINE__), lhs, expr)
#define ASSERT_OK_AND_ASSIGN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                              \
  ASSERT_OK(tmp);                                 \
  lhs = std::move(tmp).value()

#endif  // LIB_BASE_STATUS_MATCHERS_H_
