// SPDX-License-Identifier: Apache-2.0
// Who may come in: security types, passwords, certificates; and the files of
// the page that HTTP serves. Everything is read before the server runs: a
// server that is locked down opens no file.
#ifndef LIB_RFB_ACCESS_H_
#define LIB_RFB_ACCESS_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::rfb {

// How a viewer proves who it is.
enum class Auth : uint8_t {
  kNone,
  kVnc,    // DES challenge with a password of eight bytes: RFC 6143, 7.2.2
  kPlain,  // name and password, inside TLS
};

// A password of VncAuth, and what it opens.
struct VncPassword {
  std::array<uint8_t, 8> key{};  // padded with zeros
  bool view_only = false;
};

// The files that vncpasswd writes: eight bytes, the password under DES with a
// key that everybody knows, and perhaps eight more for a view-only password.
absl::StatusOr<std::vector<VncPassword>> ParsePasswordFile(absl::string_view bytes);
// The eight bytes of one. Only the first eight bytes of `password` count.
std::string ObscurePassword(absl::string_view password);
VncPassword MakeVncPassword(absl::string_view password, bool view_only);
// What a viewer with that password answers to a challenge.
std::array<uint8_t, 16> VncResponse(const VncPassword& password,
                                    const std::array<uint8_t, 16>& challenge);

// Lines "name:hash" with a hash of crypt(5); a user whose line ends in ":view"
// may only look. Blank lines and lines of # count not.
struct User {
  std::string name;
  std::string hash;
  bool view_only = false;
};
absl::StatusOr<std::vector<User>> ParseUserFile(absl::string_view text);
// In the same time for a user that there is not.
const User* CheckUser(const std::vector<User>& users, absl::string_view name,
                      absl::string_view password);

// A certificate with its key, and the authority that viewers' certificates must
// be of, where there is one. PEM.
class TlsCredentials;
bool HasCertificate(const TlsCredentials& credentials);

struct TlsFiles {
  std::string certificate;  // the files' contents; without one TLS is anonymous
  std::string key;
  std::string authority;
};
// Errors say which of the three is wrong, and how.
absl::StatusOr<std::shared_ptr<TlsCredentials>> LoadTls(const TlsFiles& files);

struct Access {
  Auth auth = Auth::kNone;
  std::vector<VncPassword> passwords;   // Auth::kVnc
  std::vector<User> users;              // Auth::kPlain
  std::shared_ptr<TlsCredentials> tls;  // VeNCrypt and wss, where it is there
  bool tls_required = false;            // nothing in clear
  // Names by which web pages may call this server, beside its addresses and
  // localhost; pages of these may connect, too.
  std::vector<std::string> web_hosts;
};

// Files below one folder, by their path in a URL: "/core/rfb.js".
struct WebFiles {
  std::map<std::string, std::string> files;
};
// Reads a folder, 16 MiB and 2048 files at the most. NotFound where it is not
// there.
absl::StatusOr<std::shared_ptr<const WebFiles>> LoadWebFiles(const std::string& folder);

}  // namespace atl::rfb

#endif  // LIB_RFB_ACCESS_H_
