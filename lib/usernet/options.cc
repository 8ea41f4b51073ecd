// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/options.h"

#include <algorithm>
#include <bit>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"

namespace atl::usernet {
namespace {

constexpr uint32_t kLargestMtu = 65521;
constexpr size_t kLongestName = 127;

absl::StatusOr<uint16_t> ParsePort(absl::string_view text, absl::string_view whole) {
  uint32_t port;
  if (!absl::SimpleAtoi(text, &port) || port == 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", whole, "': '", text, "' is no port (1 to 65535)"));
  }
  return static_cast<uint16_t>(port);
}

// "ADDR:PORT", ":PORT", "[ADDR6]:PORT".
absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view text, absl::string_view whole) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", whole, "': '", text, "' is no ADDRESS:PORT or :PORT"));
  }
  Endpoint out;
  ASSIGN_OR_RETURN(out.port, ParsePort(text.substr(colon + 1), whole));
  absl::string_view host = text.substr(0, colon);
  if (host.empty()) {
    out.address = IpAddress::V4(0);
    return out;
  }
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  const std::optional<IpAddress> address = IpAddress::Parse(host);
  if (!address) {
    return absl::InvalidArgumentError(absl::StrCat("'", whole, "': '", host, "' is no IP address"));
  }
  out.address = *address;
  return out;
}

bool EatProtocol(absl::string_view* text) {
  if (absl::ConsumePrefix(text, "udp:")) return true;
  absl::ConsumePrefix(text, "tcp:");
  return false;
}

absl::Status Bad(absl::string_view option, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(option, ": ", why));
}

bool Within(const Options& o, uint32_t address) {
  const uint32_t mask = ~uint32_t{0} << (32 - o.prefix);
  return (address & mask) == o.network && (address & ~mask) != 0 && (address | mask) != ~0u;
}

absl::Status CheckName(absl::string_view option, absl::string_view text) {
  if (text.size() > kLongestName) {
    return Bad(option, absl::StrCat("longer than ", kLongestName, " bytes"));
  }
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x21 || c == 0x7F) {
      return Bad(option, absl::StrCat("'", text, "' has a space or control character"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string Forward::ToString() const {
  return absl::StrCat(udp ? "udp:" : "tcp:", host.ToString(), "-", guest.ToString());
}

absl::StatusOr<Forward> ParseForward(absl::string_view text) {
  const absl::string_view whole = text;
  Forward out;
  out.udp = EatProtocol(&text);
  const size_t dash = text.find('-');
  if (dash == absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", whole, "' is no forward: [tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT"));
  }
  ASSIGN_OR_RETURN(out.host, ParseEndpoint(text.substr(0, dash), whole));
  ASSIGN_OR_RETURN(out.guest, ParseEndpoint(text.substr(dash + 1), whole));
  // A guest that is not named is reached by the family of the host's address.
  if (!out.host.address.is4() && out.guest.address.unspecified()) out.guest.address = IpAddress{};
  return out;
}

absl::StatusOr<Forward> ParseForwardHost(absl::string_view text) {
  const absl::string_view whole = text;
  Forward out;
  out.udp = EatProtocol(&text);
  if (text.find(':') == absl::string_view::npos) {
    out.host.address = IpAddress::V4(0);
    ASSIGN_OR_RETURN(out.host.port, ParsePort(text, whole));
  } else {
    ASSIGN_OR_RETURN(out.host, ParseEndpoint(text, whole));
  }
  return out;
}

absl::Status ParseNetwork(absl::string_view text, Options* options) {
  std::vector<std::string> parts = absl::StrSplit(text, '/');
  const absl::Status wrong = absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is no network: 10.0.2.0/24 or fec0::/64 would be one"));
  if (parts.size() > 2) return wrong;
  if (parts[0].find(':') != std::string::npos) {
    const std::optional<IpAddress> address = IpAddress::Parse(parts[0]);
    if (!address || address->is4()) return wrong;
    if (parts.size() == 2 && parts[1] != "64") {
      return absl::InvalidArgumentError(absl::StrCat("'", text, "': IPv6 networks are /64 here"));
    }
    options->prefix6 = *address;
    for (size_t i = 8; i < 16; ++i) options->prefix6.bytes[i] = 0;
    return absl::OkStatus();
  }
  for (size_t dots = std::count(parts[0].begin(), parts[0].end(), '.'); dots < 3; ++dots) {
    absl::StrAppend(&parts[0], ".0");
  }
  const std::optional<IpAddress> address = IpAddress::Parse(parts[0]);
  if (!address || !address->is4()) return wrong;
  unsigned bits = 24;
  if (parts.size() == 2 && !absl::SimpleAtoi(parts[1], &bits)) {
    const std::optional<IpAddress> mask = IpAddress::Parse(parts[1]);
    if (!mask || !mask->is4()) return wrong;
    bits = static_cast<unsigned>(std::countl_one(mask->v4()));
    if (bits < 32 && mask->v4() << bits != 0) return wrong;
  }
  if (bits < 8 || bits > 29) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "': /8 to /29 can be served"));
  }
  options->prefix = bits;
  options->network = address->v4() & (~uint32_t{0} << (32 - bits));
  return absl::OkStatus();
}

absl::StatusOr<Options> Completed(const Options& given) {
  Options o = given;
  if (!o.ipv4 && !o.ipv6) return Bad("ipv4, ipv6", "both are off");
  // Networks of fewer addresses have no .15.
  const uint32_t lease = o.prefix <= 27 ? 15 : 4;
  if (o.gateway == 0) o.gateway = o.network + 2;
  if (o.nameserver == 0) o.nameserver = o.network + 3;
  if (o.first_lease == 0) o.first_lease = o.network + lease;
  const struct {
    absl::string_view name;
    uint32_t address;
  } kInside[] = {{"host", o.gateway}, {"dns", o.nameserver}, {"dhcpstart", o.first_lease}};
  for (const auto& [name, address] : kInside) {
    if (!Within(o, address)) {
      return Bad(name, absl::StrCat(IpAddress::V4(address).ToString(), " is no guest's address of ",
                                    IpAddress::V4(o.network).ToString(), "/", o.prefix));
    }
  }
  if (o.gateway == o.nameserver) return Bad("dns", "is the address of host");
  if (o.first_lease == o.gateway || o.first_lease == o.nameserver) {
    return Bad("dhcpstart", "is the address of host or dns");
  }
  if (o.mtu < 576 || o.mtu > kLargestMtu) {
    return Bad("mtu", absl::StrCat(o.mtu, " is not within 576 and ", kLargestMtu));
  }
  if (o.ipv6 && o.mtu < 1280) return Bad("mtu", "IPv6 needs 1280");
  RETURN_IF_ERROR(CheckName("hostname", o.hostname));
  RETURN_IF_ERROR(CheckName("domainname", o.domain));
  RETURN_IF_ERROR(CheckName("bootfile", o.bootfile));
  RETURN_IF_ERROR(CheckName("tftp-server-name", o.next_server));
  for (const std::string& s : o.search) RETURN_IF_ERROR(CheckName("dnssearch", s));
  if (o.max_connections == 0) return Bad("max-connections", "is 0");
  for (Forward& f : o.forwards) {
    if (f.guest.address.unspecified() && f.guest.address.is4()) {
      f.guest.address = IpAddress::V4(o.first_lease);
    }
  }
  return o;
}

}  // namespace atl::usernet
