// SPDX-License-Identifier: Apache-2.0
// VeNCrypt and wss with GnuTLS's own viewer's end, without sockets.
#include "lib/rfb/tls.h"

#include <gnutls/gnutls.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/rfb/testing/client.h"
#include "lib/rfb/testing/rig.h"
#include "lib/rfb/testing/tls_peer.h"

namespace atl::rfb {
namespace {

using std::literals::string_literals::operator""s;
using testing::ClientInit;
using testing::Rig;
using testing::SelfSigned;

// A viewer's end of TLS over a rig.
class Viewer {
 public:
  Viewer(Rig* rig, bool anonymous, const TlsFiles* own = nullptr)
      : rig_(*rig), peer_(anonymous, own) {}

  // Until it is done, or the server says why not.
  absl::Status Handshake() {
    for (int i = 0; i < 20; ++i) {
      const int code = peer_.Handshake();
      absl::Status status = Exchange();
      if (code == GNUTLS_E_SUCCESS || !status.ok()) return status;
      if (code != GNUTLS_E_AGAIN) return absl::InternalError(gnutls_strerror(code));
    }
    return absl::InternalError("the handshake does not end");
  }
  absl::Status Write(absl::string_view bytes) {
    peer_.Write(bytes);
    return Exchange();
  }
  std::string Read() { return peer_.Read(); }
  absl::Status Exchange() {
    absl::Status status;
    if (!peer_.out.empty()) status = rig_.Write(std::exchange(peer_.out, ""));
    peer_.in += rig_.Read();
    return status;
  }

 private:
  Rig& rig_;
  testing::TlsPeer peer_;
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
