// SPDX-License-Identifier: Apache-2.0
// A schema and a reply by it, one a line.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "lib/qmp/json_value.h"
#include "lib/stats/sources/qmp_reply.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\n');
  const auto schema_text = atl::qmp::ParseJson(text.substr(0, end));
  if (!schema_text.ok()) return 0;
  const auto schemas = atl::stats::ParseQmpSchemas(*schema_text);
  if (!schemas.ok() || schemas->vcpu == nullptr || end == absl::string_view::npos) return 0;
  const auto reply = atl::qmp::ParseJson(text.substr(end + 1));
  if (!reply.ok()) return 0;
  const auto values = atl::stats::ParseQmpStats(*reply, *schemas->vcpu);
  if (!values.ok()) return 0;
  for (const auto& v : *values) {
    if (v.size() != schemas->vcpu->words) abort();
  }
  return 0;
}
