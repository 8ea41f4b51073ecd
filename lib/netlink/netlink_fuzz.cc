// SPDX-License-Identifier: Apache-2.0
// Fuzz target: a datagram of rtnetlink, taken apart by everything that takes one
// apart.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "lib/netlink/message.h"
#include "lib/netlink/rtnetlink.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace nl = atl::netlink;
  const absl::StatusOr<std::vector<nl::Message>> messages = nl::SplitMessages({data, size});
  if (!messages.ok()) return 0;
  for (const nl::Message& m : *messages) {
    if (const auto link = nl::ParseLink(m)) {
      if (link->name.find('\0') != std::string::npos) abort();
    }
    if (const auto address = nl::ParseAddress(m)) {
      if (address->prefix.length > 8 * address->prefix.size()) abort();
      if (!address->prefix.Network().Contains(address->prefix)) abort();
    }
    if (const auto route = nl::ParseRoute(m)) (void)route->destination.Text();
    if (const auto neighbour = nl::ParseNeighbour(m)) (void)neighbour->state;
    // An error's words never carry what moves a terminal's cursor.
    const std::string words(nl::AckStatus(m, "x").message());
    for (const char c : words) {
      if (static_cast<unsigned char>(c) < 0x20) abort();
    }
  }
  return 0;
}
