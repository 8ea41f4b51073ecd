// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as a stats descriptor's beginning: what is taken can be
// written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/stats/format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::StatusOr<atl::stats::Layout> layout = atl::stats::ParseLayout({data, size});
  if (!layout.ok()) return 0;
  if (layout->words > atl::stats::kMaxWords) abort();
  uint64_t words = 0;
  for (const atl::stats::Descriptor& d : layout->descriptors) {
    if (d.offset / 8 + d.size > layout->words) abort();
    words += d.size;
  }
  // Overlapping ranges of the original lie one after the other here.
  if (words > atl::stats::kMaxWords) return 0;
  const std::vector<uint8_t> bytes = atl::stats::WriteLayout(*layout);
  absl::StatusOr<atl::stats::Layout> again = atl::stats::ParseLayout(bytes);
  if (!again.ok() || !(*again == *layout)) abort();
  return 0;
}
