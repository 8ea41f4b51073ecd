// SPDX-License-Identifier: Apache-2.0
// Passing errors up: RETURN_IF_ERROR(expr) and ASSIGN_OR_RETURN(lhs, expr).
// Errors are absl::Status values; context is added on the way up with
// Annotate(), outermost first: "gtes11.img: qcow2: L1 table at 0x30000 lies
// past the end of the file". Only cmd/ prints them.
#ifndef LIB_BASE_STATUS_MACROS_H_
#define LIB_BASE_STATUS_MACROS_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace atl {

// The same code and payloads, the message "where: message". OK stays OK.
inline absl::Status Annotate(const absl::Status& status, absl::string_view where) {
  if (status.ok()) return status;
  absl::Status out(status.code(), absl::StrCat(where, ": ", status.message()));
  status.ForEachPayload(
      [&out](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
  return out;
}

// "what: No such file or directory", with the code that belongs to `error`.
// The text is strerror's, as in every other Unix tool.
absl::Status ErrnoError(int error, absl::string_view what);

}  // namespace atl

#define ATOLL_CONCAT_INNER(a, b) a##b
#define ATOLL_CONCAT(a, b) ATOLL_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                    \
  do {                                           \
    absl::Status atoll_status = (expr);          \
    if (!atoll_status.ok()) return atoll_status; \
  } while (0)

#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(ATOLL_CONCAT(atoll_status_or_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                          \
  if (!tmp.ok()) return tmp.status();         \
  lhs = std::move(tmp).value()

#endif  // LIB_BASE_STATUS_MACROS_H_
