// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/endian.h"

namespace atl::usernet {
namespace {

constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

}  // namespace

IpAddress IpAddress::V4(uint32_t host_order) {
  IpAddress out;
  std::copy(kMapped.begin(), kMapped.end(), out.bytes.begin());
  StoreBe(&out.bytes[12], host_order);
  return out;
}

std::optional<IpAddress> IpAddress::Parse(absl::string_view text) {
  const std::string copy(text);
  in_addr v4;
  if (inet_pton(AF_INET, copy.c_str(), &v4) == 1) return V4(ntohl(v4.s_addr));
  IpAddress out;
  if (inet_pton(AF_INET6, copy.c_str(), out.bytes.data()) == 1) return out;
  return std::nullopt;
}

bool IpAddress::is4() const { return std::equal(kMapped.begin(), kMapped.end(), bytes.begin()); }

uint32_t IpAddress::v4() const { return LoadBe<uint32_t>(&bytes[12]); }

bool IpAddress::unspecified() const {
  return is4() ? v4() == 0 : std::ranges::all_of(bytes, [](uint8_t b) { return b == 0; });
}

bool IpAddress::loopback() const {
  if (is4()) return v4() >> 24 == 127;
  return bytes[15] == 1 &&
         std::all_of(bytes.begin(), bytes.end() - 1, [](uint8_t b) { return b == 0; });
}

bool IpAddress::multicast() const {
  if (is4()) return v4() >> 28 == 0xE || v4() == 0xFFFFFFFF;
  return bytes[0] == 0xFF;
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN];
  if (is4()) return inet_ntop(AF_INET, &bytes[12], text, sizeof text);
  return inet_ntop(AF_INET6, bytes.data(), text, sizeof text);
}

std::string Endpoint::ToString() const {
  return address.is4() ? absl::StrCat(address.ToString(), ":", port)
                       : absl::StrCat("[", address.ToString(), "]:", port);
}

std::string MacToString(const MacAddress& m) {
  return absl::StrFormat("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

}  // namespace atl::usernet
