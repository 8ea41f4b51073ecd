// SPDX-License-Identifier: Apache-2.0
// A recording is read to its end, and what was read is recorded and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "lib/stats/sources/recording.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto replay = atl::stats::Replay::Parse({reinterpret_cast<const char*>(data), size});
  if (!replay.ok()) return 0;
  atl::stats::Recorder recorder;
  std::string text;
  for (size_t i = 0; (*replay)->NextTime(); ++i) {
    if (i > (*replay)->samples()) abort();
    const int64_t time = *(*replay)->NextTime();
    (*replay)->Read();
    std::vector<const atl::stats::Group*> groups;
    for (const auto& g : (*replay)->groups()) groups.push_back(g.get());
    text += recorder.Sample(time, groups);
  }
  if (text.empty()) return 0;
  auto again = atl::stats::Replay::Parse(text);
  if (!again.ok() || (*again)->samples() != (*replay)->samples()) abort();
  return 0;
}
