// SPDX-License-Identifier: Apache-2.0
// From the versions to ServerInit: RFC 6143, 7.1 to 7.3, and VeNCrypt of
// rfbproto. Nothing of the guest is shown or touched before the end.
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/rfb/protocol.h"
#include "lib/rfb/session.h"

namespace atl::rfb {
namespace {

constexpr absl::string_view kGreeting = "RFB 003.008\n";
constexpr uint8_t kVencryptMajor = 0, kVencryptMinor = 2;

bool NeedsTls(uint32_t type) { return type >= kTlsNone && type <= kX509Plain; }
bool NeedsCertificate(uint32_t type) { return type >= kX509None && type <= kX509Plain; }

absl::string_view NameOf(uint32_t type) {
  switch (type) {
    case kSecurityNone:
      return "None";
    case kSecurityVnc:
      return "VncAuth";
    case kPlain:
      return "Plain";
    case kTlsNone:
      return "TLSNone";
    case kTlsVnc:
      return "TLSVnc";
    case kTlsPlain:
      return "TLSPlain";
    case kX509None:
      return "X509None";
    case kX509Vnc:
      return "X509Vnc";
    case kX509Plain:
      return "X509Plain";
    default:
      return "no";
  }
}

}  // namespace

void Session::Start() { out_.Append(kGreeting); }

std::string Session::Describe() const {
  std::string out = absl::StrCat("security ", NameOf(auth_type_));
  if (options_.encrypted && !NeedsTls(auth_type_)) absl::StrAppend(&out, " over TLS");
  if (!user_.empty()) absl::StrAppend(&out, ", user ", user_);
  if (options_.view_only) absl::StrAppend(&out, ", view only");
  if (normal() && features_.encoding != nullptr) {
    absl::StrAppend(&out, ", encoding ", features_.encoding->name);
  }
  return out;
}

// What VeNCrypt is for, and what remains for viewers that have it not.
std::vector<uint32_t> Session::VencryptTypes() const {
  std::vector<uint32_t> out;
  if (options_.encrypted) {
    // Inside wss, a name and a password need nothing more.
    if (access_.auth == Auth::kPlain) out.push_back(kPlain);
    return out;
  }
  if (access_.tls == nullptr || options_.websocket) return out;
  const uint32_t with = access_.auth == Auth::kNone  ? kX509None
                        : access_.auth == Auth::kVnc ? kX509Vnc
                                                     : kX509Plain;
  if (HasCertificate(*access_.tls)) out.push_back(with);
  out.push_back(with - kX509None + kTlsNone);
  return out;
}

std::vector<uint8_t> Session::SecurityTypes() const {
  std::vector<uint8_t> out;
  if (!VencryptTypes().empty()) out.push_back(kSecurityVeNCrypt);
  if (!access_.tls_required || options_.encrypted) {
    if (access_.auth == Auth::kNone) out.push_back(kSecurityNone);
    if (access_.auth == Auth::kVnc) out.push_back(kSecurityVnc);
  }
  return out;
}

absl::Status Session::Fail(absl::string_view reason) {
  state_ = State::kFailed;
  return absl::PermissionDeniedError(reason);
}

absl::StatusOr<size_t> Session::TakeVersion(std::span<const uint8_t> bytes) {
  if (bytes.size() < kGreeting.size()) return 0;
  const absl::string_view text(reinterpret_cast<const char*>(bytes.data()), kGreeting.size());
  unsigned major = 0, minor = 0;
  if (!absl::StartsWith(text, "RFB ") || text[7] != '.' || text[11] != '\n' ||
      !absl::SimpleAtoi(text.substr(4, 3), &major) ||
      !absl::SimpleAtoi(text.substr(8, 3), &minor) || major < 3) {
    return Fail("it speaks no RFB");
  }
  // Versions that nobody has defined count as the one before.
  minor_ = major > 3 || minor >= 8 ? 8 : minor == 7 ? 7 : 3;
  const std::vector<uint8_t> types = SecurityTypes();
  if (minor_ >= 7) {
    out_.U8(static_cast<uint8_t>(types.size()));
    out_.Append(types);
    if (!types.empty()) {
      state_ = State::kSecurityType;
      return kGreeting.size();
    }
  } else {
    // The server chooses, of the two that version 3.3 knows.
    const auto it = std::find_if(types.begin(), types.end(),
                                 [](uint8_t t) { return t == kSecurityNone || t == kSecurityVnc; });
    if (it != types.end()) {
      out_.U32(*it);
      RETURN_IF_ERROR(BeginAuth(*it));
      return kGreeting.size();
    }
    out_.U32(0);
  }
  constexpr absl::string_view kReason = "This server takes encrypted connections only";
  out_.U32(kReason.size());
  out_.Append(kReason);
  return Fail("it has no security type that is allowed here");
}

absl::StatusOr<size_t> Session::TakeSecurityType(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return 0;
  const std::vector<uint8_t> types = SecurityTypes();
  if (std::find(types.begin(), types.end(), bytes[0]) == types.end()) {
    return Fail(absl::StrCat("it chose security type ", unsigned{bytes[0]}, ", not offered"));
  }
  if (bytes[0] == kSecurityVeNCrypt) {
    out_.U8(kVencryptMajor);
    out_.U8(kVencryptMinor);
    state_ = State::kVencryptVersion;
  } else {
    RETURN_IF_ERROR(BeginAuth(bytes[0]));
  }
  return 1;
}

absl::StatusOr<size_t> Session::TakeVencryptVersion(std::span<const uint8_t> bytes) {
  if (bytes.size() < 2) return 0;
  if (bytes[0] != kVencryptMajor || bytes[1] != kVencryptMinor) {
    out_.U8(255);
    return Fail("its version of VeNCrypt is not 0.2");
  }
  out_.U8(0);
  const std::vector<uint32_t> types = VencryptTypes();
  out_.U8(static_cast<uint8_t>(types.size()));
  for (const uint32_t t : types) out_.U32(t);
  state_ = State::kVencryptType;
  return 2;
}

absl::StatusOr<size_t> Session::TakeVencryptType(std::span<const uint8_t> bytes) {
  if (bytes.size() < 4) return 0;
  const uint32_t type = LoadBe<uint32_t>(bytes.data());
  const std::vector<uint32_t> types = VencryptTypes();
  if (std::find(types.begin(), types.end(), type) == types.end()) {
    if (NeedsTls(type)) out_.U8(0);
    return Fail(absl::StrCat("it chose VeNCrypt's type ", type, ", not offered"));
  }
  auth_type_ = type;
  if (!NeedsTls(type)) {
    RETURN_IF_ERROR(BeginAuth(type));
    return 4;
  }
  out_.U8(1);
  with_certificate_ = NeedsCertificate(type);
  state_ = State::kTls;
  return 4;
}

absl::Status Session::TlsReady() {
  if (state_ != State::kTls) return absl::InternalError("TLS that nobody asked for");
  options_.encrypted = true;
  return BeginAuth(auth_type_);
}

absl::Status Session::BeginAuth(uint32_t type) {
  auth_type_ = type;
  switch (type) {
    case kSecurityVnc:
    case kTlsVnc:
    case kX509Vnc:
      if (gnutls_rnd(GNUTLS_RND_NONCE, challenge_.data(), challenge_.size()) != 0) {
        return absl::InternalError("no random bytes for a challenge");
      }
      out_.Append(challenge_);
      state_ = State::kVncResponse;
      return absl::OkStatus();
    case kPlain:
    case kTlsPlain:
    case kX509Plain:
      state_ = State::kPlain;
      return absl::OkStatus();
    default:
      // Versions before 3.8 say nothing where nothing was asked.
      if (minor_ >= 8 || type != kSecurityNone) out_.U32(0);
      state_ = State::kInit;
      return absl::OkStatus();
  }
}

void Session::Succeed() {
  out_.U32(0);
  state_ = State::kInit;
}

absl::StatusOr<size_t> Session::TakeVncResponse(std::span<const uint8_t> bytes) {
  if (bytes.size() < challenge_.size()) return 0;
  const VncPassword* matched = nullptr;
  for (const VncPassword& p : access_.passwords) {
    const std::array<uint8_t, 16> expected = VncResponse(p, challenge_);
    if (gnutls_memcmp(expected.data(), bytes.data(), expected.size()) == 0 && matched == nullptr) {
      matched = &p;
    }
  }
  if (matched == nullptr) {
    out_.U32(1);
    if (minor_ >= 8) {
      constexpr absl::string_view kReason = "The password is wrong";
      out_.U32(kReason.size());
      out_.Append(kReason);
    }
    auth_failed_ = true;
    return Fail("wrong password");
  }
  if (matched->view_only) options_.view_only = true;
  Succeed();
  return challenge_.size();
}

absl::StatusOr<size_t> Session::TakePlain(std::span<const uint8_t> bytes) {
  if (bytes.size() < 8) return 0;
  const size_t name_size = LoadBe<uint32_t>(bytes.data());
  const size_t password_size = LoadBe<uint32_t>(bytes.data() + 4);
  if (name_size > kMaxCredential || password_size > kMaxCredential) {
    return Fail("its name or password is too long");
  }
  const size_t all = 8 + name_size + password_size;
  if (bytes.size() < all) return 0;
  const char* const text = reinterpret_cast<const char*>(bytes.data());
  const absl::string_view name(text + 8, name_size);
  const User* const user =
      CheckUser(access_.users, name, absl::string_view(text + 8 + name_size, password_size));
  if (user == nullptr) {
    out_.U32(1);
    if (minor_ >= 8) {
      constexpr absl::string_view kReason = "The name or the password is wrong";
      out_.U32(kReason.size());
      out_.Append(kReason);
    }
    auth_failed_ = true;
    return Fail("wrong name or password");
  }
  user_ = user->name;
  if (user->view_only) options_.view_only = true;
  Succeed();
  return all;
}

absl::StatusOr<size_t> Session::TakeInit(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return 0;
  shared_ = bytes[0] != 0;
  width_ = desktop_.width;
  height_ = desktop_.height;
  dirty_ = TileSet(width_, height_);
  lossy_ = dirty_;
  dirty_.AddAll();
  out_.U16(width_);
  out_.U16(height_);
  EncodePixelFormat(converter_.format(), &out_);
  out_.U32(static_cast<uint32_t>(desktop_.name.size()));
  out_.Append(desktop_.name);
  state_ = State::kNormal;
  return 1;
}

}  // namespace atl::rfb
