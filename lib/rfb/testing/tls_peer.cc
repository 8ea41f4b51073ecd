// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/testing/tls_peer.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <algorithm>
#include <cstring>
#include <ctime>

namespace atl::rfb::testing {

TlsFiles SelfSigned() {
  gnutls_x509_privkey_t key;
  gnutls_x509_crt_t crt;
  gnutls_x509_privkey_init(&key);
  gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                               GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
  gnutls_x509_crt_init(&crt);
  gnutls_x509_crt_set_version(crt, 3);
  gnutls_x509_crt_set_serial(crt, "\1", 1);
  gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, "test", 4);
  gnutls_x509_crt_set_activation_time(crt, time(nullptr) - 86400);
  gnutls_x509_crt_set_expiration_time(crt, time(nullptr) + 86400);
  gnutls_x509_crt_set_ca_status(crt, 1);
  gnutls_x509_crt_set_key(crt, key);
  gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
  TlsFiles out;
  gnutls_datum_t text;
  gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &text);
  out.certificate.assign(reinterpret_cast<char*>(text.data), text.size);
  gnutls_free(text.data);
  gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &text);
  out.key.assign(reinterpret_cast<char*>(text.data), text.size);
  gnutls_free(text.data);
  gnutls_x509_crt_deinit(crt);
  gnutls_x509_privkey_deinit(key);
  return out;
}

TlsPeer::TlsPeer(bool anonymous, const TlsFiles* own) {
  gnutls_init(&session_, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
  gnutls_priority_set_direct(
      session_, anonymous ? "NORMAL:-VERS-TLS1.3:-KX-ALL:+ANON-ECDH" : "NORMAL", nullptr);
  gnutls_anon_allocate_client_credentials(&anonymous_);
  gnutls_certificate_allocate_credentials(&certificate_);
  if (own != nullptr) {
    const auto datum = [](const std::string& s) {
      return gnutls_datum_t{reinterpret_cast<unsigned char*>(const_cast<char*>(s.data())),
                            static_cast<unsigned>(s.size())};
    };
    const gnutls_datum_t c = datum(own->certificate), k = datum(own->key);
    gnutls_certificate_set_x509_key_mem(certificate_, &c, &k, GNUTLS_X509_FMT_PEM);
  }
  if (anonymous) {
    gnutls_credentials_set(session_, GNUTLS_CRD_ANON, anonymous_);
  } else {
    gnutls_credentials_set(session_, GNUTLS_CRD_CERTIFICATE, certificate_);
  }
  gnutls_transport_set_ptr(session_, this);
  gnutls_transport_set_push_function(
      session_, [](gnutls_transport_ptr_t self, const void* bytes, size_t n) -> ssize_t {
        static_cast<TlsPeer*>(self)->out.append(static_cast<const char*>(bytes), n);
        return static_cast<ssize_t>(n);
      });
  gnutls_transport_set_pull_function(
      session_, [](gnutls_transport_ptr_t self, void* to, size_t n) -> ssize_t {
        std::string& from = static_cast<TlsPeer*>(self)->in;
        if (from.empty()) {
          errno = EAGAIN;
          return -1;
        }
        n = std::min(n, from.size());
        std::memcpy(to, from.data(), n);
        from.erase(0, n);
        return static_cast<ssize_t>(n);
      });
}

TlsPeer::~TlsPeer() {
  gnutls_deinit(session_);
  gnutls_anon_free_client_credentials(anonymous_);
  gnutls_certificate_free_credentials(certificate_);
}

int TlsPeer::Handshake() { return gnutls_handshake(session_); }

void TlsPeer::Write(absl::string_view plain) {
  gnutls_record_send(session_, plain.data(), plain.size());
}

std::string TlsPeer::Read() {
  std::string all;
  char buffer[65536];
  while (true) {
    const ssize_t n = gnutls_record_recv(session_, buffer, sizeof buffer);
    if (n <= 0) return all;
    all.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace atl::rfb::testing
