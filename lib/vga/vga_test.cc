// SPDX-License-Identifier: Apache-2.0
#include "lib/vga/vga.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"
#include "lib/mem/guest_memory.h"
#include "lib/mem/page_tracker.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"
#include "lib/vga/render.h"
#include "lib/vga/screen.h"
#include "lib/vga/std_vga.h"
#include "lib/vga/test_card.h"
#include "lib/vga/text_mode.h"

namespace atl::vga {
namespace {

// Planes 0 to 3 of the byte 0 as one number.
uint32_t Planes(Card& card) {
  uint32_t v;
  std::memcpy(&v, card.vram->data(), 4);
  return v;
}

class PlanarTest : public testing::Test {
 protected:
  PlanarTest() {
    card_.vga.WritePort(0x3C2, 0x67);
    card_.Seq(4, 0x06);
    card_.Seq(2, 0x0F);
    card_.Graphics(6, 0x05);
    card_.Graphics(8, 0xFF);
  }
  Card card_;
};

TEST_F(PlanarTest, WriteMode0) {
  card_.vga.WriteWindow(0, 1, 0x81);
  EXPECT_EQ(Planes(card_), 0x81818181u);
  card_.Seq(2, 0x05);
  card_.vga.WriteWindow(0, 1, 0x42);
  EXPECT_EQ(Planes(card_), 0x81428142u);
  card_.Seq(2, 0x0F);
  card_.Graphics(3, 0x01);  // rotated right by one
  card_.vga.WriteWindow(0, 1, 0x81);
  EXPECT_EQ(Planes(card_), 0xC0C0C0C0u);
  card_.Graphics(3, 0);
  card_.Graphics(0, 0x05);  // set/reset, in planes 0 and 1
  card_.Graphics(1, 0x03);
  card_.vga.WriteWindow(0, 1, 0x3C);
  EXPECT_EQ(Planes(card_), 0x3C3C00FFu);
}

TEST_F(PlanarTest, FunctionsAndBitMask) {
  card_.vga.WriteWindow(0, 1, 0xF0);
  EXPECT_EQ(card_.vga.ReadWindow(0, 1), 0xF0u);
  const struct {
    uint8_t function;
    uint32_t want;
  } cases[] = {{0x08, 0xC0}, {0x10, 0xFC}, {0x18, 0x3C}};
  for (const auto& c : cases) {
    card_.Graphics(3, c.function);
    card_.vga.WriteWindow(0, 1, 0xCC);
    EXPECT_EQ(Planes(card_), c.want * 0x01010101u);
  }
  card_.Graphics(3, 0);
  card_.Graphics(8, 0x0F);  // the rest comes from the latch
  card_.vga.WriteWindow(0, 1, 0x55);
  EXPECT_EQ(Planes(card_), 0xF5F5F5F5u);
}

TEST_F(PlanarTest, WriteModes1To3) {
  std::memcpy(card_.vram->data() + 4, "\x11\x22\x33\x44", 4);
  card_.vga.ReadWindow(1, 1);
  card_.Graphics(5, 1);
  card_.vga.WriteWindow(0, 1, 0);
  EXPECT_EQ(Planes(card_), 0x44332211u);
  card_.Graphics(5, 2);
  card_.Graphics(8, 0xF0);
  card_.vga.WriteWindow(0, 1, 0x0A);
  EXPECT_EQ(Planes(card_), 0xF403F201u);
  card_.Graphics(5, 3);
  card_.Graphics(8, 0x3C);
  card_.Graphics(0, 0x01);
  card_.vga.WriteWindow(0, 1, 0xF0);  // and the mask: bits 0x30
  EXPECT_EQ(Planes(card_), 0x44030231u);
}

TEST_F(PlanarTest, ReadModes) {
  std::memcpy(card_.vram->data(), "\xF0\xCC\xAA\x00", 4);
  card_.Graphics(4, 1);
  EXPECT_EQ(card_.vga.ReadWindow(0, 1), 0xCCu);
  card_.Graphics(5, 8);
  card_.Graphics(2, 0x07);  // where planes 0 to 2 are set and 3 is not
  card_.Graphics(7, 0x0F);
  EXPECT_EQ(card_.vga.ReadWindow(0, 1), 0x80u);
  card_.Graphics(7, 0x01);
  EXPECT_EQ(card_.vga.ReadWindow(0, 1), 0xF0u);
  card_.Graphics(7, 0);
  EXPECT_EQ(card_.vga.ReadWindow(0, 1), 0xFFu);
}

TEST_F(PlanarTest, OddEvenAndChain4) {
  card_.Seq(4, 0x02);
  card_.Graphics(5, 0x10);
  card_.vga.WriteWindow(6, 2, 0xBBAA);
  EXPECT_EQ(card_.Plane(0, 6), 0xAA);
  EXPECT_EQ(card_.Plane(1, 6), 0xBB);
  EXPECT_EQ(card_.Plane(2, 6), 0xAA);  // the mask lets them through
  EXPECT_EQ(card_.vga.ReadWindow(6, 2), 0xBBAAu);
  card_.Seq(4, 0x0E);
  card_.vga.WriteWindow(0x100, 8, 0x8877665544332211);
  for (unsigned i = 0; i < 4; ++i) {
    EXPECT_EQ(card_.Plane(i, 0x100), 0x11 * (i + 1));
    EXPECT_EQ(card_.Plane(i, 0x104), 0x11 * (i + 5));
  }
  EXPECT_EQ(card_.vga.ReadWindow(0x100, 8), 0x8877665544332211u);
}

TEST_F(PlanarTest, WindowsOfTheMemoryMap) {
  const struct {
    uint8_t map;
    uint64_t begin, end;
  } cases[] = {{0, 0, 0x20000}, {1, 0, 0x10000}, {2, 0x10000, 0x18000}, {3, 0x18000, 0x20000}};
  card_.vga.WriteWindow(0, 1, 0x5A);
  for (const auto& c : cases) {
    card_.Graphics(6, static_cast<uint8_t>(c.map << 2));
    for (uint64_t at : {uint64_t{0}, uint64_t{0x10000}, uint64_t{0x18000}}) {
      // 64 KiB of a plane, again from its start where the window is larger.
      const bool start = at == c.begin || (c.map == 0 && at == 0x10000);
      const bool inside = at >= c.begin && at < c.end;
      EXPECT_EQ(card_.vga.ReadWindow(at, 1), start ? 0x5Au : inside ? 0u : 0xFFu) << at;
    }
  }
  card_.Graphics(6, 0);
  EXPECT_EQ(card_.vga.ReadWindow(0x1FFFC, 8) >> 32, 0xFFFFFFFFu);  // beyond the window
  card_.vga.WritePort(0x3C2, 0x65);                                // memory off
  EXPECT_EQ(card_.vga.ReadWindow(0, 1), 0xFFu);
}

TEST(Vga, IndexedRegistersAndProtection) {
  Card card;
  card.vga.WritePort(0x3C2, 0x67);
  card.Crtc(0x11, 0x0E);
  card.Crtc(3, 0x82);
  card.Crtc(0x11, 0x8E);
  card.Crtc(3, 0x11);
  card.Crtc(7, 0xFF);
  EXPECT_EQ(card.vga.registers().crtc[3], 0x82);
  EXPECT_EQ(card.vga.registers().crtc[7], 0x10);  // the line compare bit alone
  card.vga.WritePort(0x3D4, 0x1F);
  card.vga.WritePort(0x3D5, 0x77);
  EXPECT_EQ(card.vga.ReadPort(0x3D5), 0);
  EXPECT_EQ(card.vga.ReadPort(0x3B5), 0xFF);  // the monochrome place
  card.vga.WritePort(0x3C2, 0x66);
  EXPECT_EQ(card.vga.ReadPort(0x3D4), 0xFF);
  card.vga.WritePort(0x3B4, 3);
  EXPECT_EQ(card.vga.ReadPort(0x3B5), 0x82);
  card.vga.WritePort(0x3C2, 0x67);
  card.Attribute(0x10, 0x0C);
  card.vga.ReadPort(0x3DA);
  card.vga.WritePort(0x3C0, 0x10);
  EXPECT_EQ(card.vga.ReadPort(0x3C1), 0x0C);
  card.vga.WritePort(0x3C0, 0x01);
  EXPECT_EQ(card.vga.registers().attribute[0x10], 0x01);
  card.Attribute(0x25, 0x3F);  // the palette is the screen's
  EXPECT_EQ(card.vga.registers().attribute[5], 0);
}

TEST(Vga, Dac) {
  Card card;
  card.vga.WritePort(0x3C8, 254);
  for (uint8_t v : {1, 2, 3, 4, 5, 6, 7, 8, 9}) card.vga.WritePort(0x3C9, v);
  EXPECT_EQ(card.vga.ReadPort(0x3C7), 0);
  card.vga.WritePort(0x3C7, 255);
  EXPECT_EQ(card.vga.ReadPort(0x3C7), 3);
  for (unsigned v : {4, 5, 6, 7, 8, 9}) EXPECT_EQ(card.vga.ReadPort(0x3C9), v);
  EXPECT_EQ(card.vga.registers().Color(254), 0x04080Cu);
  card.vga.WritePort(0x3C6, 0xFE);
  EXPECT_EQ(card.vga.registers().Color(255), 0x04080Cu);
  card.Dispi(kDispiEnable, kDispi8BitDac);
  EXPECT_EQ(card.vga.registers().Color(254), 0x010203u);
}

// 25.175 MHz, 100 characters of 8 dots, 449 lines.
TEST(Vga, RetraceFollowsTheRegisters) {
  Card card;
  card.vga.WritePort(0x3C2, 0x63);
  card.Seq(1, 1);
  card.Crtc(0, 95);
  card.Crtc(1, 79);
  card.Crtc(6, 0xBF);
  card.Crtc(7, 0x1F);
  card.Crtc(0x10, 0x9C);
  card.Crtc(0x12, 0x8F);
  card.Crtc(0x11, 0x0E);
  unsigned vertical = 0, off = 0, edges = 0;
  bool was = false;
  for (unsigned i = 0; i < 100000; ++i) {
    card.clock.Advance(1000);
    const uint8_t status = card.vga.ReadPort(0x3DA);
    vertical += (status & 8) != 0;
    off += status & 1;
    edges += (status & 8) != 0 && !was;
    was = (status & 8) != 0;
  }
  EXPECT_NEAR(edges, 7, 1);                     // 70 Hz in a tenth of a second
  EXPECT_NEAR(vertical, 100000 * 2 / 449, 70);  // two lines of 449
  EXPECT_NEAR(off, 100000 - 100000 * 0.8 * 400 / 449, 1500);
}

TEST(Vga, RetraceComesWhateverTheRegistersAre) {
  Card card;
  card.vga.WritePort(0x3C2, 0x63);
  for (uint8_t fill : {0x00, 0xFF, 0x80}) {
    for (uint8_t i = 0x18; i < 0x19; --i) card.Crtc(i, fill);
    unsigned seen = 0;
    for (unsigned i = 0; i < 50000; ++i) {
      card.clock.Advance(1000);
      seen |= card.vga.ReadPort(0x3DA) & 9;
    }
    EXPECT_EQ(seen, 9u);
  }
}

TEST(Dispi, IdentifiesAndBounds) {
  Card card;
  card.vga.WriteDispi(false, kDispiId);
  EXPECT_EQ(card.vga.ReadDispi(true), 0xB0C5);
  card.vga.WriteDispi(true, 0xB0C0);
  EXPECT_EQ(card.vga.ReadDispi(true), 0xB0C0);
  card.vga.WriteDispi(true, 0x1234);
  EXPECT_EQ(card.vga.ReadDispi(true), 0xB0C0);
  EXPECT_EQ(card.vga.ReadDispiRegister(kDispiMemory64K), 4);
  EXPECT_EQ(card.vga.ReadDispiRegister(99), 0);
  card.Dispi(kDispiXres, 2561);
  EXPECT_EQ(card.vga.ReadDispiRegister(kDispiXres), 0);
  card.Dispi(kDispiEnable, kDispiGetCaps);
  EXPECT_EQ(card.vga.ReadDispiRegister(kDispiXres), 2560);
  EXPECT_EQ(card.vga.ReadDispiRegister(kDispiYres), 1600);
  EXPECT_EQ(card.vga.ReadDispiRegister(kDispiBpp), 32);
  card.Dispi(kDispiBank, 4);  // past the memory
  EXPECT_EQ(card.vga.ReadDispiRegister(kDispiBank), 0);
}

TEST(Dispi, SwitchingOnClearsUnlessTold) {
  Card card;
  card.vram->data()[5] = 0x77;
  card.Dispi(kDispiXres, 64);
  card.Dispi(kDispiYres, 64);
  card.Dispi(kDispiBpp, 32);
  card.Dispi(kDispiEnable, kDispiEnabled | kDispiNoClear);
  EXPECT_EQ(card.vram->data()[5], 0x77);
  EXPECT_EQ(card.vga.ReadDispiRegister(kDispiVirtWidth), 64);
  EXPECT_EQ(card.vga.ReadDispiRegister(kDispiVirtHeight), 1024);
  // The window is a bank of the linear memory.
  card.Dispi(kDispiBank, 3);
  card.vga.WriteWindow(0x10, 4, 0x12345678);
  uint32_t v;
  std::memcpy(&v, card.vram->data() + 0x30010, 4);
  EXPECT_EQ(v, 0x12345678u);
  EXPECT_EQ(card.vga.ReadWindow(0x10, 4), 0x12345678u);
  EXPECT_EQ(card.screen.Capture().width, 64u);
  card.Dispi(kDispiEnable, 0);
  card.Dispi(kDispiEnable, kDispiEnabled);
  EXPECT_EQ(card.vram->data()[5], 0);
}

// Sums of bank, pitch and offsets that run past the memory (the class of
// CVE-2014-3615): every visible byte lies within it, whatever the registers say.
TEST(Dispi, Cve2014_3615_BankAndPitchArithmetic) {
  const uint16_t values[] = {0, 1, 7, 8, 64, 0x3FF, 0x400, 2560, 0x7FFF, 0x8000, 0xFFF8, 0xFFFF};
  const uint64_t size = Vram::kMinBytes;
  Registers r;
  r.dispi[kDispiEnable] = kDispiEnabled;
  unsigned shown = 0;
  for (uint16_t bpp : {4, 8, 15, 16, 24, 32})
    for (uint16_t width : values)
      for (uint16_t height : values)
        for (uint16_t virtual_width : values)
          for (uint16_t x : values)
            for (uint16_t y : values) {
              r.dispi[kDispiBpp] = bpp;
              r.dispi[kDispiXres] = width;
              r.dispi[kDispiYres] = height;
              r.dispi[kDispiVirtWidth] = virtual_width;
              r.dispi[kDispiXOffset] = x;
              r.dispi[kDispiYOffset] = y;
              const DispiMode m = DispiModeOf(r, size);
              if (m.width == 0) continue;
              ++shown;
              const uint64_t row = bpp == 4 ? m.width / 8 : m.width * ((bpp + 7u) / 8);
              const uint64_t room = bpp == 4 ? size / 4 : size;
              ASSERT_GT(m.height, 0u);
              ASSERT_LE(m.start + (m.height - 1) * m.pitch + row, room);
            }
  EXPECT_GT(shown, 1000u);
}

TEST(Render, TextCells) {
  Card card;
  card.Text();
  card.Put(0, 0xA5, 0x1F);  // 10100101
  card.Put(1, 0xC1, 0x07);  // a line drawing character: its ninth dot is the eighth
  card.Put(2, 0x81, 0x07);
  card.Put(4, 0xFF, 0x02);
  ui::Surface s = card.screen.Capture();
  ASSERT_EQ(s.width, 36u);
  ASSERT_EQ(s.height, 8u);
  const auto grey = [](unsigned i) { return (i << 2 | i >> 4) * 0x010101u; };
  for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(s.Row(0)[i], grey(0xA5 & 0x80 >> i ? 15 : 1)) << i;
  EXPECT_EQ(s.Row(0)[8], grey(1));
  EXPECT_EQ(s.Row(3)[9], grey(7));
  EXPECT_EQ(s.Row(3)[17], grey(7));
  EXPECT_EQ(s.Row(3)[26], grey(0));
  EXPECT_EQ(s.Row(4)[0], grey(2));
  EXPECT_EQ(s.Row(4)[8], grey(0));
  const auto text = card.screen.Text();
  ASSERT_TRUE(text.has_value());
  EXPECT_EQ(text->columns, 4u);
  EXPECT_EQ(text->rows, 2u);
  EXPECT_EQ(text->cells[0], (ui::TextCell{0xA5, 0x1F}));
  EXPECT_EQ(text->cells[4], (ui::TextCell{0xFF, 0x02}));
  EXPECT_FALSE(text->cursor.has_value());
  EXPECT_EQ(text->palette[15], grey(15));
}

TEST(Render, CursorBlinkAndPanning) {
  Card card;
  card.Text();
  for (unsigned i = 0; i < 8; ++i) card.Put(i, 0, 0x0F);
  card.Put(0, 0xFF, 0x8F);  // blinks
  card.Crtc(0x0A, 1);
  card.Crtc(0x0B, 2);
  card.Crtc(0x0F, 5);
  EXPECT_EQ(card.screen.Text()->cursor, 5u);
  ui::Surface s = card.screen.Capture();
  EXPECT_NE(s.Row(0)[0], 0u);
  EXPECT_EQ(s.Row(4)[9], 0u);
  EXPECT_NE(s.Row(5)[9], 0u);
  EXPECT_NE(s.Row(6)[9], 0u);
  EXPECT_EQ(s.Row(7)[9], 0u);
  // Moved left by three dots.
  card.Attribute(0x13, 2);
  card.Show();
  s = card.screen.Capture();
  EXPECT_NE(s.Row(0)[4], 0u);
  EXPECT_EQ(s.Row(0)[5], 0u);
  // From the second row on, and after the first line from the start again.
  card.Attribute(0x13, 8);
  card.Show();
  card.Crtc(0x0D, 4);
  card.Crtc(0x11, 0);
  card.Crtc(7, 0);
  card.Crtc(9, 0x03);
  card.Crtc(0x18, 3);
  card.Put(4, 0x80, 0x0F);
  s = card.screen.Capture();
  EXPECT_NE(s.Row(0)[0], 0u);
  EXPECT_EQ(s.Row(0)[1], 0u);
  EXPECT_NE(s.Row(4)[1], 0u);
}

TEST(Screen, RefreshLooksOnlyWhereSomethingChanged) {
  Card card;
  card.Text();
  ui::Surface s;
  EXPECT_TRUE(card.screen.Refresh(s).resized);
  EXPECT_TRUE(card.screen.Refresh(s).empty());
  card.Put(3, 0xFF, 0x0F);
  const ui::Damage d = card.screen.Refresh(s);
  EXPECT_EQ(d.rects, (std::vector<ui::Rect>{{16, 0, 20, 8}}));
  // Two viewers have their own.
  ui::Surface other;
  EXPECT_TRUE(card.screen.Refresh(other).resized);
  EXPECT_TRUE(card.screen.Refresh(s).empty());
  // The linear memory is written past the chip.
  card.Dispi(kDispiXres, 128);
  card.Dispi(kDispiYres, 64);
  card.Dispi(kDispiBpp, 32);
  card.Dispi(kDispiEnable, kDispiEnabled | kDispiLfb);
  EXPECT_TRUE(card.screen.Refresh(s).resized);
  EXPECT_TRUE(card.screen.Refresh(s).empty());
  card.vram->data()[4 * (128 * 20 + 40)] = 0xFF;
  EXPECT_EQ(card.screen.Refresh(s).rects, (std::vector<ui::Rect>{{32, 16, 16, 16}}));
  EXPECT_EQ(s.Row(20)[40], 0xFFu);
  EXPECT_EQ(card.screen.kind(), ui::ScreenKind::kGraphics);
  EXPECT_FALSE(card.screen.Text().has_value());
}

TEST(Screen, TellsOfTheNextChange) {
  Card card;
  card.Text();
  ui::Surface s;
  card.screen.Refresh(s);
  int told = 0;
  const auto changed = [&told] { ++told; };
  EXPECT_TRUE(card.screen.OnNextChange(s, changed));
  EXPECT_EQ(told, 0);
  card.Put(3, 0xFF, 0x0F);
  EXPECT_EQ(told, 1);
  card.Put(3, 0xFE, 0x0F);
  EXPECT_EQ(told, 1);
  // It has changed since.
  EXPECT_TRUE(card.screen.OnNextChange(s, changed));
  EXPECT_EQ(told, 2);
  card.screen.Refresh(s);
  EXPECT_TRUE(card.screen.OnNextChange(s, changed));
  EXPECT_TRUE(card.screen.OnNextChange(s, nullptr));
  card.Put(3, 0xFF, 0x0F);
  EXPECT_EQ(told, 2);
  // In the linear memory changes cannot be told, but another mode can.
  card.Dispi(kDispiXres, 128);
  card.Dispi(kDispiYres, 64);
  card.Dispi(kDispiBpp, 32);
  card.Dispi(kDispiEnable, kDispiEnabled | kDispiLfb);
  card.screen.Refresh(s);
  EXPECT_FALSE(card.screen.OnNextChange(s, changed));
  EXPECT_EQ(told, 2);
  card.Dispi(kDispiEnable, 0);
  EXPECT_EQ(told, 3);
}

// A backend that knows where its vCPUs write.
class Writers final : public WriteWatcher {
 public:
  void OnWatchedWrite(Gfn) override {}
  bool KeepsRights() const override { return true; }
  uint64_t RevokeRights() override { return ++asked; }
  bool RightsRevoked(uint64_t ticket) override { return ticket <= back; }
  uint64_t asked = 0, back = 0;
};

TEST(Screen, LooksWhereTheGuestWrote) {
  Card card;
  const std::unique_ptr<GuestMemory> memory = GuestMemory::Create(1 << 20).value();
  Writers writers;
  memory->SetWriteWatcher(&writers);
  PageTracker tracker(*memory, card.vram->bytes());
  VgaScreen screen(card.vga, card.lock, &tracker);
  card.Dispi(kDispiXres, 128);
  card.Dispi(kDispiYres, 64);
  card.Dispi(kDispiBpp, 32);
  card.Dispi(kDispiEnable, kDispiEnabled | kDispiLfb);
  uint8_t* const pixels = card.vram->data();
  const auto at = [](unsigned x, unsigned y) { return 4 * (128 * y + x); };
  ui::Surface s;
  EXPECT_TRUE(screen.Refresh(s).resized);
  int told = 0;
  const auto changed = [&told] { ++told; };
  EXPECT_TRUE(screen.OnNextChange(s, changed));
  // Eight rows are a page: what lies elsewhere is not looked at.
  tracker.Mark(pixels + at(40, 20));
  EXPECT_EQ(told, 1);
  pixels[at(40, 20)] = 0xFF;
  pixels[at(40, 60)] = 0xFF;
  EXPECT_EQ(screen.Refresh(s).rects, (std::vector<ui::Rect>{{32, 16, 16, 16}}));
  EXPECT_EQ(s.Row(60)[40], 0u);
  // The right to write is out: no promise, and what comes of it is seen.
  EXPECT_FALSE(screen.OnNextChange(s, changed));
  pixels[at(0, 23)] = 0xFF;
  EXPECT_EQ(screen.Refresh(s).rects, (std::vector<ui::Rect>{{0, 16, 16, 16}}));
  pixels[at(127, 16)] = 0xFF;
  writers.back = writers.asked;
  EXPECT_EQ(screen.Refresh(s).rects, (std::vector<ui::Rect>{{112, 16, 16, 16}}));
  EXPECT_TRUE(screen.OnNextChange(s, changed));
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(screen.Refresh(s).empty());
  // Another viewer has its own, all of it; and so after a change of the chip.
  ui::Surface other;
  EXPECT_TRUE(screen.Refresh(other).resized);
  EXPECT_EQ(other.Row(60)[40], 0xFFu);
  EXPECT_TRUE(screen.OnNextChange(s, changed));
  card.Dispi(kDispiYOffset, 0);
  EXPECT_EQ(told, 2);
  EXPECT_EQ(screen.Refresh(s).rects, (std::vector<ui::Rect>{{32, 48, 16, 16}}));
  // Which of the two it is does not matter: told once.
  EXPECT_TRUE(screen.OnNextChange(s, changed));
  tracker.Mark(pixels);
  card.Dispi(kDispiYOffset, 0);
  EXPECT_EQ(told, 3);
  EXPECT_TRUE(screen.OnNextChange(s, nullptr));
  // A backend that does not know: all of it is looked at.
  memory->SetWriteWatcher(nullptr);
  screen.Refresh(s);
  pixels[at(70, 33)] = 0xFF;
  EXPECT_EQ(screen.Refresh(s).rects, (std::vector<ui::Rect>{{64, 32, 16, 16}}));
  EXPECT_FALSE(screen.OnNextChange(s, changed));
}

TEST(Screen, BlankScreensHaveASize) {
  Card card;
  EXPECT_EQ(card.screen.kind(), ui::ScreenKind::kBlank);
  ui::Surface s = card.screen.Capture();
  EXPECT_EQ(s.width, 720u);
  EXPECT_EQ(s.height, 400u);
  card.Text();
  card.Seq(1, 0x20);
  EXPECT_EQ(card.screen.kind(), ui::ScreenKind::kBlank);
  s = card.screen.Capture();
  EXPECT_EQ(s.width, 36u);
  // A dispi mode of no size.
  card.Dispi(kDispiEnable, kDispiEnabled);
  EXPECT_EQ(card.screen.kind(), ui::ScreenKind::kBlank);
  EXPECT_EQ(card.screen.Capture().width, 720u);
}

// Every register at its greatest.
TEST(Render, LargestPictureIsBounded) {
  Card card;
  card.vga.WritePort(0x3C2, 0x67);
  for (uint8_t i = 0; i < 8; ++i) card.Seq(i, i == 1 ? 0x08 : 0xFF);
  for (uint8_t i = 0; i < 0x19; ++i) card.Crtc(i, 0xFF);
  for (uint8_t i = 0; i < 9; ++i) card.Graphics(i, i == 6 ? 0xFE : 0xFF);
  for (uint8_t i = 0x10; i < 0x15; ++i) card.Attribute(i, 0xFF);
  card.Show();
  ui::Surface s = card.screen.Capture();
  EXPECT_LE(s.width, ui::Surface::kMaxWidth);
  EXPECT_EQ(s.height, 1024u);
  card.Graphics(6, 0xFF);
  s = card.screen.Capture();
  EXPECT_EQ(s.width, 4096u);
}

struct Function {
  Card card;
  pci::FakeWiring wiring;
  std::unique_ptr<pci::PciDevice> pci =
      NewStdVga(wiring.At(2), &card.vga, std::vector<uint8_t>(39936, 0x55));
};

TEST(StdVga, ConfigurationAndRom) {
  Function f;
  EXPECT_EQ(f.pci->ReadConfig(0, 4), 0x11111234u);
  EXPECT_EQ(f.pci->ReadConfig(8, 4), 0x03000002u);
  f.pci->WriteConfig(0x10, 4, 0xFFFFFFFF);
  EXPECT_EQ(f.pci->ReadConfig(0x10, 4), 0xFFFC0008u);
  f.pci->WriteConfig(0x30, 4, 0xFFFFFFFE);
  EXPECT_EQ(f.pci->ReadConfig(0x30, 4), 0xFFFF0000u);  // 39936 bytes take 64 KiB
  f.pci->WriteConfig(0x30, 4, 0xFEB00001);
  EXPECT_EQ(f.wiring.mapper.Find(*f.pci, pci::PciDevice::kRomRegion), nullptr);
  f.pci->WriteConfig(4, 2, 2);
  const auto* rom = f.wiring.mapper.Find(*f.pci, pci::PciDevice::kRomRegion);
  ASSERT_NE(rom, nullptr);
  EXPECT_EQ(rom->base, 0xFEB00000u);
  EXPECT_EQ(rom->size, 0x10000u);
  EXPECT_EQ(f.pci->Read(pci::PciDevice::kRomRegion, 39932, 8), 0xFFFFFFFF55555555u);
  EXPECT_EQ(f.pci->Read(pci::PciDevice::kRomRegion, 0xFFFE, 4), 0xFFFFFFFFu);
  f.pci->WriteConfig(0x30, 4, 0xFEB00000);
  EXPECT_EQ(f.wiring.mapper.Find(*f.pci, pci::PciDevice::kRomRegion), nullptr);
  EXPECT_EQ(f.wiring.mapper.errors, 0);
}

TEST(StdVga, RegisterBar) {
  Function f;
  const auto read = [&](uint64_t at, unsigned size) { return f.pci->Read(kRegisterBar, at, size); };
  EXPECT_EQ(read(0x500, 2), 0xB0C5u);
  EXPECT_EQ(read(0x514, 2), 4u);
  // The monitor's description: its header, its sum.
  EXPECT_EQ(read(0, 8), 0x00FFFFFFFFFFFF00u);
  uint8_t sum = 0;
  for (unsigned at = 0; at < 128; ++at) sum = static_cast<uint8_t>(sum + read(at, 1));
  EXPECT_EQ(sum, 0);
  EXPECT_EQ(read(0x80, 4), 0u);
  f.pci->Write(kRegisterBar, 0x502, 2, 640);
  f.pci->Write(kRegisterBar, 0x504, 2, 480);
  EXPECT_EQ(read(0x502, 4), 480u << 16 | 640);
  f.pci->Write(kRegisterBar, 0x503, 1, 0xFF);
  EXPECT_EQ(read(0x502, 2), 640u);
  f.pci->Write(kRegisterBar, 0x402, 1, 0x67);  // port 0x3C2
  EXPECT_EQ(f.card.vga.registers().misc, 0x67);
  EXPECT_EQ(f.pci->Read(kVgaPorts, 12, 1), 0x67u);
  EXPECT_EQ(read(0x600, 8), 0x1E1E1E1E00000008u);
  f.pci->Write(kFramebufferBar, 0x3FFFC, 4, 0x11223344);
  EXPECT_EQ(f.pci->Read(kFramebufferBar, 0x3FFFC, 4), 0x11223344u);
  EXPECT_EQ(f.pci->Read(kFramebufferBar, 0x3FFFC, 8), ~uint64_t{0});
  f.pci->Write(kFramebufferBar, 0x40000, 4, 1);
  f.pci->Write(kDispiRegion, 0, 2, kDispiYres);
  EXPECT_EQ(f.pci->Read(kDispiRegion, 1, 2), 480u);
}

TEST(StdVga, StateRoundTrip) {
  Function a, b;
  a.card.Text();
  a.card.Put(1, 'x', 7);
  a.card.Dispi(kDispiXres, 640);
  ExpectRoundTrip(*a.pci, *b.pci);
  EXPECT_EQ(b.card.screen.Capture().pixels, a.card.screen.Capture().pixels);
}

TEST(TextMode, IsThatOfTheBios) {
  Card card;
  std::vector<uint8_t> rom(8192, 0x11);
  EXPECT_FALSE(SetTextMode(card.vga, rom));
  EXPECT_EQ(card.screen.kind(), ui::ScreenKind::kBlank);
  const uint8_t face[] = {0, 0, 0x7E, 0x81, 0xA5, 0x81, 0x81, 0xBD, 0x99, 0x81, 0x81, 0x7E};
  std::fill_n(rom.begin() + 100, 32, 0);
  std::copy(std::begin(face), std::end(face), rom.begin() + 116);
  EXPECT_TRUE(SetTextMode(card.vga, rom));
  EXPECT_FALSE(SetTextMode(card.vga, std::span(rom).first(100 + 4095)));  // cut off
  card.Put(3, 'A', 0x4E);
  const auto text = card.screen.Text();
  ASSERT_TRUE(text.has_value());
  EXPECT_EQ(text->columns, kTextColumns);
  EXPECT_EQ(text->rows, kTextRows);
  EXPECT_EQ(text->cells[2], (ui::TextCell{' ', 7}));
  EXPECT_EQ(text->cells[3], (ui::TextCell{'A', 0x4E}));
  EXPECT_EQ(text->cursor, 0u);
  const ui::Surface s = card.screen.Capture();
  EXPECT_EQ(s.width, 720u);
  EXPECT_EQ(s.height, 400u);
  EXPECT_EQ(s.Row(1)[3 * 9], 0xAA0000u);  // every other glyph here is 0x11
  EXPECT_EQ(s.Row(1)[3 * 9 + 3], 0xFFFF55u);
}

TEST(Vram, SizesThatCannotBe) {
  EXPECT_FALSE(Vram::Create(0).ok());
  EXPECT_FALSE(Vram::Create(3 << 20).ok());
  EXPECT_FALSE(Vram::Create(1 << 30).ok());
}

}  // namespace
}  // namespace atl::vga
