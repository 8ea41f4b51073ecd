// SPDX-License-Identifier: Apache-2.0
// VeNCrypt and wss with GnuTLS's own viewer's end, without sockets.
#include "lib/rfb/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/rfb/testing/client.h"
#include "lib/rfb/testing/rig.h"

namespace atl::rfb {
namespace {

using std::literals::string_literals::operator""s;
using testing::ClientInit;
using testing::Rig;

// A certificate that signs itself, and its key, PEM.
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

// A viewer's end of TLS over a rig.
class Viewer {
 public:
  Viewer(Rig* rig, bool anonymous, const TlsFiles* own = nullptr) : rig_(*rig) {
    gnutls_init(&session_, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
    gnutls_priority_set_direct(
        session_, anonymous ? "NORMAL:-VERS-TLS1.3:-KX-ALL:+ANON-ECDH" : "NORMAL", nullptr);
    gnutls_anon_allocate_client_credentials(&anon_);
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
      gnutls_credentials_set(session_, GNUTLS_CRD_ANON, anon_);
    } else {
      gnutls_credentials_set(session_, GNUTLS_CRD_CERTIFICATE, certificate_);
    }
    gnutls_transport_set_ptr(session_, this);
    gnutls_transport_set_push_function(
        session_, [](gnutls_transport_ptr_t self, const void* bytes, size_t n) -> ssize_t {
          static_cast<Viewer*>(self)->out_.append(static_cast<const char*>(bytes), n);
          return static_cast<ssize_t>(n);
        });
    gnutls_transport_set_pull_function(
        session_, [](gnutls_transport_ptr_t self, void* to, size_t n) -> ssize_t {
          std::string& in = static_cast<Viewer*>(self)->in_;
          if (in.empty()) {
            errno = EAGAIN;
            return -1;
          }
          n = std::min(n, in.size());
          memcpy(to, in.data(), n);
          in.erase(0, n);
          return static_cast<ssize_t>(n);
        });
  }
  ~Viewer() {
    gnutls_deinit(session_);
    gnutls_anon_free_client_credentials(anon_);
    gnutls_certificate_free_credentials(certificate_);
  }

  // Until it is done, or the server says why not.
  absl::Status Handshake() {
    for (int i = 0; i < 20; ++i) {
      const int code = gnutls_handshake(session_);
      absl::Status status = Exchange();
      if (code == GNUTLS_E_SUCCESS || !status.ok()) return status;
      if (code != GNUTLS_E_AGAIN) return absl::InternalError(gnutls_strerror(code));
    }
    return absl::InternalError("the handshake does not end");
  }
  absl::Status Write(absl::string_view bytes) {
    gnutls_record_send(session_, bytes.data(), bytes.size());
    return Exchange();
  }
  std::string Read() {
    std::string out;
    char buffer[65536];
    while (true) {
      const ssize_t n = gnutls_record_recv(session_, buffer, sizeof buffer);
      if (n <= 0) return out;
      out.append(buffer, static_cast<size_t>(n));
    }
  }
  absl::Status Exchange() {
    absl::Status status;
    if (!out_.empty()) status = rig_.Write(std::exchange(out_, ""));
    in_ += rig_.Read();
    return status;
  }

 private:
  Rig& rig_;
  gnutls_session_t session_;
  gnutls_anon_client_credentials_t anon_;
  gnutls_certificate_credentials_t certificate_;
  std::string in_, out_;
};

std::string Big32(uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
          static_cast<char>(v)};
}

std::string Choose(uint32_t type) { return "RFB 003.008\n\x13\0\2"s + Big32(type); }

TEST(VeNCrypt, AnonymousWithPassword) {
  Access access;
  access.auth = Auth::kVnc;
  access.passwords = {MakeVncPassword("secret", false)};
  access.tls = *LoadTls({});
  access.tls_required = true;
  Rig rig(320, 200, access);
  rig.Read();
  ASSERT_OK(rig.Write(Choose(258)));
  // One type: VeNCrypt; 0.2; accepted; one subtype: TLSVnc; accepted.
  EXPECT_EQ(rig.Read(), "\1\x13\0\2\0\1\0\0\1\2\1"s);
  Viewer viewer(&rig, true);
  ASSERT_OK(viewer.Handshake());
  const std::string challenge = viewer.Read();
  ASSERT_EQ(challenge.size(), 16u);
  std::array<uint8_t, 16> c;
  memcpy(c.data(), challenge.data(), 16);
  const std::array<uint8_t, 16> r = VncResponse(access.passwords[0], c);
  ASSERT_OK(viewer.Write(std::string(r.begin(), r.end()) + ClientInit()));
  EXPECT_EQ(viewer.Read().substr(0, 6), "\0\0\0\0\1\x40"s);
  EXPECT_TRUE(rig.connection->session()->normal());
  EXPECT_EQ(rig.connection->Describe(), "RFB, security TLSVnc, encoding Raw");
}

// The password is written behind the choice, before TLS is there: it is not taken
// for one.
TEST(VeNCrypt, NothingInClearIsTakenForTls) {
  Access access;
  access.tls = *LoadTls({});
  Rig rig(320, 200, access);
  EXPECT_FALSE(rig.Write(Choose(257) + ClientInit() + std::string(64, '\1')).ok());
  EXPECT_FALSE(rig.connection->session()->normal());
}

TEST(VeNCrypt, CertificateNameAndPassword) {
  Access access;
  access.auth = Auth::kPlain;
  absl::StatusOr<std::vector<User>> users = ParseUserFile(
      "ann:$6$abcdefgh$YbbFhYJ45n36HDcH8No51gOWWvyuzrrA8juiKR/"
      "984t6NgxHJ5uHP6TeHsNccECN6cYRzvtVlRW0bg4xDv8sg1\n");
  ASSERT_OK(users);
  access.users = *users;
  absl::StatusOr<std::shared_ptr<TlsCredentials>> tls = LoadTls(SelfSigned());
  ASSERT_OK(tls);
  access.tls = *tls;
  access.tls_required = true;
  for (const char* const password : {"tiger", "lion"}) {
    Rig rig(320, 200, access);
    ASSERT_OK(rig.Write(Choose(262)));
    rig.Read();
    Viewer viewer(&rig, false);
    ASSERT_OK(viewer.Handshake());
    const absl::Status status =
        viewer.Write(Big32(3) + Big32(static_cast<uint32_t>(strlen(password))) + "ann" + password);
    if (password[0] == 't') {
      ASSERT_OK(status);
      ASSERT_OK(viewer.Write(ClientInit()));
      EXPECT_TRUE(rig.connection->session()->normal());
      EXPECT_EQ(rig.connection->Describe(), "RFB, security X509Plain, user ann, encoding Raw");
    } else {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kPermissionDenied, "wrong name"));
    }
  }
  // Neither the older types nor others are there beside it.
  Rig clear(320, 200, access);
  clear.Read();
  ASSERT_OK(clear.Write("RFB 003.008\n"));
  EXPECT_EQ(clear.Read(), "\1\x13"s);
  Rig old(320, 200, access);
  EXPECT_FALSE(old.Write("RFB 003.003\n").ok());
}

TEST(VeNCrypt, ViewersMustHaveCertificates) {
  const TlsFiles own = SelfSigned(), stranger = SelfSigned();
  TlsFiles files = own;
  files.authority = own.certificate;
  Access access;
  absl::StatusOr<std::shared_ptr<TlsCredentials>> tls = LoadTls(files);
  ASSERT_OK(tls);
  access.tls = *tls;
  for (const TlsFiles* const theirs : {&own, &stranger, static_cast<const TlsFiles*>(nullptr)}) {
    Rig rig(320, 200, access);
    ASSERT_OK(rig.Write(Choose(260)));
    rig.Read();
    Viewer viewer(&rig, false, theirs);
    absl::Status status = viewer.Handshake();
    if (status.ok()) status = viewer.Write(ClientInit());
    EXPECT_EQ(status.ok() && rig.connection->session()->normal(), theirs == &own);
  }
}

TEST(Wss, ServesAViewer) {
  Access access;
  absl::StatusOr<std::shared_ptr<TlsCredentials>> tls = LoadTls(SelfSigned());
  ASSERT_OK(tls);
  access.tls = *tls;
  access.tls_required = true;
  Rig rig(320, 200, access, Connection::Speaks::kEither);
  Viewer viewer(&rig, false);
  ASSERT_OK(viewer.Handshake());
  ASSERT_OK(viewer.Write(
      "GET / HTTP/1.1\r\nHost: localhost:5700\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"));
  const std::string answer = viewer.Read();
  EXPECT_EQ(answer.substr(9, 3), "101");
  EXPECT_EQ(answer.substr(answer.find("\r\n\r\n") + 4), "\x82\x0CRFB 003.008\n");
  ASSERT_OK(viewer.Write("\x82\x8E\0\0\0\0RFB 003.008\n\1\1"s));
  EXPECT_TRUE(rig.connection->session()->normal());
  EXPECT_EQ(rig.connection->Describe(), "wss, security None over TLS, encoding Raw");
  // And in clear it does not.
  Rig clear(320, 200, access, Connection::Speaks::kEither);
  EXPECT_FALSE(clear
                   .Write("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                          "Sec-WebSocket-Version: 13\r\n\r\n")
                   .ok());
}

TEST(LoadTls, SaysWhatIsWrong) {
  const TlsFiles good = SelfSigned(), other = SelfSigned();
  EXPECT_THAT(LoadTls({.certificate = good.certificate}),
              StatusIs(absl::StatusCode::kInvalidArgument, "no key"));
  EXPECT_THAT(LoadTls({.certificate = good.certificate, .key = other.key}),
              StatusIs(absl::StatusCode::kInvalidArgument, "certificate and its key"));
  EXPECT_THAT(LoadTls({.certificate = "x", .key = "y"}),
              StatusIs(absl::StatusCode::kInvalidArgument, "certificate and its key"));
  EXPECT_THAT(LoadTls({.key = good.key}),
              StatusIs(absl::StatusCode::kInvalidArgument, "without a certificate"));
}

}  // namespace
}  // namespace atl::rfb
