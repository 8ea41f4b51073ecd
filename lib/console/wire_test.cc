// SPDX-License-Identifier: Apache-2.0
#include "lib/console/wire.h"

#include <cstring>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"

namespace atl::console {
namespace {

std::vector<FromViewer> ViewersMessages() {
  return {
      Hello{1, 3, true},
      Update{true},
      Key{true, 0x1E, 0x61},
      Key{false, 0, 0x20AC},
      Pointer{true, 0x1F, -1, 2, 4095, 0, 4096, 1},
      Pointer{false, 1, 0, 0, -300, 300, 0, 0},
      AskText{},
      Sync{0xFFFFFFFF},
      Power{PowerAction::kReset},
      Clipboard{"gr\xC3\xBC\xC3\x9F\n"},
  };
}

std::vector<FromRun> RunsMessages() {
  Tiles tiles{9, 3, 2, {0x01, 0x01, 0x80, 0x00}};
  Cursor cursor{2, 1, 1, 0, {0xFF000000, 0x80FFFFFF}};
  Text text;
  text.screen.columns = 3;
  text.screen.rows = 1;
  text.screen.cells = {{'a', 7}, {0xB0, 0x1F}, {0, 0}};
  text.screen.cursor = 2;
  text.screen.blink = true;
  text.screen.palette[15] = 0xFFFFFF;
  return {
      Welcome{1, true, false, kMaxMemory},
      Mode{ui::ScreenKind::kGraphics, 640, 480, 2560, 4096},
      tiles,
      cursor,
      Cursor{},
      PointerMode{true},
      Leds{5},
      Name{"gtes11"},
      text,
      Text{},
      Synced{7},
      Clipboard{std::string(kMaxClipboard, 'x')},
      Bye{"the guest has ended"},
  };
}

TEST(WireTest, EveryMessageComesBack) {
  std::vector<bool> seen(256);
  for (const FromViewer& m : ViewersMessages()) {
    const std::vector<uint8_t> packet = Encode(m);
    seen[packet[0]] = true;
    ASSERT_OK_AND_ASSIGN(const FromViewer back, DecodeFromViewer(packet));
    EXPECT_EQ(back, m);
    EXPECT_FALSE(DecodeFromRun(packet).ok());
  }
  for (const FromRun& m : RunsMessages()) {
    const std::vector<uint8_t> packet = Encode(m);
    EXPECT_LE(packet.size(), kMaxPacket);
    seen[packet[0]] = true;
    ASSERT_OK_AND_ASSIGN(const FromRun back, DecodeFromRun(packet));
    EXPECT_EQ(back, m);
    EXPECT_FALSE(DecodeFromViewer(packet).ok());
  }
  for (const TypeInfo& t : Types()) EXPECT_TRUE(seen[t.type]) << t.name;
}

// Cut short, or with a byte more: never accepted, never read past the end.
TEST(WireTest, SizesAreExact) {
  const auto check = [](std::vector<uint8_t> packet, auto decode) {
    const size_t whole = packet.size();
    for (size_t n = 0; n < std::min<size_t>(whole, 200); ++n) {
      EXPECT_FALSE(decode(std::span<const uint8_t>(packet).first(n)).ok());
    }
    packet.push_back(0);
    EXPECT_FALSE(decode(packet).ok());
  };
  for (const FromViewer& m : ViewersMessages()) check(Encode(m), DecodeFromViewer);
  for (const FromRun& m : RunsMessages()) check(Encode(m), DecodeFromRun);
}

template <typename T>
std::string RefusalOf(const T& message, size_t at, uint8_t byte) {
  std::vector<uint8_t> packet = Encode(message);
  packet[sizeof(Header) + at] = byte;
  if constexpr (std::is_same_v<T, FromViewer>) {
    return std::string(DecodeFromViewer(packet).status().message());
  } else {
    return std::string(DecodeFromRun(packet).status().message());
  }
}

TEST(WireTest, WhatIsRefusedIsNamed) {
  using V = FromViewer;
  using R = FromRun;
  EXPECT_EQ(RefusalOf(V(Hello{}), 0, 0), "message 'hello': another magic number");
  EXPECT_EQ(RefusalOf(V(Hello{}), 4, 9), "message 'hello': an empty range of versions");
  EXPECT_EQ(RefusalOf(V(Update{}), 0, 2), "message 'update': a value of 2");
  EXPECT_EQ(RefusalOf(V(Key{true, 1, 0}), 1, 0), "message 'key': no key");
  EXPECT_EQ(RefusalOf(V(Pointer{true, 0, 0, 0, 5, 5, 10, 10}), 4, 10),
            "message 'pointer': a place outside the picture");
  EXPECT_EQ(RefusalOf(V(Pointer{true, 0, 0, 0, 5, 5, 10, 10}), 9, 0xFF),
            "message 'pointer': a place outside the picture");
  EXPECT_EQ(RefusalOf(V(Power{}), 0, 3), "message 'power': a value of 3");
  EXPECT_EQ(RefusalOf(V(Clipboard{"ab"}), 1, 0xC0), "message 'clipboard': text that is not UTF-8");
  EXPECT_EQ(RefusalOf(V(Clipboard{"ab"}), 0, 0), "message 'clipboard': text that is not UTF-8");
  const Mode mode{ui::ScreenKind::kText, 720, 400, 2880, 0};
  EXPECT_EQ(RefusalOf(R(mode), 0, 3), "message 'mode': a kind of screen");
  EXPECT_EQ(RefusalOf(R(mode), 7, 1), "message 'mode': a picture of 16777936x400");
  EXPECT_EQ(RefusalOf(R(mode), 12, 0x41), "message 'mode': rows of 2881 bytes");
  EXPECT_EQ(RefusalOf(R(mode), 12, 0x3C), "message 'mode': rows of 2876 bytes");
  EXPECT_EQ(RefusalOf(R(mode), 16, 1), "message 'mode': a picture outside the memory");
  EXPECT_EQ(RefusalOf(R(mode), 20, 0xFF), "message 'mode': a picture outside the memory");
  const Tiles tiles{9, 255, 1, {0xFF, 1}};
  EXPECT_EQ(RefusalOf(R(tiles), 4, 2), "message 'damage': tiles outside every picture");
  EXPECT_EQ(RefusalOf(R(tiles), 0, 8), "message 'damage': a map of another size");
  EXPECT_EQ(RefusalOf(R(tiles), 9, 2), "message 'damage': tiles past the last column");
  EXPECT_EQ(RefusalOf(R(Tiles{1, 0, 1, {1}}), 8, 0), "message 'damage': damage of no tile");
  EXPECT_EQ(RefusalOf(R(Cursor{}), 0, 1), "message 'cursor': a cursor of 1x0");
  EXPECT_EQ(RefusalOf(R(Welcome{1, false, false, 4096}), 9, 0),
            "message 'welcome': memory of 0 bytes");
}

TEST(WireTest, UnknownTypesAndDirections) {
  std::vector<uint8_t> packet = Encode(FromViewer(AskText{}));
  packet[0] = 40;
  EXPECT_EQ(DecodeFromViewer(packet).status().message(), "a message of the unknown type 40");
  EXPECT_EQ(DecodeFromRun({}).status().message(), "a packet of 0 bytes");
}

// What is too long to be sent is cut where a character ends.
TEST(WireTest, TextIsCutBetweenCharacters) {
  std::string name(kMaxName - 1, 'n');
  name += "\xC3\xA4";
  ASSERT_OK_AND_ASSIGN(const FromRun back, DecodeFromRun(Encode(FromRun(Name{name}))));
  EXPECT_EQ(std::get<Name>(back).text, std::string(kMaxName - 1, 'n'));
  ASSERT_OK_AND_ASSIGN(const FromRun bad, DecodeFromRun(Encode(FromRun(Name{"a\xFFz"}))));
  EXPECT_EQ(std::get<Name>(bad).text, "a");
}

// A place outside is put at the edge.
TEST(WireTest, PointersStayInside) {
  ASSERT_OK_AND_ASSIGN(
      const FromViewer back,
      DecodeFromViewer(Encode(FromViewer(Pointer{true, 0, 0, 0, 700, -3, 640, 480}))));
  EXPECT_EQ(std::get<Pointer>(back).x, 639);
  EXPECT_EQ(std::get<Pointer>(back).y, 0);
}

}  // namespace
}  // namespace atl::console
