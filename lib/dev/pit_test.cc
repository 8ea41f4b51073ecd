// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/pit.h"

#include "gtest/gtest.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

constexpr uint64_t kMs = 1'000'000;

class PitTest : public testing::Test {
 protected:
  void Out(uint64_t port, uint8_t value) {
    pit_.Write(port == 0x61 ? Pit::kPortB : Pit::kCounters, port == 0x61 ? 0 : port & 3, 1, value);
  }
  uint8_t In(uint64_t port) {
    return static_cast<uint8_t>(
        pit_.Read(port == 0x61 ? Pit::kPortB : Pit::kCounters, port == 0x61 ? 0 : port & 3, 1));
  }
  uint16_t In16(uint64_t port) {
    const uint8_t low = In(port);
    return static_cast<uint16_t>(low | In(port) << 8);
  }
  void Load(unsigned channel, uint16_t count) {
    Out(0x40 + channel, count & 0xFF);
    Out(0x40 + channel, count >> 8);
  }
  // Moves to `ticks` after the last start.
  void Ticks(uint64_t ticks) {
    const uint64_t at = start_ + (ticks * 1'000'000'000 + Pit::kHz - 1) / Pit::kHz;
    clock_.Advance(at - clock_.NowNs());
  }
  void Start() { start_ = clock_.NowNs(); }

  FakeIrqLine irq_;
  ManualClock clock_;
  Pit pit_{irq_, clock_};
  uint64_t start_ = 0;
};

TEST_F(PitTest, RateGeneratorTicksAtItsRate) {
  Out(0x43, 0x34);  // channel 0, both bytes, mode 2
  irq_.TakeEdges();
  Load(0, 11932);  // 100 Hz
  clock_.Advance(9 * kMs);
  EXPECT_EQ(irq_.TakeEdges(), 0u);
  clock_.Advance(991 * kMs);
  EXPECT_EQ(irq_.TakeEdges(), 99u);
  EXPECT_TRUE(irq_.level());
}

TEST_F(PitTest, SquareWaveOfTheBios) {
  Out(0x43, 0x36);
  irq_.TakeEdges();
  Load(0, 0);  // 65536: 18.2 Hz
  clock_.Advance(10'000 * kMs);
  EXPECT_EQ(irq_.TakeEdges(), 182u);
}

TEST_F(PitTest, OneShotOnTerminalCount) {
  Out(0x43, 0x30);
  EXPECT_FALSE(irq_.level());
  Load(0, 1000);
  Start();
  Ticks(999);
  EXPECT_FALSE(irq_.level());
  EXPECT_EQ(In16(0x40), 1);
  Ticks(1000);
  EXPECT_TRUE(irq_.level());
  Ticks(1500);
  EXPECT_EQ(irq_.TakeEdges(), 1u);
  EXPECT_EQ(In16(0x40), 0x10000 - 500);  // counts on
  Load(0, 10);
  EXPECT_FALSE(irq_.level());
}

TEST_F(PitTest, LatchHoldsUntilRead) {
  Out(0x43, 0x34);
  Load(0, 5000);
  Start();
  Ticks(100);
  Out(0x43, 0x00);
  Ticks(200);
  Out(0x43, 0x00);  // ignored
  EXPECT_EQ(In16(0x40), 4900);
  EXPECT_EQ(In16(0x40), 4800);
}

TEST_F(PitTest, ReadBackStatusThenCount) {
  Out(0x43, 0xB6);            // channel 2, mode 3
  Out(0x43, 0xE8);            // status of channel 2
  EXPECT_EQ(In(0x42), 0xF6);  // output high, no count yet
  Load(2, 1000);
  Out(0x61, 1);
  Start();
  Ticks(600);
  Out(0x43, 0xC8);  // both
  Ticks(700);
  EXPECT_EQ(In(0x42), 0x36);
  EXPECT_EQ(In16(0x42), 800);  // 2 * 600 into a period of 1000
}

// How Linux and SeaBIOS measure the TSC.
TEST_F(PitTest, Channel2CountsWhenGated) {
  Out(0x61, 0x00);
  Out(0x43, 0xB0);
  Load(2, 1000);
  clock_.Advance(10 * kMs);
  EXPECT_EQ(In(0x61) & 0x21, 0);
  Out(0x61, 0x01);
  Start();
  Ticks(999);
  EXPECT_EQ(In(0x61) & 0x21, 0x01);
  Ticks(1000);
  EXPECT_EQ(In(0x61) & 0x21, 0x21);
}

TEST_F(PitTest, GateTriggersOneShot) {
  Out(0x43, 0xB2);  // mode 1
  Load(2, 1000);
  Out(0x61, 0x01);
  Start();
  Ticks(500);
  EXPECT_EQ(In(0x61) & 0x20, 0);
  Ticks(1000);
  EXPECT_EQ(In(0x61) & 0x20, 0x20);
}

TEST_F(PitTest, RefreshBitToggles) {
  const uint8_t first = In(0x61);
  clock_.Advance(15'100);
  EXPECT_EQ((In(0x61) ^ first) & 0x10, 0x10);
}

TEST_F(PitTest, BcdAndSingleBytes) {
  Out(0x43, 0x35);
  Load(0, 0x1000);
  Start();
  Ticks(1);
  EXPECT_EQ(In16(0x40), 0x0999);
  Out(0x43, 0x14);  // low byte only
  Out(0x40, 200);
  Start();
  Ticks(50);
  EXPECT_EQ(In(0x40), 150);
  EXPECT_EQ(In(0x40), 150);
  Out(0x43, 0x24);  // high byte only
  Out(0x40, 2);
  Start();
  Ticks(0x101);
  EXPECT_EQ(In(0x40), 0);
}

// Interrupts faster than anyone can serve would keep the loop thread busy.
TEST_F(PitTest, StormIsBounded) {
  Out(0x43, 0x34);
  Load(0, 1);
  clock_.Advance(10 * kMs);
  EXPECT_LE(clock_.fired(), 500u);
}

TEST_F(PitTest, StateRoundTrip) {
  Out(0x43, 0x34);
  Load(0, 11932);
  Out(0x43, 0xB6);
  Out(0x42, 7);
  Out(0x61, 3);
  clock_.Advance(5 * kMs);
  FakeIrqLine irq;
  Pit other(irq, clock_);
  ExpectRoundTrip(pit_, other);
  irq.TakeEdges();
  clock_.Advance(5 * kMs + 1000);
  EXPECT_EQ(irq.TakeEdges(), 1u);
}

}  // namespace
}  // namespace atl::dev
