// SPDX-License-Identifier: Apache-2.0
// What counters mean: one table for `stat -f help`, the man page's FIELDS, the
// completion and what `run` publishes. A counter that is not here is shown like
// any other; only its meaning is missing.
#ifndef LIB_STATS_FIELDS_H_
#define LIB_STATS_FIELDS_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/strings/string_view.h"
#include "lib/stats/format.h"

namespace atl::stats {

struct Field {
  absl::string_view name;      // as the kernel has it today; with NAME in it, a pattern
  absl::string_view old_name;  // of Linux 2.6.29 to 4.1, where it differs or `name` is new
  Type type = Type::kCumulative;
  Unit unit = Unit::kNone;
  int16_t exponent = 0;
  bool of_vm = false;         // counted for the VM, not for each vCPU
  absl::string_view meaning;  // one line, lower case, no full stop
};

// Sorted by name.
std::span<const Field> Fields();

// By today's name or an old one; patterns are matched. Null where it is unknown.
const Field* FindField(absl::string_view name);

// The old name by which --compat shows a counter; its own where it has no other.
absl::string_view OldName(absl::string_view name);

}  // namespace atl::stats

#endif  // LIB_STATS_FIELDS_H_
