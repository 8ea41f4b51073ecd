// SPDX-License-Identifier: Apache-2.0
// The viewer's end of TLS, by GnuTLS, as a machine of bytes.
#ifndef LIB_RFB_TESTING_TLS_PEER_H_
#define LIB_RFB_TESTING_TLS_PEER_H_

#include <string>

#include "absl/strings/string_view.h"
#include "lib/rfb/access.h"

struct gnutls_session_int;
struct gnutls_anon_client_credentials_st;
struct gnutls_certificate_credentials_st;

namespace atl::rfb::testing {

// A certificate that signs itself, and its key, PEM.
TlsFiles SelfSigned();

class TlsPeer {
 public:
  // `own`: a certificate to show.
  explicit TlsPeer(bool anonymous, const TlsFiles* own = nullptr);
  ~TlsPeer();
  TlsPeer(const TlsPeer&) = delete;
  TlsPeer& operator=(const TlsPeer&) = delete;

  // As far as `in` leads. One of GnuTLS's codes.
  int Handshake();
  void Write(absl::string_view plain);
  // All that has come.
  std::string Read();

  std::string in;   // from the server, not yet looked at
  std::string out;  // to it

 private:
  gnutls_session_int* session_ = nullptr;
  gnutls_anon_client_credentials_st* anonymous_ = nullptr;
  gnutls_certificate_credentials_st* certificate_ = nullptr;
};

}  // namespace atl::rfb::testing

#endif  // LIB_RFB_TESTING_TLS_PEER_H_
