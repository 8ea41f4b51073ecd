// SPDX-License-Identifier: Apache-2.0
// Bytes as a server's, read by a viewer that only counts.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lib/rfb/skimmer.h"

namespace atl::rfb {
namespace {

class Recorded final : public ByteStream {
 public:
  explicit Recorded(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  absl::Status Read(std::span<uint8_t> to) override {
    if (to.size() > bytes_.size()) return absl::UnavailableError("the end");
    std::copy_n(bytes_.begin(), to.size(), to.begin());
    bytes_ = bytes_.subspan(to.size());
    return absl::OkStatus();
  }
  absl::Status Write(std::span<const uint8_t>) override { return absl::OkStatus(); }

 private:
  std::span<const uint8_t> bytes_;
};

}  // namespace
}  // namespace atl::rfb

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  atl::rfb::Recorded stream(std::span(data, size));
  atl::rfb::Skimmer skimmer(&stream);
  absl::Status status = skimmer.Enter();
  while (status.ok()) status = skimmer.Update();
  if (skimmer.bytes() > size) __builtin_trap();
  return 0;
}
