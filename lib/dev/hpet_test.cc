// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/hpet.h"

#include <vector>

#include "gtest/gtest.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

constexpr uint64_t kMs = 1'000'000;

struct FakeMsi final : MsiSink {
  void SendMsi(uint64_t a, uint32_t d) override {
    address = a;
    data = d;
  }
  uint64_t address = 0;
  uint32_t data = 0;
};

class HpetTest : public testing::Test {
 protected:
  HpetTest() {
    wiring_.irq0 = &irq0_;
    wiring_.irq8 = &irq8_;
    for (unsigned i = 0; i < Hpet::kPins; ++i) wiring_.pins[i] = &pins_[i];
    wiring_.msi = &msi_;
    hpet_ = std::make_unique<Hpet>(wiring_, clock_);
  }
  uint64_t In(uint64_t offset, unsigned size = 8) { return hpet_->Read(0, offset, size); }
  void Out(uint64_t offset, uint64_t value, unsigned size = 8) {
    hpet_->Write(0, offset, size, value);
  }

  FakeIrqLine irq0_, irq8_, pins_[Hpet::kPins];
  FakeMsi msi_;
  ManualClock clock_;
  Hpet::Wiring wiring_;
  std::unique_ptr<Hpet> hpet_;
};

TEST_F(HpetTest, TellsWhenItTakesTheOldTimersPlace) {
  std::vector<bool> told;
  wiring_.on_replaced = [&](bool replaced) { told.push_back(replaced); };
  hpet_ = std::make_unique<Hpet>(wiring_, clock_);
  Out(0x10, 1);
  EXPECT_TRUE(told.empty());
  Out(0x10, 3);
  Out(0x10, 2);
  EXPECT_EQ(told, std::vector<bool>({true}));
  hpet_->Reset();
  EXPECT_EQ(told, std::vector<bool>({true, false}));
}

TEST_F(HpetTest, CapabilitiesAndCounter) {
  EXPECT_EQ(In(4, 4), 10'000'000u);  // femtoseconds
  EXPECT_EQ(In(0, 4), 0x8086A201u);
  clock_.Advance(kMs);
  EXPECT_EQ(In(0xF0), 0u);
  Out(0xF0, 0x100000000 - 50);
  Out(0x10, 1);
  clock_.Advance(kMs);
  EXPECT_EQ(In(0xF0), 0x100000000 - 50 + 100'000);
  EXPECT_EQ(In(0xF4, 4), 1u);
  Out(0xF0, 0);  // not while it runs
  EXPECT_NE(In(0xF0), 0u);
  Out(0x10, 0);
  const uint64_t stands = In(0xF0);
  clock_.Advance(kMs);
  EXPECT_EQ(In(0xF0), stands);
}

// As Linux programs its periodic tick, in legacy replacement mode.
TEST_F(HpetTest, LegacyPeriodic) {
  hpet_->irq0_input().Set(true);
  EXPECT_EQ(irq0_.TakeEdges(), 1u);
  hpet_->irq0_input().Set(false);
  Out(0x10, 3);
  hpet_->irq0_input().Set(true);  // the 8254 is cut off
  EXPECT_EQ(irq0_.TakeEdges(), 0u);
  Out(0x100, In(0x100) | 0x14C);  // 32 bits, set value, periodic, interrupts
  Out(0x108, In(0xF0) + 400'000, 4);
  Out(0x108, 400'000, 4);  // 250 Hz
  clock_.Advance(1000 * kMs);
  EXPECT_EQ(irq0_.TakeEdges(), 250u);
  Out(0x100, In(0x100) & ~uint64_t{4});
  clock_.Advance(1000 * kMs);
  EXPECT_EQ(irq0_.TakeEdges(), 0u);
}

TEST_F(HpetTest, OneShotOnAPinByLevel) {
  Out(0x10, 1);
  Out(0x140, 20 << 9 | 6);
  EXPECT_EQ(In(0x140) >> 32, 0x00FF0000u);
  Out(0x148, 1000);
  clock_.Advance(9'999);
  EXPECT_FALSE(pins_[4].level());
  clock_.Advance(1);
  EXPECT_TRUE(pins_[4].level());
  EXPECT_EQ(In(0x20), 4u);
  Out(0x20, 4);
  EXPECT_FALSE(pins_[4].level());
  clock_.Advance(1000 * kMs);
  EXPECT_FALSE(pins_[4].level());
  Out(0x148, 5);  // passed long ago: at once
  clock_.Advance(0);
  EXPECT_TRUE(pins_[4].level());
  hpet_->Reset();
  EXPECT_FALSE(pins_[4].level());
}

TEST_F(HpetTest, Messages) {
  Out(0x10, 1);
  Out(0x120, 1 << 14 | 4);
  Out(0x130, uint64_t{0xFEE01000} << 32 | 0x42);
  Out(0x128, 100);
  clock_.Advance(1000);
  EXPECT_EQ(msi_.address, 0xFEE01000u);
  EXPECT_EQ(msi_.data, 0x42u);
}

// Its status and comparator are right whenever the guest looks; nothing wakes the
// host for them meanwhile.
TEST_F(HpetTest, ATimerWithoutInterruptsWakesNobody) {
  Out(0x10, 1);
  Out(0x100, In(0x100) | 0x14A);  // 32 bits, set value, periodic, level; no interrupts
  Out(0x108, 400'000, 4);
  Out(0x108, 400'000, 4);
  Out(0x140, 20 << 9 | 2);  // one shot, level
  Out(0x148, 1000);
  EXPECT_GE(clock_.NextDeadline(), 9'000 * kMs);
  EXPECT_EQ(In(0x20), 0u);
  EXPECT_EQ(In(0x108), 400'000u);
  clock_.Advance(4 * kMs);
  EXPECT_EQ(In(0x20), 5u);
  EXPECT_EQ(In(0x108), 800'000u);
  clock_.Advance(8 * kMs + 1000);
  EXPECT_EQ(In(0x108), 1'600'000u);
  EXPECT_GE(clock_.NextDeadline(), 9'000 * kMs);
  // The counter's 32 bits turn round several times.
  clock_.Advance(200'000 * kMs);
  EXPECT_EQ(In(0x108), 20'001'600'000u & 0xFFFFFFFF);
  // Heard again, it goes on where it would have been.
  Out(0x20, 5);
  Out(0x100, 20 << 9 | 0x10C);
  clock_.Advance(4 * kMs - 1001);
  EXPECT_EQ(pins_[4].TakeEdges(), 0u);
  clock_.Advance(1);
  EXPECT_EQ(pins_[4].TakeEdges(), 1u);
  clock_.Advance(40 * kMs);
  EXPECT_EQ(pins_[4].TakeEdges(), 10u);
}

// An interrupt each 10 ns would keep the loop thread busy.
TEST_F(HpetTest, StormIsBounded) {
  Out(0x10, 3);
  Out(0x100, 0x4C);
  Out(0x108, 1);
  Out(0x108, 1);
  clock_.Advance(10 * kMs);
  EXPECT_LE(clock_.fired(), 501u);
}

TEST_F(HpetTest, StateRoundTrip) {
  Out(0x10, 3);
  Out(0x100, 0x14C);
  Out(0x108, 1000, 4);
  Out(0x108, 500'000, 4);
  Out(0x140, 20 << 9 | 6);
  Out(0x148, 100);
  clock_.Advance(kMs);
  FakeIrqLine irq0, pin;
  Hpet::Wiring wiring = wiring_;
  wiring.irq0 = &irq0;
  wiring.pins[4] = &pin;
  Hpet other(wiring, clock_);
  ExpectRoundTrip(*hpet_, other);
  EXPECT_TRUE(pin.level());
  clock_.Advance(5 * kMs);
  EXPECT_EQ(irq0.TakeEdges(), 1u);
}

}  // namespace
}  // namespace atl::dev
