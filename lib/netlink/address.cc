// SPDX-License-Identifier: Apache-2.0
#include "lib/netlink/address.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/endian.h"

namespace atl::netlink {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = absl::ascii_tolower(static_cast<unsigned char>(c));
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

absl::StatusOr<MacAddress> ParseMac(absl::string_view text) {
  auto wrong = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no MAC address: six bytes such as 52:10:aa:bb:cc:dd"));
  };
  if (text.size() != 17) return wrong();
  MacAddress mac;
  for (size_t i = 0; i < 6; ++i) {
    const int high = HexDigit(text[3 * i]);
    const int low = HexDigit(text[3 * i + 1]);
    if (high < 0 || low < 0) return wrong();
    if (i < 5 && (text[3 * i + 2] != text[2] || (text[2] != ':' && text[2] != '-'))) return wrong();
    mac[i] = static_cast<uint8_t>(high * 16 + low);
  }
  if ((mac[0] & 1) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is the MAC address of a group, not of one station"));
  }
  if (mac == MacAddress{}) return wrong();
  return mac;
}

std::string FormatMac(const MacAddress& mac) {
  return absl::StrFormat("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                         mac[5]);
}

unsigned IpPrefix::size() const { return family == AF_INET6 ? 16 : 4; }

IpPrefix IpPrefix::Network() const {
  IpPrefix net = *this;
  for (unsigned i = 0; i < bytes.size(); ++i) {
    const unsigned kept = std::clamp<int>(static_cast<int>(length) - 8 * static_cast<int>(i), 0, 8);
    net.bytes[i] = static_cast<uint8_t>(net.bytes[i] & (0xff00 >> kept));
  }
  return net;
}

bool IpPrefix::Contains(const IpPrefix& other) const {
  if (family != other.family || length > other.length) return false;
  IpPrefix cut = other;
  cut.length = length;
  return cut.Network().bytes == Network().bytes;
}

uint32_t IpPrefix::V4() const { return LoadBe<uint32_t>(bytes.data()); }

std::string IpPrefix::AddressText() const {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(family == AF_INET6 ? AF_INET6 : AF_INET, bytes.data(), text, sizeof text);
  return text;
}

std::string IpPrefix::Text() const { return absl::StrCat(AddressText(), "/", length); }

IpPrefix Ipv4(uint32_t address, uint8_t length) {
  IpPrefix out{.family = AF_INET, .length = length};
  StoreBe(out.bytes.data(), address);
  return out;
}

absl::StatusOr<IpPrefix> ParseIpPrefix(absl::string_view text) {
  const size_t slash = text.find('/');
  const std::string address(text.substr(0, slash));
  IpPrefix out;
  out.family = address.find(':') == std::string::npos ? AF_INET : AF_INET6;
  const uint8_t most = out.family == AF_INET ? 32 : 128;
  uint32_t length = most;
  if (slash != absl::string_view::npos) {
    const absl::string_view digits = text.substr(slash + 1);
    if (digits.empty() || !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) ||
        !absl::SimpleAtoi(digits, &length) || length > most) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", text, "': the prefix is a number of bits up to ", most));
    }
  }
  if (inet_pton(out.family, address.c_str(), out.bytes.data()) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no IP address with a prefix, such as 10.0.1.1/24"));
  }
  out.length = static_cast<uint8_t>(length);
  return out;
}

}  // namespace atl::netlink
