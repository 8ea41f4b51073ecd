// SPDX-License-Identifier: Apache-2.0
#include "lib/base/status_macros.h"

#include <cstring>

namespace atl {

absl::Status ErrnoError(int error, absl::string_view what) {
  char text[128];
  // The GNU strerror_r: returns the text, which may not be `text`.
  const char* message = strerror_r(error, text, sizeof text);
  return absl::Status(absl::ErrnoToStatusCode(error), absl::StrCat(what, ": ", message));
}

}  // namespace atl
