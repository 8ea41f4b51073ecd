// SPDX-License-Identifier: Apache-2.0
// What query-qmp-schema answers: the command table and the events in QEMU's
// introspection form (docs/devel/qapi-code-gen.rst, "Client JSON Protocol
// introspection").
#ifndef LIB_QMP_SCHEMA_H_
#define LIB_QMP_SCHEMA_H_

#include <span>

#include "absl/strings/string_view.h"
#include "lib/cli/json.h"

namespace atl::qmp {

std::span<const absl::string_view> EventNames();
void WriteSchema(cli::JsonWriter& out);

}  // namespace atl::qmp

#endif  // LIB_QMP_SCHEMA_H_
