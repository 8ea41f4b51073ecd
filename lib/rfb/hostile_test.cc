// SPDX-License-Identifier: Apache-2.0
// What viewers have done to other servers, by the number that it got, and what
// they might do to this one.
#include <gnutls/gnutls.h>
#include <zlib.h>

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/rfb/clipboard.h"
#include "lib/rfb/protocol.h"
#include "lib/rfb/testing/client.h"
#include "lib/rfb/testing/rig.h"
#include "lib/rfb/websocket.h"

namespace atl::rfb {
namespace {

using std::literals::string_literals::operator""s;
using testing::ClientInit;
using testing::ContinuousMessage;
using testing::FenceMessage;
using testing::FrameKind;
using testing::PointerMessage;
using testing::RequestMessage;
using testing::Rig;
using testing::SetEncodingsMessage;

// A viewer that asks and asks, and reads nothing: QEMU queued every update.
TEST(Cve, Qemu2017_15124_UnreadUpdatesAreNotQueued) {
  Rig rig(640, 480);
  ASSERT_OK(rig.Enter());
  const int32_t encodings[] = {kEncodingRaw, kPseudoContinuousUpdates, kPseudoFence};
  ASSERT_OK(rig.Write(SetEncodingsMessage(encodings) + ContinuousMessage(true, rig.Whole())));
  for (uint32_t i = 0; i < 200; ++i) {
    Draw(FrameKind::kNoise, i, &rig.frame);
    rig.Update();
    ASSERT_OK(rig.Write(RequestMessage(i % 2 == 0, rig.Whole())));
    ASSERT_OK(rig.connection->Pump());
  }
  EXPECT_LE(rig.connection->wire().size(), 640u * 480 * 4 + 65536);
}

// The same with answers instead of updates.
TEST(Cve, Qemu2017_15124_UnreadAnswersAreNotQueued) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  const int32_t encodings[] = {kEncodingRaw, kPseudoFence, kPseudoXvp};
  ASSERT_OK(rig.Write(SetEncodingsMessage(encodings)));
  std::string flood;
  for (int i = 0; i < 1000; ++i) flood += FenceMessage(kFenceRequest, std::string(64, 'x'));
  for (int i = 0; i < 100 && !rig.connection->stalled(); ++i) ASSERT_OK(rig.Write(flood));
  EXPECT_TRUE(rig.connection->stalled());
  EXPECT_LT(rig.connection->wire().size(), 2 * Session::kMaxReplies);
  // It reads again, and what it said before is answered in order.
  for (int i = 0; i < 10 && rig.connection->stalled(); ++i) {
    rig.Read();
    ASSERT_OK(rig.connection->WireTook());
  }
  EXPECT_FALSE(rig.connection->stalled());
}

std::string Deflated(const std::string& plain) {
  uLongf size = compressBound(plain.size());
  std::string out(size, '\0');
  compress2(reinterpret_cast<Bytef*>(out.data()), &size,
            reinterpret_cast<const Bytef*>(plain.data()), plain.size(), 9);
  out.resize(size);
  return out;
}

std::string Provide(const std::string& data) {
  std::string out("\6\0\0\0", 4);
  const auto length = static_cast<uint32_t>(-static_cast<int32_t>(data.size() + 4));
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(length >> shift));
  return out + "\x10\0\0\1"s + data;
}

Rig& WithClipboard(Rig& rig) {
  EXPECT_OK(rig.Enter());
  const int32_t encodings[] = {kEncodingRaw, kPseudoExtendedClipboard};
  EXPECT_OK(rig.Say(SetEncodingsMessage(encodings)));
  return rig;
}

// QEMU inflated in a loop that a cut stream never left.
TEST(Cve, Qemu2023_3255_InflateEnds) {
  const std::string whole = Deflated("\0\0\0\5text\0"s);
  for (size_t n = 0; n < whole.size(); ++n) {
    Rig rig;
    // An error or nothing; but it returns.
    WithClipboard(rig).Write(Provide(whole.substr(0, n))).IgnoreError();
    for (const std::string& s : rig.guest.said) EXPECT_EQ(s, "clipboard text");
  }
  Rig rig;
  EXPECT_FALSE(WithClipboard(rig).Write(Provide(std::string(1000, '\xAA'))).ok());
}

// Little that becomes much.
TEST(Cve, Qemu2023_3255_InflateHasACap) {
  Rig rig;
  const std::string bomb = Deflated("\x10\0\0\0"s + std::string(64 << 20, 'a'));
  ASSERT_LT(bomb.size(), kMaxCutText);
  ASSERT_OK(WithClipboard(rig).Write(Provide(bomb)));
  EXPECT_TRUE(rig.guest.said.empty());
}

// QEMU took 4 from a length that was less.
TEST(Cve, Qemu2022_3165_ShortExtendedCutText) {
  for (const char last : {'\xFF', '\xFE', '\xFD'}) {
    Rig rig;
    EXPECT_FALSE(WithClipboard(rig).Write("\6\0\0\0\xFF\xFF\xFF"s + last).ok());
  }
  Rig rig;
  EXPECT_FALSE(WithClipboard(rig).Write("\6\0\0\0\x80\0\0\0\1\0\0\0"s).ok());
  // And without the agreement no length may be negative.
  Rig plain;
  ASSERT_OK(plain.Enter());
  EXPECT_FALSE(plain.Write("\6\0\0\0\xFF\xFF\xFF\xF0\1\0\0\0"s).ok());
}

// libvncserver sent three bytes of its stack with each cut text: the test's
// viewer takes zeros only.
TEST(Cve, Libvncserver2019_15681_CutTextPaddingIsZero) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  rig.desktop.clipboard = "text";
  rig.connection->session()->ClipboardChanged();
  ASSERT_OK(rig.Settle());
  EXPECT_EQ(rig.view.cut_texts.size(), 1u);
}

// libvncserver divided by a scale of 0. SetScale is not known here; the other
// divisors that a viewer sends are a pixel format's.
TEST(Cve, Libvncserver2014_6054_NoDivisorIsTakenUnseen) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  EXPECT_THAT(rig.Write("\x08\0\0\0"s), StatusIs(absl::StatusCode::kInvalidArgument, "unknown"));
  for (const PixelFormat& f :
       std::vector<PixelFormat>{{.red_max = 0},
                                {.green_max = 0},
                                {.blue_max = 5},
                                {.bits_per_pixel = 24},
                                {.bits_per_pixel = 0},
                                {.depth = 0},
                                {.depth = 33},
                                {.red_shift = 32},
                                {.red_shift = 255},
                                {.red_shift = 8},
                                {.bits_per_pixel = 8, .depth = 8},
                                {.bits_per_pixel = 16, .depth = 16, .true_colour = false}}) {
    Rig other;
    ASSERT_OK(other.Enter());
    EXPECT_FALSE(other.Write(testing::SetPixelFormatMessage(f)).ok());
  }
}

Access WithTls() {
  Access out;
  out.tls = *LoadTls({});
  out.tls_required = true;
  return out;
}

// QEMU's TLS handshake was torn down while it went on: here at every byte.
TEST(Cve, Qemu2023_3354_TlsHandshakeTornDown) {
  // A viewer's first flight.
  std::string hello;
  gnutls_session_t session;
  gnutls_anon_client_credentials_t credentials;
  gnutls_anon_allocate_client_credentials(&credentials);
  gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
  gnutls_priority_set_direct(session, "NORMAL:-VERS-TLS1.3:+ANON-ECDH:+ANON-DH", nullptr);
  gnutls_credentials_set(session, GNUTLS_CRD_ANON, credentials);
  gnutls_transport_set_ptr(session, &hello);
  gnutls_transport_set_push_function(
      session, [](gnutls_transport_ptr_t to, const void* bytes, size_t n) -> ssize_t {
        static_cast<std::string*>(to)->append(static_cast<const char*>(bytes), n);
        return static_cast<ssize_t>(n);
      });
  gnutls_transport_set_pull_function(session, [](gnutls_transport_ptr_t, void*, size_t) -> ssize_t {
    errno = EAGAIN;
    return -1;
  });
  gnutls_handshake(session);
  gnutls_deinit(session);
  gnutls_anon_free_client_credentials(credentials);
  ASSERT_GT(hello.size(), 50u);
  const std::string before = "RFB 003.008\n\x13\0\2\0\0\1\1"s;
  for (size_t n = 0; n <= hello.size(); n += 7) {
    Rig rig(320, 200, WithTls());
    ASSERT_OK(rig.Write(before)) << n;
    EXPECT_EQ(rig.connection->session()->state(), Session::State::kTls);
    ASSERT_OK(rig.Write(hello.substr(0, n)));
    // Gone, in the middle of it; and another that goes on with nonsense.
    Rig nonsense(320, 200, WithTls());
    ASSERT_OK(nonsense.Write(before + hello.substr(0, n)));
    const absl::Status status = nonsense.Write(std::string(200, '\x5A'));
    EXPECT_TRUE(n > 0 || !status.ok());
    EXPECT_FALSE(nonsense.connection->session()->normal());
  }
}

// What a listener that takes browsers sees of one.
std::string Upgrade(const std::string& more = "") {
  return "GET /websockify HTTP/1.1\r\nHost: localhost:5700\r\nUpgrade: websocket\r\n"
         "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
         "Sec-WebSocket-Version: 13\r\n" +
         more + "\r\n";
}

std::string FrameOf(const std::string& payload, unsigned opcode = 0x82) {
  std::string out(1, static_cast<char>(opcode));
  if (payload.size() < 126) {
    out.push_back(static_cast<char>(0x80 | payload.size()));
  } else {
    out.push_back('\xFE');
    out.push_back(static_cast<char>(payload.size() >> 8));
    out.push_back(static_cast<char>(payload.size()));
  }
  out += "\1\2\3\4";
  for (size_t i = 0; i < payload.size(); ++i) {
    out.push_back(static_cast<char>(payload[i] ^ (1 + i % 4)));
  }
  return out;
}

// QEMU used the websocket after the handshake had freed it: it ends here at
// every byte, by silence and by an error.
TEST(Cve, Qemu2025_11234_WebsocketHandshakeTornDown) {
  const std::string all = Upgrade() + FrameOf("RFB 003.008\n\1\1");
  for (size_t n = 0; n <= all.size(); ++n) {
    Rig rig(320, 200, {}, Connection::Speaks::kEither);
    ASSERT_OK(rig.Write(all.substr(0, n)));
    Rig nonsense(320, 200, {}, Connection::Speaks::kEither);
    nonsense.Write(all.substr(0, n)).IgnoreError();
    nonsense.Write(std::string(9000, '\xFF')).IgnoreError();
    EXPECT_LT(nonsense.connection->wire().size(), 10000u);
  }
}

TEST(WebSocketServer, ServesAViewer) {
  Rig rig(320, 200, {}, Connection::Speaks::kEither);
  ASSERT_OK(rig.Write(Upgrade("Sec-WebSocket-Protocol: base64, binary\r\n")));
  const std::string answer = rig.Read();
  // RFC 6455's own example.
  EXPECT_NE(answer.find("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), std::string::npos);
  EXPECT_NE(answer.find("Sec-WebSocket-Protocol: binary"), std::string::npos);
  EXPECT_EQ(answer.substr(answer.find("\r\n\r\n") + 4), "\x82\x0CRFB 003.008\n");
  // A frame in two, with a ping between.
  ASSERT_OK(
      rig.Write(FrameOf("RFB 003", 0x02) + FrameOf("hello", 0x89) + FrameOf(".008\n\1\1", 0x80)));
  EXPECT_TRUE(rig.connection->session()->normal());
  EXPECT_EQ(rig.Read().substr(0, 7), "\x8A\5hello");
  EXPECT_EQ(rig.connection->Describe().substr(0, 2), "ws");
  EXPECT_THAT(rig.Write(FrameOf("\3\xE8", 0x88)), StatusIs(absl::StatusCode::kOutOfRange, ""));
}

TEST(WebSocketServer, PagesOfOthersAreKeptOut) {
  for (const char* const origin : {"http://evil.example", "https://localhost.evil.example:5700",
                                   "null", "http://localhost:8000"}) {
    Rig rig(320, 200, {}, Connection::Speaks::kEither);
    EXPECT_THAT(rig.Write(Upgrade("Origin: "s + origin + "\r\n")),
                StatusIs(absl::StatusCode::kPermissionDenied, "page of"))
        << origin;
    EXPECT_EQ(rig.Read().substr(9, 3), "403");
  }
  Rig own(320, 200, {}, Connection::Speaks::kEither);
  EXPECT_OK(own.Write(Upgrade("Origin: http://localhost:5700\r\n")));
  // A name that leads here by somebody else's DNS.
  Rig rebound(320, 200, {}, Connection::Speaks::kEither);
  std::string request = Upgrade("Origin: http://evil.example:5700\r\n");
  request.replace(request.find("localhost"), 9, "evil.example");
  EXPECT_FALSE(rebound.Write(request).ok());
  Access access;
  access.web_hosts = {"console.example"};
  Rig named(320, 200, access, Connection::Speaks::kEither);
  EXPECT_OK(named.Write(Upgrade("Origin: https://console.example\r\n")));
}

TEST(WebSocketServer, WrongFramesAreTheEnd) {
  for (const std::string& frame :
       {"\x82\x05hello"s, FrameOf("x", 0xC2), FrameOf("x", 0x80), FrameOf("x", 0x83),
        FrameOf("x", 0x8B), FrameOf("x", 0x09), FrameOf(std::string(126, 'x'), 0x89),
        "\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0"s}) {
    Rig rig(320, 200, {}, Connection::Speaks::kEither);
    ASSERT_OK(rig.Write(Upgrade()));
    EXPECT_FALSE(rig.Write(frame).ok());
  }
}

TEST(Http, ServesWhatWasReadAndNothingElse) {
  WebFiles files;
  files.files = {{"/vnc.html", "<p>"}, {"/core/rfb.js", "js"}};
  const auto get = [&](const std::string& line) {
    Rig rig(320, 200, {}, Connection::Speaks::kWeb);
    rig.surroundings.web = &files;
    EXPECT_FALSE(rig.Write(line + " HTTP/1.1\r\nHost: x\r\n\r\n").ok());
    return rig.Read();
  };
  EXPECT_EQ(get("GET /core/rfb.js?v=1").substr(9, 3), "200");
  EXPECT_NE(get("GET /core/rfb.js").find("text/javascript"), std::string::npos);
  EXPECT_NE(get("GET /").find("Location: /vnc.html"), std::string::npos);
  for (const char* const line : {"GET /../etc/passwd", "GET //etc/passwd", "GET /core",
                                 "GET /%2e%2e/etc/passwd", "GET /core/"}) {
    EXPECT_EQ(get(line).substr(9, 3), "404") << line;
  }
  EXPECT_EQ(get("POST /vnc.html").substr(9, 3), "405");
  EXPECT_EQ(get("GET vnc.html").substr(9, 3), "400");
}

TEST(Flood, PointerEventsAreNoMemory) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  std::string flood;
  for (unsigned i = 0; i < 10000; ++i) flood += PointerMessage(i & 7, i, i * 3);
  ASSERT_OK(rig.Write(flood));
  EXPECT_EQ(rig.guest.said.size(), 10000u);
  EXPECT_EQ(rig.connection->wire().size(), 0u);
}

// Garbage behind every state of the handshake, whole and in pieces.
TEST(Garbage, NeverHangsNeverGrows) {
  std::mt19937 random(1);
  const std::string steps[] = {"", "RFB 003.008\n", "RFB 003.008\n\1", "RFB 003.008\n\1\1"};
  for (int round = 0; round < 2000; ++round) {
    Rig rig(64, 64, {}, round % 3 == 0 ? Connection::Speaks::kEither : Connection::Speaks::kRfb);
    if (!rig.Write(steps[round % 4]).ok()) continue;
    for (int i = 0; i < 20; ++i) {
      std::string bytes(1 + random() % 100, '\0');
      for (char& c : bytes) c = static_cast<char>(random() % 3 == 0 ? random() % 8 : random());
      if (!rig.Write(bytes).ok()) break;
      ASSERT_OK(rig.connection->Pump());
    }
    EXPECT_LT(rig.connection->wire().size(), 200000u);
  }
}

// Every length that a viewer can state, at its bound and beyond.
TEST(Lengths, HaveBounds) {
  const auto says = [](const std::string& message) {
    Rig rig;
    EXPECT_OK(rig.Enter());
    return rig.Write(message).ok();
  };
  EXPECT_TRUE(says("\6\0\0\0\0\4\0\0"s));   // 256 KiB of cut text
  EXPECT_FALSE(says("\6\0\0\0\0\4\0\1"s));  // and a byte
  EXPECT_FALSE(says("\6\0\0\0\x7F\xFF\xFF\xFF"s));
  EXPECT_TRUE(says("\2\0\4\0"s));
  EXPECT_FALSE(says("\2\0\4\1"s));
  EXPECT_FALSE(says("\xF8\0\0\0\0\0\0\0\x41"s));
  EXPECT_FALSE(says("\xFB\0\1\0\1\0\xFF\0"s));
  EXPECT_FALSE(says("\xFF\1\0\0"s));              // QEMU's audio
  EXPECT_FALSE(says("\x96\1\0\0\0\0\1\0\1\0"s));  // continuous updates not agreed on
}

}  // namespace
}  // namespace atl::rfb
