// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::rfb {
namespace {

// TLS 1.3 has no key exchange without certificates.
// What needs a certificate is not offered: a viewer that would rather have that would
// get nothing.
constexpr char kPriorityAnonymous[] = "NORMAL:-VERS-TLS1.3:-KX-ALL:+ANON-ECDH:+ANON-DH";
constexpr char kPriorityCertificate[] = "NORMAL";

absl::Status TlsError(int code, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(what, ": ", gnutls_strerror(code)));
}

gnutls_datum_t Datum(const std::string& text) {
  return {reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
          static_cast<unsigned>(text.size())};
}

}  // namespace

class TlsCredentials {
 public:
  TlsCredentials() = default;
  ~TlsCredentials() {
    if (certificate != nullptr) gnutls_certificate_free_credentials(certificate);
    if (anonymous != nullptr) gnutls_anon_free_server_credentials(anonymous);
  }
  TlsCredentials(const TlsCredentials&) = delete;
  TlsCredentials& operator=(const TlsCredentials&) = delete;

  gnutls_certificate_credentials_t certificate = nullptr;
  gnutls_anon_server_credentials_t anonymous = nullptr;
  bool ask_viewer = false;
};

bool HasCertificate(const TlsCredentials& credentials) {
  return credentials.certificate != nullptr;
}

absl::StatusOr<std::shared_ptr<TlsCredentials>> LoadTls(const TlsFiles& files) {
  auto out = std::make_shared<TlsCredentials>();
  int code = gnutls_anon_allocate_server_credentials(&out->anonymous);
  if (code < 0) return TlsError(code, "TLS");
  gnutls_anon_set_server_known_dh_params(out->anonymous, GNUTLS_SEC_PARAM_MEDIUM);
  if (files.certificate.empty()) {
    if (!files.key.empty() || !files.authority.empty()) {
      return absl::InvalidArgumentError("a key or an authority without a certificate");
    }
    return out;
  }
  if (files.key.empty()) return absl::InvalidArgumentError("the certificate has no key");
  code = gnutls_certificate_allocate_credentials(&out->certificate);
  if (code < 0) return TlsError(code, "TLS");
  gnutls_certificate_set_known_dh_params(out->certificate, GNUTLS_SEC_PARAM_MEDIUM);
  const gnutls_datum_t certificate = Datum(files.certificate), key = Datum(files.key);
  code = gnutls_certificate_set_x509_key_mem(out->certificate, &certificate, &key,
                                             GNUTLS_X509_FMT_PEM);
  if (code < 0) return TlsError(code, "the certificate and its key");
  if (!files.authority.empty()) {
    const gnutls_datum_t authority = Datum(files.authority);
    code = gnutls_certificate_set_x509_trust_mem(out->certificate, &authority, GNUTLS_X509_FMT_PEM);
    if (code < 0) return TlsError(code, "the authority of viewers");
    if (code == 0) return absl::InvalidArgumentError("the authority of viewers: no certificate");
    out->ask_viewer = true;
  }
  return out;
}

TlsLink::TlsLink(std::shared_ptr<TlsCredentials> credentials, Output* wire)
    : credentials_(std::move(credentials)), wire_(*wire) {}

TlsLink::~TlsLink() {
  if (session_ != nullptr) gnutls_deinit(session_);
}

absl::StatusOr<std::unique_ptr<TlsLink>> TlsLink::Create(
    std::shared_ptr<TlsCredentials> credentials, bool with_certificate, Output* wire) {
  std::unique_ptr<TlsLink> out(new TlsLink(std::move(credentials), wire));
  RETURN_IF_ERROR(out->Start(with_certificate));
  return out;
}

absl::Status TlsLink::Start(bool with_certificate) {
  int code = gnutls_init(&session_, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
  if (code < 0) return TlsError(code, "TLS");
  code = gnutls_priority_set_direct(
      session_, with_certificate ? kPriorityCertificate : kPriorityAnonymous, nullptr);
  if (code < 0) return TlsError(code, "TLS");
  if (with_certificate) {
    gnutls_credentials_set(session_, GNUTLS_CRD_CERTIFICATE, credentials_->certificate);
    gnutls_certificate_server_set_request(
        session_, credentials_->ask_viewer ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
    if (credentials_->ask_viewer) gnutls_session_set_verify_cert(session_, nullptr, 0);
  } else {
    gnutls_credentials_set(session_, GNUTLS_CRD_ANON, credentials_->anonymous);
  }
  gnutls_transport_set_ptr(session_, this);
  gnutls_transport_set_push_function(
      session_, [](gnutls_transport_ptr_t self, const void* bytes, size_t n) -> ssize_t {
        static_cast<TlsLink*>(self)->wire_.Append(
            std::span<const uint8_t>(static_cast<const uint8_t*>(bytes), n));
        return static_cast<ssize_t>(n);
      });
  gnutls_transport_set_pull_function(
      session_, [](gnutls_transport_ptr_t self, void* to, size_t n) -> ssize_t {
        TlsLink& link = *static_cast<TlsLink*>(self);
        if (link.in_.empty()) {
          gnutls_transport_set_errno(link.session_, EAGAIN);
          return -1;
        }
        n = std::min(n, link.in_.size());
        std::memcpy(to, link.in_.data(), n);
        link.in_.Consume(n);
        return static_cast<ssize_t>(n);
      });
  return absl::OkStatus();
}

absl::Status TlsLink::Handshake() {
  while (true) {
    const int code = gnutls_handshake(session_);
    if (code == GNUTLS_E_SUCCESS) {
      ready_ = true;
      return absl::OkStatus();
    }
    if (code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED) return absl::OkStatus();
    if (gnutls_error_is_fatal(code) != 0) {
      gnutls_alert_send_appropriate(session_, code);
      return TlsError(code, "TLS");
    }
  }
}

absl::Status TlsLink::Receive(std::span<const uint8_t> cipher, Output* plain) {
  in_.Append(cipher);
  if (!ready_) RETURN_IF_ERROR(Handshake());
  while (ready_) {
    constexpr size_t kRecord = 16384;
    const size_t before = plain->size();
    const ssize_t n = gnutls_record_recv(session_, plain->Grow(kRecord), kRecord);
    plain->Truncate(before + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n > 0) continue;
    if (n == 0) return absl::OutOfRangeError("closed");
    if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) break;
    // Another handshake in the middle is nothing that a viewer needs.
    if (n == GNUTLS_E_REHANDSHAKE) {
      return absl::InvalidArgumentError("TLS: it wants another handshake");
    }
    if (gnutls_error_is_fatal(static_cast<int>(n)) != 0) {
      return TlsError(static_cast<int>(n), "TLS");
    }
  }
  return absl::OkStatus();
}

absl::Status TlsLink::Send(std::span<const uint8_t> plain) {
  while (!plain.empty()) {
    const ssize_t n = gnutls_record_send(session_, plain.data(), plain.size());
    if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) continue;
    if (n <= 0) return TlsError(static_cast<int>(n), "TLS");
    plain = plain.subspan(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

void TlsLink::Close() {
  if (ready_) gnutls_bye(session_, GNUTLS_SHUT_WR);
}

}  // namespace atl::rfb
