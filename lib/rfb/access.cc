// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/access.h"

#include <crypt.h>
#include <nettle/des.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace atl::rfb {
namespace {

// What vncpasswd hides passwords with, from anybody who does not know it.
constexpr std::array<uint8_t, 8> kFileKey = {23, 82, 107, 6, 35, 78, 88, 7};
constexpr size_t kMaxUsers = 4096;

// VNC's DES has the bits of each byte of its key in the other order.
des_ctx Schedule(const std::array<uint8_t, 8>& key) {
  uint8_t turned[8];
  for (size_t i = 0; i < 8; ++i) {
    uint8_t b = key[i];
    b = static_cast<uint8_t>((b & 0xF0) >> 4 | (b & 0x0F) << 4);
    b = static_cast<uint8_t>((b & 0xCC) >> 2 | (b & 0x33) << 2);
    b = static_cast<uint8_t>((b & 0xAA) >> 1 | (b & 0x55) << 1);
    turned[i] = b;
  }
  des_ctx out;
  // It says that a key is weak, but takes it.
  nettle_des_set_key(&out, turned);
  return out;
}

}  // namespace

absl::StatusOr<std::vector<VncPassword>> ParsePasswordFile(absl::string_view bytes) {
  if (bytes.size() != 8 && bytes.size() != 16) {
    return absl::InvalidArgumentError(absl::StrCat(
        "has ", bytes.size(), " bytes, not the 8 or 16 of a file that vncpasswd writes"));
  }
  const des_ctx key = Schedule(kFileKey);
  std::vector<VncPassword> out;
  for (size_t at = 0; at < bytes.size(); at += 8) {
    VncPassword p;
    nettle_des_decrypt(&key, 8, p.key.data(), reinterpret_cast<const uint8_t*>(bytes.data()) + at);
    p.view_only = at > 0;
    out.push_back(p);
  }
  return out;
}

std::string ObscurePassword(absl::string_view password) {
  const VncPassword p = MakeVncPassword(password, false);
  const des_ctx key = Schedule(kFileKey);
  uint8_t out[8];
  nettle_des_encrypt(&key, 8, out, p.key.data());
  return std::string(reinterpret_cast<const char*>(out), sizeof out);
}

VncPassword MakeVncPassword(absl::string_view password, bool view_only) {
  VncPassword out;
  std::memcpy(out.key.data(), password.data(), std::min(password.size(), out.key.size()));
  out.view_only = view_only;
  return out;
}

std::array<uint8_t, 16> VncResponse(const VncPassword& password,
                                    const std::array<uint8_t, 16>& challenge) {
  const des_ctx key = Schedule(password.key);
  std::array<uint8_t, 16> out;
  nettle_des_encrypt(&key, out.size(), out.data(), challenge.data());
  return out;
}

absl::StatusOr<std::vector<User>> ParseUserFile(absl::string_view text) {
  std::vector<User> out;
  unsigned number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripSuffix(line, "\r");
    if (line.empty() || line[0] == '#') continue;
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    if (fields.size() < 2 || fields.size() > 3 || fields[0].empty() || fields[1].empty() ||
        (fields.size() == 3 && fields[2] != "view")) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, " is not NAME:HASH or NAME:HASH:view"));
    }
    if (out.size() == kMaxUsers) {
      return absl::InvalidArgumentError(absl::StrCat("has more than ", kMaxUsers, " users"));
    }
    User u{std::string(fields[0]), std::string(fields[1]), fields.size() == 3};
    // Without a dollar it is DES's, or a password that nobody hashed.
    if (u.hash[0] != '$' || crypt_checksalt(u.hash.c_str()) == CRYPT_SALT_INVALID) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": the hash is none of crypt(5)'s that begin with $"));
    }
    out.push_back(std::move(u));
  }
  return out;
}

const User* CheckUser(const std::vector<User>& users, absl::string_view name,
                      absl::string_view password) {
  const User* user = nullptr;
  for (const User& u : users) {
    if (u.name == name) user = &u;
  }
  if (users.empty()) return nullptr;
  // The hash of another takes as long.
  const User& measured = user != nullptr ? *user : users[0];
  auto data = std::make_unique<crypt_data>();
  const std::string text(password);
  const char* const hash = crypt_r(text.c_str(), measured.hash.c_str(), data.get());
  // A NUL would end the password early.
  const bool right = hash != nullptr && hash[0] != '*' && measured.hash == hash &&
                     text.find('\0') == std::string::npos;
  return right ? user : nullptr;
}

absl::StatusOr<std::shared_ptr<const WebFiles>> LoadWebFiles(const std::string& folder) {
  namespace fs = std::filesystem;
  constexpr size_t kMaxBytes = size_t{16} << 20;
  constexpr size_t kMaxFiles = 2048;
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return absl::NotFoundError(absl::StrCat(folder, ": no such folder"));
  }
  auto out = std::make_shared<WebFiles>();
  size_t bytes = 0;
  fs::recursive_directory_iterator it(folder, fs::directory_options::skip_permission_denied, error);
  for (const fs::recursive_directory_iterator end; !error && it != end; it.increment(error)) {
    if (!it->is_regular_file(error)) continue;
    std::ifstream file(it->path(), std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    bytes += text.size();
    if (bytes > kMaxBytes || out->files.size() == kMaxFiles) {
      return absl::ResourceExhaustedError(
          absl::StrCat(folder, ": more than 16 MiB or 2048 files to serve"));
    }
    out->files.emplace("/" + fs::relative(it->path(), folder, error).generic_string(),
                       std::move(text));
  }
  if (error) return absl::UnavailableError(absl::StrCat(folder, ": ", error.message()));
  return std::shared_ptr<const WebFiles>(std::move(out));
}

}  // namespace atl::rfb
