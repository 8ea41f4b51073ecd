// SPDX-License-Identifier: Apache-2.0
// Both ends of the console socket, over real sockets and the server's thread.
#include "lib/console/server.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/console/shared_picture.h"
#include "lib/console/testing/fake_guest.h"
#include "lib/console/viewer.h"

namespace atl::console {
namespace {

using ::testing::HasSubstr;

constexpr int kTimeoutMs = 10'000;

// What a viewer was told.
class Told final : public ViewerEvents {
 public:
  void OnMode(const Mode& mode) override { modes.push_back(mode); }
  void OnDamage(const std::vector<ui::Rect>& rects) override { damage.push_back(rects); }
  void OnCursor(const Cursor& c) override { cursors.push_back(c); }
  void OnPointerMode(bool absolute) override { pointer_modes.push_back(absolute); }
  void OnLeds(uint8_t lit) override { leds.push_back(lit); }
  void OnName(absl::string_view text) override { name = std::string(text); }
  void OnClipboard(absl::string_view text) override { clipboard = std::string(text); }
  void OnText(const ui::TextScreen& text) override { texts.push_back(text); }
  void OnSynced(uint32_t id) override { synced.push_back(id); }

  std::vector<Mode> modes;
  std::vector<std::vector<ui::Rect>> damage;
  std::vector<bool> pointer_modes;
  std::vector<uint8_t> leds;
  std::vector<ui::TextScreen> texts;
  std::vector<Cursor> cursors;
  std::vector<uint32_t> synced;
  std::string name, clipboard;
};

class Console {
 public:
  explicit Console(unsigned width = 100, unsigned height = 50, bool tells = true,
                   const ui::Layout* layout = &ui::Layouts()[0])
      : screen(width, height, tells) {
    ServerHooks hooks;
    hooks.power = [this](PowerAction action) { power = static_cast<int>(action); };
    hooks.clipboard = [this](absl::string_view text) { pasted = static_cast<int>(text.size()); };
    absl::StatusOr<std::unique_ptr<Server>> made =
        Server::Create({"", "guest1", layout}, screen, input, hooks);
    EXPECT_OK(made.status());
    server = *std::move(made);
    for (UniqueFd& fd : sockets) {
      absl::StatusOr<UniqueFd> socket = server->NewViewer({nullptr, [this] { ++gone; }});
      EXPECT_OK(socket.status());
      fd = *std::move(socket);
    }
    EXPECT_OK(server->Start());
  }

  // The first call gets the first socket, and so on.
  std::unique_ptr<Viewer> NewViewer(bool view_only = false) {
    absl::StatusOr<std::unique_ptr<Viewer>> viewer =
        Viewer::Greet(std::move(sockets[used++]), "test", view_only);
    EXPECT_OK(viewer.status());
    return *std::move(viewer);
  }

  FakeScreen screen;
  FakeInput input;
  std::atomic<int> power{0}, pasted{-1}, gone{0};
  std::unique_ptr<Server> server;
  UniqueFd sockets[4];
  unsigned used = 0;
};

// Receives until `done`.
void Until(Viewer& viewer, Told& told, const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kTimeoutMs);
  while (!done()) {
    ASSERT_LT(std::chrono::steady_clock::now(), end);
    ASSERT_OK(viewer.Wait(20).status());
    ASSERT_OK(viewer.Receive(told));
  }
}
void WaitFor(const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kTimeoutMs);
  while (!done()) {
    ASSERT_LT(std::chrono::steady_clock::now(), end);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}
// Until the guest has what was sent so far.
void SyncWith(Viewer& viewer, Told& told) {
  static uint32_t id = 0;
  ASSERT_OK(viewer.SendSync(++id));
  Until(viewer, told, [&] { return !told.synced.empty() && told.synced.back() == id; });
}

TEST(ConsoleTest, APictureAndWhatChangesInIt) {
  Console c;
  c.screen.Fill({0, 0, 100, 50}, 0x112233);
  auto viewer = c.NewViewer();
  EXPECT_TRUE(viewer->welcome().input);
  EXPECT_TRUE(viewer->welcome().power);
  Told told;
  ASSERT_OK(viewer->Ask());
  Until(*viewer, told, [&] { return told.damage.size() == 1; });
  ASSERT_EQ(told.modes.size(), 1u);
  EXPECT_EQ(told.modes[0].width, 100u);
  EXPECT_EQ(told.modes[0].height, 50u);
  EXPECT_EQ(told.name, "guest1");
  EXPECT_EQ(told.pointer_modes, std::vector<bool>{false});
  EXPECT_EQ(told.leds, std::vector<uint8_t>{0});
  EXPECT_EQ(told.damage[0],
            (std::vector<ui::Rect>{
                {0, 0, 100, 16}, {0, 16, 100, 16}, {0, 32, 100, 16}, {0, 48, 100, 2}}));
  ui::Surface seen;
  seen.Resize(100, 50);
  for (const ui::Rect& r : told.damage[0]) viewer->CopyOut(r, seen);
  EXPECT_EQ(seen.pixels, c.screen.Capture().pixels);

  ASSERT_OK(viewer->Ask());
  c.screen.Fill({40, 20, 1, 1}, 0xFF0000);
  Until(*viewer, told, [&] { return told.damage.size() == 2; });
  EXPECT_EQ(told.damage[1], (std::vector<ui::Rect>{{32, 16, 16, 16}}));
  viewer->CopyOut(told.damage[1][0], seen);
  EXPECT_EQ(seen.pixels, c.screen.Capture().pixels);

  // Not asked for: kept, joined with what comes after it.
  c.screen.Fill({0, 0, 1, 1}, 1);
  c.screen.Fill({99, 49, 1, 1}, 2);
  ASSERT_OK(viewer->Ask());
  Until(*viewer, told, [&] { return told.damage.size() == 3; });
  EXPECT_EQ(told.damage[2], (std::vector<ui::Rect>{{0, 0, 16, 16}, {96, 48, 4, 2}}));

  // All of it, though nothing has changed.
  ASSERT_OK(viewer->Ask(true));
  Until(*viewer, told, [&] { return told.damage.size() == 4; });
  EXPECT_EQ(told.damage[3], told.damage[0]);
}

TEST(ConsoleTest, AnotherModeIsAnotherPlace) {
  Console c;
  auto viewer = c.NewViewer();
  Told told;
  ASSERT_OK(viewer->Ask());
  Until(*viewer, told, [&] { return told.damage.size() == 1; });
  ASSERT_OK(viewer->Ask());
  c.screen.Resize(640, 480);
  Until(*viewer, told, [&] { return told.damage.size() == 2; });
  ASSERT_EQ(told.modes.size(), 2u);
  EXPECT_EQ(told.modes[1].width, 640u);
  EXPECT_NE(told.modes[1].offset, told.modes[0].offset);
  // Only the kind: told too, at the next look.
  ui::TextScreen text;
  text.columns = 2;
  text.rows = 1;
  text.cells = {{'o', 7}, {'k', 7}};
  ASSERT_OK(viewer->Ask());
  c.screen.SetText(text);
  Until(*viewer, told, [&] { return told.modes.size() == 3; });
  EXPECT_EQ(told.modes[2].kind, ui::ScreenKind::kText);
  ASSERT_OK(viewer->AskText());
  Until(*viewer, told, [&] { return told.texts.size() == 1; });
  EXPECT_EQ(told.texts[0], text);
  c.screen.SetText(std::nullopt);
  ASSERT_OK(viewer->AskText());
  Until(*viewer, told, [&] { return told.texts.size() == 2; });
  EXPECT_EQ(told.texts[1], ui::TextScreen());
}

// A screen that tells is not looked at while nothing changes; one that cannot
// is looked at, and less often in time.
TEST(ConsoleTest, NothingHappensWithoutNews) {
  for (const bool tells : {true, false}) {
    Console c(100, 50, tells);
    auto viewer = c.NewViewer();
    Told told;
    ASSERT_OK(viewer->Ask());
    Until(*viewer, told, [&] { return told.damage.size() == 1; });
    ASSERT_OK(viewer->Ask());
    SyncWith(*viewer, told);
    const unsigned before = c.screen.looks();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const unsigned looks = c.screen.looks() - before;
    if (tells) {
      EXPECT_EQ(looks, 0u);
    } else {
      EXPECT_GE(looks, 1u);
      EXPECT_LE(looks, 30u);
    }
    c.screen.Fill({0, 0, 1, 1}, 1);
    Until(*viewer, told, [&] { return told.damage.size() == 2; });
  }
}

// Whoever goes while the screen is watched leaves it watched for the next.
TEST(ConsoleTest, AScreenIsLookedAtAnewForTheNextViewer) {
  Console c(100, 50, /*tells=*/false);
  for (int i = 1; i <= 3; ++i) {
    auto viewer = c.NewViewer();
    Told told;
    for (size_t n = 1; n <= 3; ++n) {
      ASSERT_OK(viewer->Ask());
      SyncWith(*viewer, told);
      c.screen.Fill({0, 0, 1, 1}, static_cast<uint32_t>(10 * i) + static_cast<uint32_t>(n));
      Until(*viewer, told, [&] { return told.damage.size() >= n; });
      if (::testing::Test::HasFatalFailure()) return;
    }
    ASSERT_OK(viewer->Ask());
    SyncWith(*viewer, told);
    viewer.reset();
    WaitFor([&] { return c.gone == i; });
  }
}

// Where looking is all that tells, it is done sooner when somebody types.
TEST(ConsoleTest, WhatIsTypedIsSeenSoon) {
  Console c(100, 50, /*tells=*/false);
  auto viewer = c.NewViewer();
  Told told;
  ASSERT_OK(viewer->Ask());
  Until(*viewer, told, [&] { return told.damage.size() == 1; });
  ASSERT_OK(viewer->Ask());
  std::this_thread::sleep_for(std::chrono::seconds(1));  // long enough to be slow
  unsigned before = c.screen.looks();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(c.screen.looks() - before, 2u);
  before = c.screen.looks();
  ASSERT_OK(viewer->SendKey(true, 0x1E, 0));
  // 14 looks from 3 ms on take 250 ms; at the slow pace there would be three.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_GE(c.screen.looks() - before, 6u);
}

TEST(ConsoleTest, KeysByPlace) {
  Console c;
  auto viewer = c.NewViewer();
  Told told;
  ASSERT_OK(viewer->SendKey(true, 0x1D, 0));
  ASSERT_OK(viewer->SendKey(true, 0x2E, 0x63));
  ASSERT_OK(viewer->SendKey(false, 0x2E, 0x63));
  ASSERT_OK(viewer->SendKey(false, 0x1D, 0));
  // A release of what is not held is nothing.
  ASSERT_OK(viewer->SendKey(false, 0x10, 0));
  SyncWith(*viewer, told);
  EXPECT_EQ(c.input.log(), "+1d +2e -2e -1d");
}

// The guest's layout says which key and which modifiers a character needs.
TEST(ConsoleTest, KeysByWhatTheyType) {
  const auto typed = [](absl::string_view layout, std::vector<std::pair<bool, uint32_t>> keysyms,
                        uint8_t lamps = 0) {
    Console c(16, 16, true, ui::FindLayout(layout));
    c.input.lamps = lamps;
    auto viewer = c.NewViewer();
    Told told;
    for (const auto& [down, keysym] : keysyms) EXPECT_OK(viewer->SendKey(down, 0, keysym));
    SyncWith(*viewer, told);
    return c.input.log();
  };
  EXPECT_EQ(typed("en-us", {{true, 'y'}, {false, 'y'}}), "+15 -15");
  EXPECT_EQ(typed("de", {{true, 'y'}, {false, 'y'}}), "+2c -2c");
  EXPECT_EQ(typed("en-us", {{true, '@'}, {false, '@'}}), "+2a +03 -2a -03");
  EXPECT_EQ(typed("de", {{true, '@'}, {false, '@'}}), "+b8 +10 -b8 -10");
  // A US viewer holds Shift for it, which a German guest must not see.
  EXPECT_EQ(typed("de", {{true, 0xFFE1}, {true, '@'}, {false, '@'}, {false, 0xFFE1}}),
            "+2a -2a +b8 +10 -b8 +2a -10 -2a");
  // The viewer's modifiers are those of the guest: nothing is added.
  EXPECT_EQ(typed("de", {{true, 0xFE03}, {true, '@'}, {false, '@'}, {false, 0xFE03}}),
            "+b8 +10 -10 -b8");
  // Dead keys alone give the character with a blank; as dead keys they stay so.
  EXPECT_EQ(typed("de", {{true, '^'}, {false, '^'}}), "+29 -29 +39 -39");
  EXPECT_EQ(typed("de", {{true, 0xFE52}, {false, 0xFE52}}), "+29 -29");
  EXPECT_EQ(typed("en-us", {{true, 'A'}, {false, 'A'}}), "+2a +1e -2a -1e");
  EXPECT_EQ(typed("en-us", {{true, 'A'}, {false, 'A'}}, 4), "+1e -1e");
  EXPECT_EQ(typed("en-us", {{true, 0xFFE3}, {true, 'C'}, {false, 'C'}, {false, 0xFFE3}}),
            "+1d +2e -2e -1d");
  EXPECT_EQ(typed("de", {{true, 0x20AC}, {false, 0x20AC}}), "+b8 +12 -b8 -12");
  EXPECT_EQ(typed("en-us", {{true, 0xFF0D}, {false, 0xFF0D}}), "+1c -1c");
  // No key gives it.
  EXPECT_EQ(typed("en-us", {{true, 0x01002603}, {false, 0x01002603}}), "");
}

TEST(ConsoleTest, AViewerThatGoesReleasesItsKeys) {
  Console c;
  {
    auto viewer = c.NewViewer();
    Told told;
    ASSERT_OK(viewer->SendKey(true, 0x2A, 0));
    ASSERT_OK(viewer->SendKey(true, 0, 0xFFE3));
    ASSERT_OK(viewer->SendPointer({false, 1, 0, 0, 5, 0, 0, 0}));
    SyncWith(*viewer, told);
  }
  WaitFor([&] { return c.gone == 1; });
  WaitFor([&] { return absl::StrContains(c.input.log(), "-2a"); });
  EXPECT_THAT(c.input.log(), HasSubstr("-1d"));
  EXPECT_THAT(c.input.log(), HasSubstr("move(0,0,0,0)"));
}

// A guest that does not take its keys gets no faster ones, and a Synced tells
// when it has them.
TEST(ConsoleTest, KeysGoAtTheGuestsPace) {
  Console c;
  c.input.takes_keys = false;
  auto viewer = c.NewViewer();
  Told told;
  ASSERT_OK(viewer->SendKey(true, 0x1E, 0));
  ASSERT_OK(viewer->SendKey(false, 0x1E, 0));
  ASSERT_OK(viewer->SendSync(1));
  WaitFor([&] { return c.input.log() == "+1e"; });
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  ASSERT_OK(viewer->Receive(told));
  EXPECT_EQ(c.input.log(), "+1e");
  EXPECT_TRUE(told.synced.empty());
  c.input.takes_keys = true;
  Until(*viewer, told, [&] { return told.synced.size() == 1; });
  EXPECT_EQ(c.input.log(), "+1e -1e");
}

TEST(ConsoleTest, Pointers) {
  Console c;
  auto viewer = c.NewViewer();
  Told told;
  // The guest counts moves: the first place is where the viewer's pointer was.
  ASSERT_OK(viewer->SendPointer({true, 0, 0, 0, 10, 20, 100, 50}));
  ASSERT_OK(viewer->SendPointer({true, 1, 0, 0, 13, 19, 100, 50}));
  ASSERT_OK(viewer->SendPointer({false, 0, -1, 0, -7, 300, 0, 0}));
  SyncWith(*viewer, told);
  EXPECT_EQ(c.input.log(), "move(0,0,0,0) move(3,-1,0,1) move(-7,300,-1,0)");
  c.input.takes_positions = true;
  ASSERT_OK(viewer->SendPointer({true, 4, 1, 0, 99, 49, 100, 50}));
  SyncWith(*viewer, told);
  EXPECT_THAT(c.input.log(), HasSubstr("at(99,49,100,50,1,4)"));
  // That it takes places now is told with the next look.
  ASSERT_OK(viewer->Ask());
  Until(*viewer, told, [&] { return told.damage.size() == 1; });
  ASSERT_OK(viewer->Ask());
  c.screen.Fill({0, 0, 1, 1}, 5);
  Until(*viewer, told, [&] { return told.pointer_modes.size() == 2; });
  EXPECT_TRUE(viewer->absolute());
}

TEST(ConsoleTest, TheRest) {
  Console c;
  auto viewer = c.NewViewer();
  Told told;
  ASSERT_OK(viewer->SendPower(PowerAction::kReset));
  ASSERT_OK(viewer->SendClipboard("to the guest"));
  WaitFor([&] { return c.power == 2 && c.pasted == 12; });
  c.server->SetClipboard("from the guest");
  Until(*viewer, told, [&] { return told.clipboard == "from the guest"; });
  // The adapter's pointer: told to who is there, and to who comes; then hidden.
  const Cursor arrow{2, 1, 1, 0, {0xFF000000, 0x80FFFFFF}};
  c.server->SetCursor(arrow);
  Until(*viewer, told, [&] { return !told.cursors.empty(); });
  auto second = c.NewViewer();
  Told later;
  Until(*second, later, [&] { return !later.cursors.empty(); });
  EXPECT_EQ(told.cursors[0], arrow);
  EXPECT_EQ(later.cursors[0], arrow);
  c.server->SetCursor({});
  Until(*second, later, [&] { return later.cursors.size() == 2; });
  EXPECT_EQ(later.cursors[1], Cursor());
  c.input.lamps = 2;
  ASSERT_OK(viewer->SendKey(true, 0x45, 0));
  Until(*viewer, told, [&] { return viewer->leds() == 2; });
  // A guest that is busy takes its time, and nobody asks for pictures.
  ASSERT_OK(viewer->SendKey(false, 0x45, 0));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  c.input.lamps = 4;
  Until(*viewer, told, [&] { return viewer->leds() == 4; });

  auto looker = c.NewViewer(/*view_only=*/true);
  EXPECT_FALSE(looker->welcome().input);
  EXPECT_EQ(looker->SendKey(true, 1, 0).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(looker->SendPower(PowerAction::kReset).code(), absl::StatusCode::kFailedPrecondition);

  c.server->Finish("it was enough");
  absl::Status status;
  while (status.ok()) {
    ASSERT_OK(viewer->Wait(kTimeoutMs).status());
    status = viewer->Receive(told);
  }
  EXPECT_EQ(status.message(), "test: it was enough");
}

// Says `packets` without the library, then tells how it ended.
std::string EndAfter(Console& c, const std::vector<std::vector<uint8_t>>& packets) {
  UniqueFd fd = std::move(c.sockets[c.used++]);
  for (const std::vector<uint8_t>& p : packets) {
    EXPECT_EQ(send(fd.get(), p.data(), p.size(), MSG_NOSIGNAL), static_cast<ssize_t>(p.size()));
  }
  std::string reason;
  std::vector<uint8_t> packet(kMaxPacket);
  for (ssize_t n; (n = recv(fd.get(), packet.data(), packet.size(), 0)) > 0;) {
    absl::StatusOr<FromRun> m =
        DecodeFromRun(std::span<const uint8_t>(packet).first(static_cast<size_t>(n)));
    EXPECT_OK(m.status());
    if (m.ok() && std::holds_alternative<Bye>(*m)) reason = std::get<Bye>(*m).reason;
  }
  return reason;
}

TEST(ConsoleTest, NonsenseEndsOnlyItsOwnConnection) {
  Console c;
  auto viewer = c.NewViewer();
  EXPECT_EQ(EndAfter(c, {{1, 2, 3}}), "a packet of 3 bytes");
  EXPECT_EQ(EndAfter(c, {Encode(FromViewer(Update{}))}), "no greeting first");
  Hello later;
  later.lowest = later.highest = 9;
  EXPECT_EQ(EndAfter(c, {Encode(FromViewer(later))}),
            "version 1 is the highest that is spoken here");
  Told told;
  ASSERT_OK(viewer->Ask());
  Until(*viewer, told, [&] { return told.damage.size() == 1; });
  EXPECT_EQ(c.gone, 3);
}

// One that asks and asks and never reads: the others go on, and it costs what a
// socket holds.
TEST(ConsoleTest, ADeadViewerIsNoBurden) {
  Console c(1024, 768);
  UniqueFd dead = std::move(c.sockets[c.used++]);
  const auto shout = [&](const FromViewer& m) {
    const std::vector<uint8_t> packet = Encode(m);
    return send(dead.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
  };
  ASSERT_TRUE(shout(Hello{}));
  auto viewer = c.NewViewer();
  Told told;
  const auto begin = std::chrono::steady_clock::now();
  for (unsigned i = 0; i < 200; ++i) {
    for (int n = 0; n < 50; ++n) {
      shout(Update{true});
      shout(AskText{});
      shout(Sync{i});
    }
    ASSERT_OK(viewer->Ask());
    c.screen.Fill({i, 0, 1, 1}, i + 1);
    if (i % 10 == 0) c.screen.Resize(1024 - i % 3, 768);
    Until(*viewer, told, [&] { return told.damage.size() == i + 1; });
    if (::testing::Test::HasFatalFailure()) return;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(ConsoleTest, AFloodOfKeysIsBounded) {
  Console c;
  c.input.takes_keys = false;
  auto viewer = c.NewViewer();
  Told told;
  for (int i = 0; i < 20'000; ++i) {
    // What run does not take yet waits here, and then is refused.
    const absl::Status status = viewer->SendKey(i % 2 == 0, 0x1E, 0);
    if (absl::IsResourceExhausted(status)) {
      ASSERT_OK(viewer->Wait(kTimeoutMs).status());
      --i;
      continue;
    }
    ASSERT_OK(status);
  }
  ASSERT_OK(viewer->SendPower(PowerAction::kShutDown));
  Until(*viewer, told, [&] { return c.power == 1; });
  ASSERT_OK(viewer->Ask());
  Until(*viewer, told, [&] { return told.damage.size() == 1; });
}

// Nobody but run can write to the picture, shorten it, or unseal it.
TEST(SharedPictureTest, CanOnlyBeRead) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<SharedPicture> picture, SharedPicture::Create());
  ui::Surface s;
  s.Resize(4, 4);
  s.pixels[5] = 0xABCDEF;
  picture->SetMode(ui::ScreenKind::kGraphics, s);
  const int fd = picture->fd();
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  EXPECT_NE(ftruncate(fd, 4096), 0);
  EXPECT_LT(write(fd, "x", 1), 0);
  EXPECT_NE(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
  const UniqueFd again(open(absl::StrCat("/proc/self/fd/", fd).c_str(), O_RDWR | O_CLOEXEC));
  if (again.valid()) {
    EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again.get(), 0), MAP_FAILED);
    EXPECT_LT(pwrite(again.get(), "x", 1, 0), 0);
  }
  void* const map = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(map, MAP_FAILED);
  EXPECT_NE(mprotect(map, 4096, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(static_cast<const uint32_t*>(map)[5], 0xABCDEFu);
  munmap(map, 4096);
}

// A run that lies, to the library's viewer.
TEST(ViewerTest, DoesNotBelieveRun) {
  const auto greeted_by = [](const std::vector<std::vector<uint8_t>>& packets, int fd) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    UniqueFd ours(ends[0]), theirs(ends[1]);
    for (const std::vector<uint8_t>& p : packets) {
      iovec part{const_cast<uint8_t*>(p.data()), p.size()};
      msghdr m{};
      m.msg_iov = &part;
      m.msg_iovlen = 1;
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
      if (fd >= 0) {
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        cmsghdr* const h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(h), &fd, sizeof fd);
      }
      EXPECT_GE(sendmsg(ours.get(), &m, 0), 0);
    }
    absl::StatusOr<std::unique_ptr<Viewer>> viewer =
        Viewer::Greet(std::move(theirs), "vm", false, 50);
    if (!viewer.ok()) return std::string(viewer.status().message());
    Told told;
    const absl::Status status = (*viewer)->Receive(told);
    if (!status.ok()) return std::string(status.message());
    std::string damage;
    for (const std::vector<ui::Rect>& rects : told.damage) {
      for (const ui::Rect& r : rects) {
        absl::StrAppend(&damage, r.x, ",", r.y, " ", r.width, "x", r.height, ";");
      }
    }
    return damage;
  };
  const auto bytes = [](const FromRun& m) { return Encode(m); };
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<SharedPicture> picture, SharedPicture::Create());
  const std::vector<uint8_t> welcome = bytes(Welcome{1, false, true, 8192});
  EXPECT_EQ(greeted_by({}, -1), "vm: no answer from the console");
  EXPECT_EQ(greeted_by({bytes(Leds{1})}, -1), "vm: the console sends no welcome first");
  EXPECT_EQ(greeted_by({bytes(Bye{"no"})}, -1), "vm: no");
  EXPECT_EQ(greeted_by({welcome}, -1), "vm: the console sends no sealed memory");
  // A file that can be shortened later, and one that is shorter now.
  const UniqueFd loose(memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(loose.get(), 8192), 0);
  EXPECT_EQ(greeted_by({welcome}, loose.get()), "vm: the console sends no sealed memory");
  ASSERT_EQ(ftruncate(loose.get(), 4096), 0);
  ASSERT_EQ(fcntl(loose.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_EQ(greeted_by({welcome}, loose.get()), "vm: the console sends no sealed memory");

  const int good = picture->fd();
  const Mode outside{ui::ScreenKind::kText, 64, 64, 256, 4096};
  EXPECT_EQ(greeted_by({welcome, bytes(outside)}, good),
            "vm: the console sends a picture outside its memory");
  EXPECT_EQ(greeted_by({welcome, bytes(Tiles{1, 0, 1, {1}})}, good),
            "vm: the console sends damage before a mode");
  EXPECT_EQ(greeted_by({welcome, welcome}, good), "vm: the console sends a second welcome");
  EXPECT_THAT(greeted_by({welcome, {1, 2}}, good), HasSubstr("a packet of 2 bytes"));
  // Damage outside the picture is cut to it.
  Mode inside = outside;
  inside.width = inside.height = 20;
  inside.stride = 80;
  EXPECT_EQ(greeted_by({welcome, bytes(inside), bytes(Tiles{9, 1, 3, {3, 1, 3, 1, 3, 1}})}, good),
            "0,16 20x4;");
}

}  // namespace
}  // namespace atl::console
