// SPDX-License-Identifier: Apache-2.0
// Ethernet addresses.
#ifndef LIB_NET_MAC_H_
#define LIB_NET_MAC_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::net {

using MacAddress = std::array<uint8_t, 6>;

// "52:54:00:12:34:56", also with dashes. An error where it is no address of one
// card: a group's, or all zeroes.
absl::StatusOr<MacAddress> ParseMac(absl::string_view text);
std::string FormatMac(const MacAddress& mac);

// The address of a machine's card where its user gave none: the same each time,
// another for every name and index, locally administered (x2:...).
MacAddress MacFor(absl::string_view machine, unsigned index);

}  // namespace atl::net

#endif  // LIB_NET_MAC_H_
