// SPDX-License-Identifier: Apache-2.0
#include "lib/hostnet/names.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "lib/base/unique_fd.h"

namespace atl::hostnet {
namespace {

constexpr size_t kMostCharacters = 15;

bool NameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
}

// FNV-1a over the text, then a finalizer that spreads every bit over all
// (the constants are MurmurHash3's): short texts that differ in a digit give
// unrelated values.
uint64_t Hash(absl::string_view text, uint64_t seed) {
  uint64_t h = 0xcbf29ce484222325 ^ seed;
  for (const char c : text) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccd;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53;
  return h ^ (h >> 33);
}

netlink::MacAddress FromHash(uint64_t hash) {
  netlink::MacAddress mac;
  for (size_t i = 0; i < mac.size(); ++i) mac[i] = static_cast<uint8_t>(hash >> (8 * i));
  return mac;
}

}  // namespace

absl::Status CheckName(absl::string_view name) {
  auto wrong = [name](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", name, "' cannot be the name of an interface: ", why));
  };
  if (name.empty()) return wrong("it is empty");
  if (name.size() > kMostCharacters) {
    return wrong(
        absl::StrCat("it has ", name.size(), " characters, the kernel takes ", kMostCharacters));
  }
  if (!std::all_of(name.begin(), name.end(), NameCharacter)) {
    return wrong("it may have letters, digits, '.', '_' and '-'");
  }
  if (name[0] == '.' || name[0] == '-') {
    return wrong("it begins with a letter, a digit or '_'");
  }
  return absl::OkStatus();
}

absl::Status CheckNamePattern(absl::string_view name) {
  // With the shortest number in place of the %d.
  const absl::Status status = CheckName(absl::StrReplaceAll(name, {{"%d", "0"}}));
  const size_t at = name.find("%d");
  if (at != absl::string_view::npos && absl::StrContains(name.substr(at + 2), "%d")) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' has more than one %d"));
  }
  return status.ok() ? status : CheckName(name);
}

netlink::MacAddress GuestMac(absl::string_view vm, uint32_t index) {
  netlink::MacAddress mac = FromHash(Hash(vm, 0x6775657374 + (uint64_t{index} << 40)));
  mac[0] = static_cast<uint8_t>((mac[0] & 0xfc) | 2);
  if (mac[0] == 0xfe) mac[0] = 0xfa;
  return mac;
}

netlink::MacAddress TapMac(absl::string_view identity) {
  netlink::MacAddress mac = FromHash(Hash(identity, 0x746170));
  mac[0] = 0xfe;
  return mac;
}

netlink::MacAddress BridgeMac(absl::string_view identity) {
  netlink::MacAddress mac = FromHash(Hash(identity, 0x627269646765));
  mac[0] = static_cast<uint8_t>((mac[0] & 0x7c) | 2);
  return mac;
}

std::string HostIdentity() {
  char text[256];
  UniqueFd fd(open("/etc/machine-id", O_RDONLY | O_CLOEXEC));
  const ssize_t n = fd.valid() ? read(fd.get(), text, sizeof text) : -1;
  if (n >= 32) return std::string(text, 32);
  if (gethostname(text, sizeof text) == 0) {
    text[sizeof text - 1] = 0;
    return text;
  }
  return "host";
}

std::string ShellWord(absl::string_view word) {
  const auto plain = [](char c) {
    return NameCharacter(c) || c == '/' || c == ':' || c == '=' || c == '@' || c == '%' || c == '+';
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return std::string(word);
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

}  // namespace atl::hostnet
