// SPDX-License-Identifier: Apache-2.0
// state.h's saved form for what is no device: a processor, a machine.
#ifndef LIB_DEV_NAMED_STATE_H_
#define LIB_DEV_NAMED_STATE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/dev/state.h"

namespace atl::dev {

// Names each field once, as Device::VisitState() does.
using Visit = absl::FunctionRef<void(StateVisitor&)>;

// `name` stands in the head, and in errors. As SaveState() and LoadState().
std::vector<uint8_t> SaveNamedState(absl::string_view name, Visit visit);
absl::Status LoadNamedState(absl::string_view name, std::span<const uint8_t> bytes, Visit visit);

}  // namespace atl::dev

#endif  // LIB_DEV_NAMED_STATE_H_
