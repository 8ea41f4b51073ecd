// SPDX-License-Identifier: Apache-2.0
// TLS as a machine of bytes, by GnuTLS: ciphertext in, plaintext out, and the
// other way round.
//
// Thread rule: the server's loop thread.
#ifndef LIB_RFB_TLS_H_
#define LIB_RFB_TLS_H_

#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/rfb/access.h"
#include "lib/rfb/output.h"

struct gnutls_session_int;

namespace atl::rfb {

class TlsLink {
 public:
  // `with_certificate`: the server proves who it is, with the certificate of
  // `credentials`; without, nobody does. What is to be sent goes to `wire`, which
  // outlives it.
  static absl::StatusOr<std::unique_ptr<TlsLink>> Create(
      std::shared_ptr<TlsCredentials> credentials, bool with_certificate, Output* wire);
  ~TlsLink();
  TlsLink(const TlsLink&) = delete;
  TlsLink& operator=(const TlsLink&) = delete;

  // What came from the wire; appends what it says to `plain`. An error is the
  // end. OutOfRange: the peer has closed it.
  absl::Status Receive(std::span<const uint8_t> cipher, Output* plain);
  bool ready() const { return ready_; }
  // After ready().
  absl::Status Send(std::span<const uint8_t> plain);
  // Says goodbye, where it is ready.
  void Close();

 private:
  TlsLink(std::shared_ptr<TlsCredentials> credentials, Output* wire);
  absl::Status Start(bool with_certificate);
  absl::Status Handshake();

  const std::shared_ptr<TlsCredentials> credentials_;
  Output& wire_;
  Output in_;
  gnutls_session_int* session_ = nullptr;
  bool ready_ = false;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_TLS_H_
