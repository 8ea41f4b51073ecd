// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/string_view.h"
#include "lib/stats/sources/trace_format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto format = atl::stats::ParseTraceFormat({reinterpret_cast<const char*>(data), size});
  if (!format.ok()) return 0;
  // The text stands in for a record.
  for (const atl::stats::TraceField& f : format->fields) {
    (void)atl::stats::TraceFormat::Value(f, {data, size});
  }
  const atl::stats::ReasonNames reasons(*format, "exit_reason");
  if (reasons.valid() && reasons.Name(reasons.Code({data, size})).empty()) abort();
  return 0;
}
