// SPDX-License-Identifier: Apache-2.0
#include "lib/net/mac.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace atl::net {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = absl::ascii_tolower(static_cast<unsigned char>(c));
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

absl::StatusOr<MacAddress> ParseMac(absl::string_view text) {
  const auto wrong = [text](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' ", why));
  };
  constexpr absl::string_view kForm = "is no Ethernet address, such as 52:54:00:12:34:56";
  MacAddress mac{};
  size_t at = 0;
  for (size_t i = 0; i < mac.size(); ++i) {
    if (i > 0) {
      if (at >= text.size() || (text[at] != ':' && text[at] != '-')) return wrong(kForm);
      ++at;
    }
    int value = -1;
    for (int digits = 0; digits < 2 && at < text.size(); ++digits, ++at) {
      const int digit = HexDigit(text[at]);
      if (digit < 0) break;
      value = value < 0 ? digit : value * 16 + digit;
    }
    if (value < 0) return wrong(kForm);
    mac[i] = static_cast<uint8_t>(value);
  }
  if (at != text.size()) return wrong(kForm);
  if ((mac[0] & 1) != 0) return wrong("is a group's address, not one card's");
  if (mac == MacAddress{}) return wrong("is no address: all zeroes");
  return mac;
}

std::string FormatMac(const MacAddress& mac) {
  return absl::StrFormat("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                         mac[5]);
}

MacAddress MacFor(absl::string_view machine, unsigned index) {
  // FNV-1a with a last mix, so that neighbouring names differ in every byte.
  uint64_t hash = 0xCBF29CE484222325;
  const auto mix = [&hash](uint8_t byte) { hash = (hash ^ byte) * 0x100000001B3; };
  for (const char c : machine) mix(static_cast<uint8_t>(c));
  mix(0);
  for (int i = 0; i < 4; ++i) mix(static_cast<uint8_t>(index >> (8 * i)));
  hash ^= hash >> 32;
  hash *= 0x9E3779B97F4A7C15;
  hash ^= hash >> 29;
  MacAddress mac;
  for (size_t i = 0; i < mac.size(); ++i) mac[i] = static_cast<uint8_t>(hash >> (8 * i));
  mac[0] = static_cast<uint8_t>((mac[0] & ~1) | 2);
  return mac;
}

}  // namespace atl::net
