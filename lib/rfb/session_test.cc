// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/session.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/rfb/clipboard.h"
#include "lib/rfb/flow.h"
#include "lib/rfb/protocol.h"
#include "lib/rfb/testing/client.h"
#include "lib/rfb/testing/rig.h"

namespace atl::rfb {
namespace {

using testing::ClientInit;
using testing::ContinuousMessage;
using testing::ExtendedKeyMessage;
using testing::FenceMessage;
using testing::FrameKind;
using testing::KeyMessage;
using testing::PointerMessage;
using testing::RequestMessage;
using testing::Rig;
using testing::SetEncodingsMessage;
using std::literals::string_literals::operator""s;
using Strings = std::vector<std::string>;

TEST(Handshake, Version38) {
  Rig rig;
  EXPECT_EQ(rig.Read(), "RFB 003.008\n");
  ASSERT_OK(rig.Write("RFB 003.008\n"));
  EXPECT_EQ(rig.Read(), std::string("\1\1", 2));
  ASSERT_OK(rig.Write("\1"));
  EXPECT_EQ(rig.Read(), std::string(4, '\0'));
  ASSERT_OK(rig.Write(ClientInit()));
  const std::string init = rig.Read();
  ASSERT_EQ(init.size(), 24u + 7);
  EXPECT_EQ(init.substr(0, 4), std::string("\x01\x40\0\xC8", 4));
  EXPECT_EQ(init.substr(24), "a guest");
  EXPECT_TRUE(rig.connection->session()->normal());
}

// Byte by byte it is the same.
TEST(Handshake, InPieces) {
  Rig rig;
  const std::string all = "RFB 003.008\n\1\1";
  for (const char c : all) ASSERT_OK(rig.Write(std::string(1, c)));
  EXPECT_TRUE(rig.connection->session()->normal());
}

TEST(Handshake, Version37AndVersion33SayNothingOfNone) {
  Rig rig;
  rig.Read();
  ASSERT_OK(rig.Write("RFB 003.007\n"));
  EXPECT_EQ(rig.Read(), "\1\1");
  ASSERT_OK(rig.Write("\1"));
  EXPECT_EQ(rig.Read(), "");
  Rig old;
  old.Read();
  // What nobody has defined is version 3.3.
  ASSERT_OK(old.Write("RFB 003.005\n"));
  EXPECT_EQ(old.Read(), std::string("\0\0\0\1", 4));
  ASSERT_OK(old.Write(ClientInit()));
  EXPECT_TRUE(old.connection->session()->normal());
}

TEST(Handshake, OtherProtocolsAreTurnedAway) {
  for (const char* const text : {"GET / HTTP/1.1\r\n", "RFB 002.008\n", "RFB 00x.008\n",
                                 "RFB 003-008\n", "SSH-2.0-xxxxxxxx"}) {
    Rig rig;
    EXPECT_FALSE(rig.Write(text).ok()) << text;
    EXPECT_FALSE(rig.Write("more").ok());
  }
}

Access WithPassword() {
  Access out;
  out.auth = Auth::kVnc;
  out.passwords = {MakeVncPassword("secret", false), MakeVncPassword("look", true)};
  return out;
}

std::string Answer(absl::string_view password, const std::string& challenge) {
  std::array<uint8_t, 16> c;
  memcpy(c.data(), challenge.data(), c.size());
  const std::array<uint8_t, 16> r = VncResponse(MakeVncPassword(password, false), c);
  return std::string(r.begin(), r.end());
}

TEST(VncAuth, RightWrongAndViewOnly) {
  for (const char* const version : {"RFB 003.003\n", "RFB 003.007\n", "RFB 003.008\n"}) {
    const bool old = version[10] == '3';
    for (const char* const password : {"secret", "look", "wrong"}) {
      Rig rig(320, 200, WithPassword());
      rig.Read();
      ASSERT_OK(rig.Write(version));
      if (!old) {
        EXPECT_EQ(rig.Read(), "\1\2");
        ASSERT_OK(rig.Write("\2"));
      }
      const std::string read = rig.Read();
      const std::string challenge = old ? read.substr(4) : read;
      ASSERT_EQ(challenge.size(), 16u);
      const absl::Status status = rig.Write(Answer(password, challenge));
      const std::string result = rig.Read();
      if (strcmp(password, "wrong") == 0) {
        EXPECT_THAT(status, StatusIs(absl::StatusCode::kPermissionDenied, "wrong password"));
        EXPECT_EQ(result.substr(0, 4), std::string("\0\0\0\1", 4));
        // Only 3.8 has a reason.
        EXPECT_EQ(result.size() > 4, version[10] == '8');
        EXPECT_TRUE(rig.connection->session()->auth_failed());
        continue;
      }
      ASSERT_OK(status);
      EXPECT_EQ(result, std::string(4, '\0'));
      ASSERT_OK(rig.Write(ClientInit() + KeyMessage(true, 'a')));
      EXPECT_EQ(rig.guest.said.size(), strcmp(password, "secret") == 0 ? 1u : 0u);
    }
  }
}

// What was encrypted for one connection is of no use for the next.
TEST(VncAuth, ChallengesDiffer) {
  std::string last;
  for (int i = 0; i < 4; ++i) {
    Rig rig(320, 200, WithPassword());
    rig.Read();
    ASSERT_OK(rig.Write("RFB 003.008\n\2"));
    const std::string challenge = rig.Read().substr(2);
    EXPECT_NE(challenge, last);
    last = challenge;
  }
}

TEST(VncAuth, TypesThatWereNotOfferedAreRefused) {
  for (const char* const type : {"\1", "\5", "\x13", "\x10"}) {
    Rig rig(320, 200, WithPassword());
    ASSERT_OK(rig.Write("RFB 003.008\n"));
    EXPECT_THAT(rig.Write(type), StatusIs(absl::StatusCode::kPermissionDenied, "not offered"));
  }
}

TEST(PasswordFile, IsVncpasswds) {
  // printf 'password' | vncpasswd -f
  const std::string file("\xdb\xd8\x3c\xfd\x72\x7a\x14\x58", 8);
  ASSERT_OK_AND_ASSIGN(const std::vector<VncPassword> one, ParsePasswordFile(file));
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(std::string(one[0].key.begin(), one[0].key.end()), "password");
  EXPECT_EQ(ObscurePassword("password"), file);
  ASSERT_OK_AND_ASSIGN(const std::vector<VncPassword> two,
                       ParsePasswordFile(file + ObscurePassword("look")));
  ASSERT_EQ(two.size(), 2u);
  EXPECT_TRUE(two[1].view_only);
  EXPECT_THAT(ParsePasswordFile("short"), StatusIs(absl::StatusCode::kInvalidArgument, "8 or 16"));
}

TEST(Users, Check) {
  // openssl passwd -6 -salt abcdefgh tiger
  const std::string text =
      "# who may come in\n"
      "ann:$6$abcdefgh$"
      "YbbFhYJ45n36HDcH8No51gOWWvyuzrrA8juiKR/984t6NgxHJ5uHP6TeHsNccECN6cYRzvtVlRW0bg4xDv8sg1"
      "\n";
  absl::StatusOr<std::vector<User>> users = ParseUserFile(text);
  ASSERT_OK(users);
  ASSERT_EQ(users->size(), 1u);
  EXPECT_NE(CheckUser(*users, "ann", "tiger"), nullptr);
  EXPECT_EQ(CheckUser(*users, "ann", "lion"), nullptr);
  EXPECT_EQ(CheckUser(*users, "ann", absl::string_view("tiger\0", 6)), nullptr);
  EXPECT_EQ(CheckUser(*users, "bob", "tiger"), nullptr);
  EXPECT_THAT(ParseUserFile("ann\n"), StatusIs(absl::StatusCode::kInvalidArgument, "line 1"));
  EXPECT_THAT(ParseUserFile("\nann:tiger\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, "line 2"));
}

TEST(Update, NothingIsSentUnasked) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  Draw(FrameKind::kText, 2, &rig.frame);
  rig.Update();
  ASSERT_OK(rig.Settle());
  EXPECT_EQ(rig.view.updates, 0u);
  // One request, one update; then silence again.
  ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
  EXPECT_EQ(rig.view.updates, 1u);
  EXPECT_EQ(rig.Wrong(), 0u);
  Draw(FrameKind::kText, 3, &rig.frame);
  rig.Update();
  ASSERT_OK(rig.Settle());
  EXPECT_EQ(rig.view.updates, 1u);
}

TEST(Update, FalseDamageCostsNothing) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  ASSERT_OK(rig.Say(RequestMessage(false, rig.Whole())));
  const size_t before = rig.bytes_sent;
  ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
  EXPECT_TRUE(rig.Update().tiles.empty());
  ASSERT_OK(rig.Settle());
  EXPECT_EQ(rig.bytes_sent, before);
  EXPECT_FALSE(rig.connection->session()->wake_at());
}

TEST(Update, PartsAreSentAsAskedFor) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  // Less than a tile, at odd places: answered once, not for ever.
  ASSERT_OK(rig.Say(RequestMessage(true, {5, 7, 3, 2})));
  EXPECT_EQ(rig.view.updates, 1u);
  EXPECT_LT(rig.bytes_sent, 16u * 16 * 4 + 100);
  ASSERT_OK(rig.Say(RequestMessage(true, {5, 7, 3, 2})));
  EXPECT_EQ(rig.view.updates, 1u);
  ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
  EXPECT_EQ(rig.Wrong(), 0u);
}

TEST(Update, ScrollingIsCopied) {
  for (const int by : {-48, -7, 3, 100}) {
    Rig rig(640, 400);
    Draw(FrameKind::kText, 1, &rig.frame);
    rig.Update();
    ASSERT_OK(rig.Enter());
    const int32_t encodings[] = {kEncodingCopyRect, kEncodingZrle};
    ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(false, rig.Whole())));
    const size_t before = rig.bytes_sent;
    const size_t rows = rig.frame.height - static_cast<unsigned>(std::abs(by));
    const size_t row = size_t{rig.frame.width} * 4;
    if (by < 0) {
      memmove(rig.frame.Row(0), rig.frame.Row(static_cast<unsigned>(-by)), rows * row);
    } else {
      memmove(rig.frame.Row(static_cast<unsigned>(by)), rig.frame.Row(0), rows * row);
    }
    rig.Update();
    ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
    EXPECT_GT(rig.view.rectangles[kEncodingCopyRect], 0u) << by;
    EXPECT_EQ(rig.Wrong(), 0u) << by;
    EXPECT_LT(rig.bytes_sent - before, before) << by;
  }
}

TEST(Update, ScrollingSidewaysIsCopied) {
  for (const int by : {-48, -7, 3, 100}) {
    Rig rig(640, 400);
    Draw(FrameKind::kPhoto, 1, &rig.frame);
    rig.Update();
    ASSERT_OK(rig.Enter());
    const int32_t encodings[] = {kEncodingCopyRect, kEncodingZrle};
    ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(false, rig.Whole())));
    const size_t before = rig.bytes_sent;
    const size_t columns = rig.frame.width - static_cast<unsigned>(std::abs(by));
    for (unsigned y = 0; y < rig.frame.height; ++y) {
      uint32_t* const row = rig.frame.Row(y);
      memmove(row + std::max(0, by), row + std::max(0, -by), columns * 4);
    }
    rig.Update();
    ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
    EXPECT_GT(rig.view.rectangles[kEncodingCopyRect], 0u) << by;
    EXPECT_EQ(rig.Wrong(), 0u) << by;
    EXPECT_LT(rig.bytes_sent - before, before / 2) << by;
  }
}

// What is more than an update counts follows in the next; LastRect needs no count.
TEST(Update, MoreRectanglesThanCount) {
  for (const bool last_rect : {false, true}) {
    Rig rig(640, 400);
    Output out;
    Session session(&rig.access, &rig.desktop, &rig.guest, &out, {.max_rectangles = 10});
    session.Start();
    const auto say = [&](const std::string& text) {
      const std::span bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
      ASSERT_OK(session.Receive(bytes).status());
    };
    say("RFB 003.008\n\1" + ClientInit());
    out.Clear();
    std::vector<int32_t> encodings = {kEncodingRre};
    if (last_rect) encodings.push_back(kPseudoLastRect);
    say(SetEncodingsMessage(encodings));
    unsigned updates = 0;
    say(RequestMessage(false, rig.Whole()));
    for (session.Pump(0); !out.empty() && updates < 100; session.Pump(0)) {
      ASSERT_OK(rig.view.Take(out.span()));
      out.Clear();
      ++updates;
      say(RequestMessage(true, rig.Whole()));
    }
    EXPECT_EQ(rig.Wrong(), 0u);
    EXPECT_EQ(rig.view.rectangles[kPseudoLastRect], last_rect ? 1u : 0u);
    EXPECT_EQ(updates, last_rect ? 1u : 2u);
  }
}

// Scrolls that come faster than the viewer asks, and changes between them.
TEST(Update, ScrollsAndChangesMixed) {
  Rig rig(640, 400);
  Draw(FrameKind::kText, 1, &rig.frame);
  rig.Update();
  ASSERT_OK(rig.Enter());
  const int32_t encodings[] = {kEncodingCopyRect, kEncodingHextile};
  ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(false, rig.Whole())));
  uint32_t state = 1;
  for (unsigned i = 0; i < 60; ++i) {
    state = state * 1103515245 + 12345;
    const unsigned by = 1 + (state >> 16) % 40;
    memmove(rig.frame.Row(0), rig.frame.Row(by),
            size_t{rig.frame.width} * (rig.frame.height - by) * 4);
    if (i % 3 == 0) rig.frame.Row((state >> 8) % 400)[(state >> 20) % 640] = state & 0xFFFFFF;
    rig.Update();
    if (i % 2 == 0) {
      ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
      ASSERT_EQ(rig.Wrong(), 0u) << i;
    }
  }
  EXPECT_GT(rig.view.rectangles[kEncodingCopyRect], 7u);
}

TEST(Update, LossyPartsAreMadeExactWhenItIsQuiet) {
  Rig rig(800, 800);
  ASSERT_OK(rig.Enter());
  const int32_t encodings[] = {kEncodingTight, kPseudoQualityLow + 3};
  Draw(FrameKind::kPhoto, 1, &rig.frame);
  rig.Update();
  ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(false, rig.Whole())));
  EXPECT_GT(rig.Wrong(), 1000u);
  ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
  EXPECT_GT(rig.Wrong(), 1000u);
  ASSERT_TRUE(rig.connection->session()->wake_at());
  usleep(Session::kRefreshNs / 1000 + 20000);
  // A part in each update, so that what changes meanwhile does not wait.
  for (int i = 0; i < 10 && rig.Wrong() > 0; ++i) {
    ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
  }
  EXPECT_EQ(rig.Wrong(), 0u);
  EXPECT_GE(rig.view.updates, 3u);
  // And then nothing more, not even a timer.
  ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
  EXPECT_FALSE(rig.connection->session()->wake_at());
}

TEST(Update, ContinuousUpdatesHeedFences) {
  Rig rig(640, 480);
  ASSERT_OK(rig.Enter());
  const int32_t encodings[] = {kEncodingRaw, kPseudoContinuousUpdates, kPseudoFence};
  ASSERT_OK(rig.Say(SetEncodingsMessage(encodings)));
  EXPECT_EQ(rig.view.ends_of_continuous, 1u);
  ASSERT_EQ(rig.view.fences.size(), 1u);
  ASSERT_OK(rig.Say(ContinuousMessage(true, rig.Whole())));
  EXPECT_EQ(rig.view.updates, 1u);
  // The viewer echoes nothing: no more than a window is under way.
  for (uint32_t i = 2; i < 40; ++i) {
    Draw(FrameKind::kText, i, &rig.frame);
    rig.Update();
    ASSERT_OK(rig.Settle());
  }
  const unsigned stuck = rig.view.updates;
  EXPECT_LE(stuck, 2u);
  // It wakes up, and sees the last picture.
  for (size_t i = 1; i < rig.view.fences.size(); ++i) {
    ASSERT_OK(rig.Say(FenceMessage(rig.view.fences[i].flags & 7, rig.view.fences[i].payload)));
  }
  EXPECT_GT(rig.view.updates, stuck);
  EXPECT_EQ(rig.Wrong(), 0u);
  ASSERT_OK(rig.Say(ContinuousMessage(false, rig.Whole())));
  EXPECT_EQ(rig.view.ends_of_continuous, 2u);
}

TEST(Flow, WindowFollowsTheLine) {
  FlowControl flow;
  uint64_t now = 1'000'000'000;
  // 10 MB/s and 50 ms there and back.
  for (int i = 0; i < 100; ++i) {
    const uint32_t number = flow.Sent(100'000, now);
    now += 60'000'000;
    flow.Echoed(number, now);
  }
  EXPECT_GT(flow.window(), 90'000u);
  EXPECT_LT(flow.window(), 500'000u);
  EXPECT_EQ(flow.in_flight(), 0u);
  // Numbers that were never sent, or again, change nothing.
  flow.Echoed(12345, now);
  flow.Echoed(0, now);
  EXPECT_TRUE(flow.Open());
}

TEST(Update, SizeFollowsOrIsClipped) {
  for (const int32_t how : {kPseudoDesktopSize, kPseudoExtendedDesktopSize, 0}) {
    Rig rig(320, 200);
    ASSERT_OK(rig.Enter());
    const int32_t encodings[] = {kEncodingZrle, how};
    ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(false, rig.Whole())));
    ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
    // Another picture, smaller one way and larger the other.
    rig.frame.Resize(240, 300);
    Draw(FrameKind::kDesk, 2, &rig.frame);
    rig.desktop.width = 240;
    rig.desktop.height = 300;
    rig.desktop.shadow = std::make_unique<Shadow>(320, 300);
    rig.connection->session()->SizeChanged(nullptr);
    rig.Update();
    ASSERT_OK(rig.Settle());
    for (int i = 0; i < 3; ++i) {
      ASSERT_OK(rig.Say(
          RequestMessage(true, {0, 0, rig.view.picture().width, rig.view.picture().height})));
    }
    if (how != 0) {
      EXPECT_EQ(rig.view.picture().width, 240u);
      EXPECT_EQ(rig.view.picture().height, 300u);
      EXPECT_EQ(rig.Wrong(), 0u);
      continue;
    }
    ASSERT_EQ(rig.view.picture().width, 320u);
    for (unsigned y = 0; y < 200; ++y) {
      for (unsigned x = 0; x < 320; ++x) {
        ASSERT_EQ(rig.view.picture().Row(y)[x], x < 240 ? rig.frame.Row(y)[x] : 0u);
      }
    }
  }
}

TEST(Update, SizeWishesAreChecked) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  const int32_t encodings[] = {kEncodingRaw, kPseudoExtendedDesktopSize};
  ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(false, rig.Whole())));
  EXPECT_EQ(rig.view.size_reason, 0u);
  const auto wish = [&](uint16_t w, uint16_t h, uint8_t screens) {
    std::string m("\xfb\0", 2);
    for (const unsigned v : {unsigned{w}, unsigned{h}}) {
      m.push_back(static_cast<char>(v >> 8));
      m.push_back(static_cast<char>(v));
    }
    m.push_back(static_cast<char>(screens));
    m.push_back('\0');
    m.append(size_t{screens} * 16, '\0');
    EXPECT_OK(rig.Say(m + RequestMessage(true, rig.Whole())));
    return rig.view.size_status;
  };
  EXPECT_EQ(wish(65535, 65535, 1), 3u);
  EXPECT_EQ(wish(0, 100, 1), 3u);
  EXPECT_EQ(wish(800, 600, 0), 3u);
  EXPECT_TRUE(rig.guest.said.empty());
  EXPECT_EQ(wish(800, 600, 1), 1u);
  EXPECT_EQ(rig.guest.said, Strings{"resize 800x600"});
  EXPECT_EQ(rig.view.size_reason, 1u);
}

TEST(Input, KeysAreReleasedAtTheEnd) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  ASSERT_OK(rig.Write(KeyMessage(true, 0xFFE3) + ExtendedKeyMessage(true, 'a', 0x1E) +
                      KeyMessage(true, 'b') + KeyMessage(false, 'b')));
  EXPECT_EQ(rig.guest.said,
            (Strings{"key down 0 65507", "key down 30 97", "key down 0 98", "key up 0 98"}));
  rig.guest.said.clear();
  rig.connection.reset();
  EXPECT_EQ(rig.guest.said, (Strings{"key up 0 65507", "key up 30 97"}));
}

TEST(Input, PointerByPositionOrByMove) {
  Rig rig;
  rig.desktop.pointer_absolute = true;
  ASSERT_OK(rig.Enter());
  // Outside is the edge; the middle button is another bit; wheels are buttons.
  ASSERT_OK(
      rig.Write(PointerMessage(2, 65535, 10) + PointerMessage(16, 5, 6) + PointerMessage(0, 5, 6)));
  EXPECT_EQ(rig.guest.said, (Strings{"point 319,10 0 4", "point 5,6 1 0", "point 5,6 0 0"}));
  rig.guest.said.clear();
  rig.desktop.pointer_absolute = false;
  ASSERT_OK(rig.Write(PointerMessage(1, 15, 4)));
  EXPECT_EQ(rig.guest.said, Strings{"move 10,-2 0 1"});
  // A viewer that knows how sends moves, around 0x7FFF.
  const int32_t encodings[] = {kEncodingRaw, kPseudoQemuPointerMotion};
  ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(true, rig.Whole())));
  EXPECT_EQ(rig.view.pointer_absolute, 0);
  rig.guest.said.clear();
  ASSERT_OK(rig.Write(PointerMessage(1, 0x7FFF - 3, 0x7FFF + 9)));
  EXPECT_EQ(rig.guest.said, Strings{"move -3,9 0 1"});
}

TEST(Pseudo, CursorLedsAndName) {
  Rig rig;
  rig.desktop.has_cursor = true;
  rig.desktop.cursor = {9, 2, 3, 1, std::vector<uint32_t>(18, 0x80FF0040)};
  rig.desktop.leds = 5;
  ASSERT_OK(rig.Enter());
  const int32_t alpha[] = {kEncodingRaw, kPseudoCursorWithAlpha, kPseudoQemuLedState,
                           kPseudoDesktopName, kPseudoQemuExtendedKey};
  ASSERT_OK(rig.Say(SetEncodingsMessage(alpha) + RequestMessage(true, rig.Whole())));
  EXPECT_EQ(rig.view.cursor.width, 9u);
  EXPECT_EQ(rig.view.cursor.bytes.substr(0, 4), "\x80\0\x20\x80"s);
  EXPECT_EQ(rig.view.leds, 5);
  EXPECT_EQ(rig.view.rectangles[kPseudoQemuExtendedKey], 1u);
  rig.desktop.name = "another";
  rig.connection->session()->NameChanged();
  ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
  EXPECT_EQ(rig.view.name, "another");
  Rig old;
  old.desktop.has_cursor = true;
  old.desktop.cursor = rig.desktop.cursor;
  ASSERT_OK(old.Enter());
  const int32_t mask[] = {kEncodingRaw, kPseudoCursor};
  ASSERT_OK(old.Say(SetEncodingsMessage(mask) + RequestMessage(true, old.Whole())));
  ASSERT_EQ(old.view.cursor.bytes.size(), 18u * 4 + 4);
  EXPECT_EQ(old.view.cursor.bytes.substr(72), "\xFF\x80\xFF\x80"s);
}

TEST(Clipboard, BothWays) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  ASSERT_OK(rig.Write("\6\0\0\0\0\0\0\4caf\xE9"s));
  EXPECT_EQ(rig.guest.said, Strings{"clipboard caf\xC3\xA9"});
  rig.desktop.clipboard = "na\xC3\xAFve \xE2\x82\xAC";
  rig.connection->session()->ClipboardChanged();
  ASSERT_OK(rig.Settle());
  EXPECT_EQ(rig.view.cut_texts, Strings{"na\xEFve ?"});
}

TEST(Clipboard, ExtendedBothWays) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  const int32_t encodings[] = {kEncodingRaw, kPseudoExtendedClipboard};
  ASSERT_OK(rig.Say(SetEncodingsMessage(encodings)));
  ASSERT_EQ(rig.view.cut_texts.size(), 1u);  // what the server can
  rig.desktop.clipboard = "\xE2\x82\xAC 5\nand";
  rig.connection->session()->ClipboardChanged();
  ASSERT_OK(rig.Settle());
  ASSERT_EQ(rig.view.cut_texts.size(), 2u);
  EXPECT_EQ(rig.view.cut_texts[1], "\x08\0\0\1"s);
  // The viewer asks for it, and gets it.
  ASSERT_OK(rig.Say("\6\0\0\0\xFF\xFF\xFF\xFC\2\0\0\1"s));
  ASSERT_EQ(rig.view.cut_texts.size(), 3u);
  const std::string provided = rig.view.cut_texts[2];
  EXPECT_EQ(provided.substr(0, 4), "\x10\0\0\1"s);
  // What the server provides it also understands.
  Output same;
  WriteClipboardText("\xE2\x82\xAC 5\nand", &same);
  std::string message(reinterpret_cast<const char*>(same.data()), same.size());
  message[0] = 6;
  ASSERT_OK(rig.Say(message));
  EXPECT_EQ(rig.guest.said, Strings{"clipboard \xE2\x82\xAC 5\nand"});
}

TEST(Xvp, OnlyWhatTheGuestAllows) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  const int32_t encodings[] = {kEncodingRaw, kPseudoXvp};
  ASSERT_OK(rig.Say(SetEncodingsMessage(encodings)));
  EXPECT_EQ(rig.view.xvp, "\0\1\1"s);
  rig.view.xvp.clear();
  ASSERT_OK(rig.Say("\xFA\0\1\2"s));
  EXPECT_EQ(rig.guest.said, Strings{"power 2"});
  EXPECT_EQ(rig.view.xvp, "");
  rig.guest.power = false;
  ASSERT_OK(rig.Say("\xFA\0\1\4"s));
  EXPECT_EQ(rig.view.xvp, "\0\1\0"s);
  // No such action.
  rig.view.xvp.clear();
  ASSERT_OK(rig.Say("\xFA\0\1\x09"s));
  EXPECT_EQ(rig.view.xvp, "\0\1\0"s);
}

TEST(ViewOnly, NothingReachesTheGuest) {
  Rig rig(320, 200, {}, Connection::Speaks::kRfb, true);
  ASSERT_OK(rig.Enter());
  const int32_t encodings[] = {kEncodingRaw, kPseudoXvp, kPseudoExtendedClipboard,
                               kPseudoExtendedDesktopSize};
  ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + KeyMessage(true, 'a') +
                    PointerMessage(1, 2, 3) + "\6\0\0\0\0\0\0\1x"s + "\xFA\0\1\2"s +
                    "\xfb\0\1\0\1\0\1\0"s + std::string(16, '\0')));
  rig.connection.reset();
  EXPECT_TRUE(rig.guest.said.empty());
}

}  // namespace
}  // namespace atl::rfb
