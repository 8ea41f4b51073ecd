// SPDX-License-Identifier: Apache-2.0
// Packets of both directions: what is accepted is encoded to the same bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "lib/console/wire.h"

namespace {

template <typename Decoder>
void Check(std::span<const uint8_t> packet, Decoder decode) {
  const auto message = decode(packet);
  if (!message.ok()) return;
  const std::vector<uint8_t> again = atl::console::Encode(*message);
  if (!std::equal(again.begin(), again.end(), packet.begin(), packet.end())) abort();
}

void CheckBoth(std::span<const uint8_t> packet) {
  Check(packet, atl::console::DecodeFromViewer);
  Check(packet, atl::console::DecodeFromRun);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  CheckBoth({data, size});
  // The same bytes behind each header that is right.
  if (size == 0) return 0;
  const auto types = atl::console::Types();
  const atl::console::TypeInfo& type = types[data[0] % types.size()];
  size_t body = size - 1;
  if (body < type.min_size) return 0;
  if (body > type.max_size) body = type.max_size;
  atl::console::Header header{};
  header.type = type.type;
  header.size = static_cast<uint32_t>(body);
  const auto* h = reinterpret_cast<const uint8_t*>(&header);
  std::vector<uint8_t> packet(h, h + sizeof header);
  packet.insert(packet.end(), data + 1, data + 1 + body);
  CheckBoth(packet);
  return 0;
}
