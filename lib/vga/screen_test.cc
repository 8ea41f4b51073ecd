// SPDX-License-Identifier: Apache-2.0
// A screen whose guest is seen late: by a log of written pages, by posted writes.
#include "lib/vga/screen.h"

#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "lib/dev/posted_writes.h"
#include "lib/mem/guest_memory.h"
#include "lib/mem/page_tracker.h"
#include "lib/vga/test_card.h"

namespace atl::vga {
namespace {

// A backend that is asked where the guest wrote.
class Log final : public WriteLog {
 public:
  void Begin(std::span<uint8_t> bytes) override {
    ++begun;
    all = bytes;
  }
  void End() override { ++ended; }
  void Collect() override {
    ++collected;
    for (const uint8_t* at : written) tracker->Mark(at);
    written.clear();
  }
  PageTracker* tracker = nullptr;
  std::vector<const uint8_t*> written;
  std::span<uint8_t> all;
  int begun = 0, ended = 0, collected = 0;
};

TEST(Screen, AsksALogWhereTheGuestWrote) {
  Card card;
  const std::unique_ptr<GuestMemory> memory = GuestMemory::Create(1 << 20).value();
  Log log;
  memory->SetWriteLog(&log);
  auto tracker = std::make_unique<PageTracker>(*memory, card.vram->bytes());
  log.tracker = tracker.get();
  VgaScreen screen(card.vga, card.lock, tracker.get());
  memory->SetSlot(Gpa(0x40000000), card.vram->size(), card.vram->data(), SlotKind::kRam);
  // Nobody looks at it in this mode: no log.
  card.Text();
  ui::Surface s;
  screen.Refresh(s);
  EXPECT_EQ(log.begun, 0);
  card.Dispi(kDispiXres, 128);
  card.Dispi(kDispiYres, 64);
  card.Dispi(kDispiBpp, 32);
  card.Dispi(kDispiEnable, kDispiEnabled | kDispiLfb);
  uint8_t* const pixels = card.vram->data();
  const auto at = [](unsigned x, unsigned y) { return 4 * (128 * y + x); };
  EXPECT_TRUE(screen.Refresh(s).resized);
  EXPECT_EQ(log.begun, 1);
  EXPECT_EQ(log.all.data(), pixels);
  // What is not in the log is not looked at; nothing is told.
  const auto never = [] { FAIL(); };
  EXPECT_FALSE(screen.OnNextChange(s, never));
  pixels[at(40, 20)] = pixels[at(40, 60)] = 0xFF;
  log.written = {pixels + at(40, 20)};
  EXPECT_EQ(screen.Refresh(s).rects, (std::vector<ui::Rect>{{32, 16, 16, 16}}));
  EXPECT_TRUE(screen.Refresh(s).empty());
  EXPECT_EQ(s.Row(60)[40], 0u);
  // A disk reads into it.
  const uint8_t byte = 0xFF;
  ASSERT_TRUE(memory->Write(Gpa(0x40000000 + at(0, 0)), {&byte, 1}));
  EXPECT_EQ(screen.Refresh(s).rects, (std::vector<ui::Rect>{{0, 0, 16, 16}}));
  // Two look: each is told all that it has not seen.
  ui::Surface other;
  EXPECT_TRUE(screen.Refresh(other).resized);
  pixels[at(0, 0)] = 0;
  log.written = {pixels};
  EXPECT_EQ(screen.Refresh(s).rects.size(), 1u);
  EXPECT_EQ(screen.Refresh(other).rects.size(), 1u);
  EXPECT_TRUE(screen.Refresh(other).empty());
  EXPECT_EQ(log.begun, 1);
  // They go: so does the log; who comes back looks at everything.
  EXPECT_TRUE(screen.OnNextChange(s, nullptr));
  EXPECT_EQ(log.ended, 1);
  pixels[at(100, 40)] = 0xFF;
  EXPECT_EQ(screen.Refresh(s).rects.size(), 2u);  // and what nobody had told of above
  EXPECT_EQ(log.begun, 2);
  // A mode without linear memory needs none.
  card.Dispi(kDispiEnable, 0);
  screen.Refresh(s);
  EXPECT_TRUE(screen.OnNextChange(s, [] {}));
  EXPECT_EQ(log.ended, 2);
  screen.OnNextChange(s, nullptr);
  EXPECT_EQ(log.ended, 2);
  tracker.reset();
  EXPECT_EQ(log.ended, 2);
}

// Writes that lie on the way, as of KVM.
class Posted final : public dev::PostedWrites {
 public:
  explicit Posted(Card& card) : card_(card) {}
  // A character of the text's first row.
  void Write(uint64_t at, uint8_t code) {
    waiting.emplace_back(at, code);
    if (!may_wait) Deliver();
  }
  void Deliver() override {
    for (const auto& [at, code] : std::exchange(waiting, {})) {
      card_.lock.Run(
          [&, at = at, code = code] { card_.Put(static_cast<unsigned>(at), code, 0x0F); });
    }
  }
  void MayWait(bool may) override { may_wait = may; }

  std::vector<std::pair<uint64_t, uint8_t>> waiting;
  bool may_wait = true;

 private:
  Card& card_;
};

TEST(Screen, PostedWritesWaitWhileThePictureChangesOrNobodyLooks) {
  Card card;
  card.Text();
  Posted posted(card);
  card.screen.SetPosted(&posted);
  ui::Surface s;
  // A look finds what lies on the way.
  posted.Write(0, 'a');
  card.screen.Refresh(s);
  EXPECT_TRUE(posted.waiting.empty());
  int told = 0;
  const auto changed = [&told] { ++told; };
  // While it changes one has to look.
  for (uint8_t i = 0; i < 20; ++i) {
    EXPECT_FALSE(card.screen.OnNextChange(s, changed));
    EXPECT_TRUE(posted.may_wait);
    posted.Write(1, static_cast<uint8_t>('b' + i));
    EXPECT_EQ(posted.waiting.size(), 1u);
    EXPECT_FALSE(card.screen.Refresh(s).empty());
  }
  // It stands still: after some looks the next change is told, at once.
  int looks = 0;
  while (!card.screen.OnNextChange(s, changed)) {
    ASSERT_LT(++looks, 20);
    EXPECT_TRUE(card.screen.Refresh(s).empty());
  }
  EXPECT_FALSE(posted.may_wait);
  told = 0;
  posted.Write(1, 'z');
  EXPECT_EQ(told, 1);
  // And then they wait again.
  EXPECT_FALSE(card.screen.Refresh(s).empty());
  EXPECT_FALSE(card.screen.OnNextChange(s, changed));
  EXPECT_TRUE(posted.may_wait);
  // The last write before it stands still is not left behind: it arrives when waiting
  // ends, or at the look.
  for (int i = 0; i < looks; ++i) card.screen.Refresh(s);
  posted.Write(0, 'q');
  told = 0;
  if (card.screen.OnNextChange(s, changed)) {
    EXPECT_GE(told, 1);
  }
  EXPECT_FALSE(card.screen.Refresh(s).empty());
  // Nobody looks any more.
  while (!card.screen.OnNextChange(s, changed)) card.screen.Refresh(s);
  EXPECT_FALSE(posted.may_wait);
  card.screen.OnNextChange(s, nullptr);
  EXPECT_TRUE(posted.may_wait);
  posted.Write(0, 'r');
  EXPECT_EQ(card.screen.Text()->cells[0].code, 'r');
  card.screen.SetPosted(nullptr);
}

}  // namespace
}  // namespace atl::vga
