// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/rtc.h"

#include <vector>

#include "gtest/gtest.h"
#include "lib/base/units.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSecond = 1'000'000'000;
constexpr int64_t kStart = 1700000000;  // Tuesday 2023-11-14 22:13:20 UTC

class RtcTest : public testing::Test {
 protected:
  RtcTest() {
    clock_.set_wall(kStart);
    rtc_ = std::make_unique<Rtc>(irq_, clock_);
  }
  uint8_t In(uint8_t index) {
    rtc_->Write(0, 0, 1, index);
    return static_cast<uint8_t>(rtc_->Read(0, 1, 1));
  }
  void Out(uint8_t index, uint8_t value) {
    rtc_->Write(0, 0, 1, index);
    rtc_->Write(0, 1, 1, value);
  }
  std::vector<int> Time() {
    std::vector<int> out;
    for (uint8_t r : {0x32, 9, 8, 7, 4, 2, 0, 6}) out.push_back(In(r));
    return out;
  }

  FakeIrqLine irq_;
  ManualClock clock_;
  std::unique_ptr<Rtc> rtc_;
};

TEST_F(RtcTest, TimeInBcdAndBinary) {
  EXPECT_EQ(Time(), (std::vector{0x20, 0x23, 0x11, 0x14, 0x22, 0x13, 0x20, 3}));
  Out(0x0B, 0x06);
  EXPECT_EQ(Time(), (std::vector{20, 23, 11, 14, 22, 13, 20, 3}));
  Out(0x0B, 0x04);  // 12 hours
  EXPECT_EQ(In(4), 0x80 | 10);
  clock_.Advance(2 * 3600 * kSecond);
  EXPECT_EQ(In(4), 12);
  Out(0x0B, 0x02);
  EXPECT_EQ(Time(), (std::vector{0x20, 0x23, 0x11, 0x15, 0x00, 0x13, 0x20, 4}));
}

TEST_F(RtcTest, UpdateInProgressBeforeEachSecond) {
  EXPECT_EQ(In(0x0A), 0x26);
  clock_.Advance(kSecond - 200'000);
  EXPECT_EQ(In(0x0A), 0xA6);
  clock_.Advance(200'000);
  EXPECT_EQ(In(0x0A), 0x26);
  EXPECT_EQ(In(0), 0x21);
}

// As Linux sets the time: SET, divider in reset, then both released.
TEST_F(RtcTest, SettingTheTime) {
  Out(0x0B, 0x82);
  Out(0x0A, 0x76);
  const uint8_t values[][2] = {{0x32, 0x20}, {9, 0x30}, {8, 0x02}, {7, 0x28},
                               {4, 0x23},    {2, 0x59}, {0, 0x59}};
  for (auto& [index, value] : values) Out(index, value);
  clock_.Advance(10 * kSecond);
  EXPECT_EQ(In(0), 0x59);  // stands still
  Out(0x0B, 0x02);
  Out(0x0A, 0x26);
  clock_.Advance(499 * kMs);
  EXPECT_EQ(In(0), 0x59);
  clock_.Advance(2 * kMs);
  EXPECT_EQ(Time(), (std::vector{0x20, 0x30, 0x03, 0x01, 0x00, 0x00, 0x00, 6}));
}

TEST_F(RtcTest, WritingARunningClock) {
  Out(4, 0x05);
  EXPECT_EQ(Time(), (std::vector{0x20, 0x23, 0x11, 0x14, 0x05, 0x13, 0x20, 3}));
}

TEST_F(RtcTest, PeriodicInterrupt) {
  Out(0x0B, 0x42);
  EXPECT_EQ(In(0x0C), 0);
  unsigned ticks = 0;
  for (int i = 0; i < 1000; ++i) {
    clock_.Advance(kMs);
    if (irq_.level()) {
      EXPECT_EQ(In(0x0C) & 0xC0, 0xC0);
      EXPECT_FALSE(irq_.level());
      ++ticks;
    }
  }
  EXPECT_NEAR(ticks, 1000, 24);  // 1024 Hz looked at 1000 times
  Out(0x0A, 0x2F);               // 2 Hz
  irq_.TakeEdges();
  clock_.Advance(10 * kSecond);
  EXPECT_EQ(irq_.TakeEdges(), 1u);  // nobody reads C: it stays asserted
  EXPECT_EQ(In(0x0C) & 0xC0, 0xC0);
}

TEST_F(RtcTest, UpdateEndedInterruptAndPolling) {
  clock_.Advance(kSecond + 1);
  EXPECT_EQ(In(0x0C) & 0x90, 0x10);  // set though not enabled
  Out(0x0B, 0x12);
  clock_.Advance(kSecond - 2);
  EXPECT_FALSE(irq_.level());
  clock_.Advance(1);
  EXPECT_TRUE(irq_.level());
  EXPECT_EQ(In(0x0C) & 0x90, 0x90);
  EXPECT_EQ(In(0x0C), 0);
}

TEST_F(RtcTest, Alarm) {
  Out(1, 0x05);
  Out(3, 0x14);
  Out(5, 0x22);
  Out(0x0B, 0x22);
  clock_.Advance(44 * kSecond);
  EXPECT_FALSE(irq_.level());
  clock_.Advance(kSecond);  // 22:14:05
  EXPECT_TRUE(irq_.level());
  EXPECT_EQ(In(0x0C) & 0xA0, 0xA0);
  clock_.Advance(24 * 3600 * kSecond - 1);
  EXPECT_FALSE(irq_.level());
  clock_.Advance(1);
  EXPECT_TRUE(irq_.level());
  In(0x0C);
  Out(3, 0xFF);  // each hour's and minute's second 5
  Out(5, 0xC0);
  irq_.TakeEdges();
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(60 * kSecond);
    In(0x0C);
  }
  EXPECT_EQ(irq_.TakeEdges(), 5u);
  Out(1, 0x75);  // never
  EXPECT_EQ(clock_.NextDeadline(), ~uint64_t{0});
}

TEST_F(RtcTest, MemorySizeAndBootOrder) {
  rtc_->SetMemorySize(3 * kGiB, 2 * kGiB);
  EXPECT_EQ(In(0x15) | In(0x16) << 8, 640);
  EXPECT_EQ(In(0x17) | In(0x18) << 8, 0xFFFF);
  EXPECT_EQ(In(0x30) | In(0x31) << 8, 0xFFFF);
  EXPECT_EQ(In(0x34) | In(0x35) << 8, (3072 - 16) * 16);
  EXPECT_EQ(In(0x5B) | In(0x5C) << 8 | In(0x5D) << 16, 2048 * 16);
  rtc_->SetMemorySize(8 * kMiB, 0);
  EXPECT_EQ(In(0x17) | In(0x18) << 8, 7 * 1024);
  EXPECT_EQ(In(0x34), 0);
  EXPECT_TRUE(rtc_->SetBootOrder("dca", false));
  EXPECT_EQ(In(0x3D), 0x23);
  EXPECT_EQ(In(0x38), 0x11);
  EXPECT_FALSE(rtc_->SetBootOrder("z"));
  EXPECT_FALSE(rtc_->SetBootOrder("acdn"));
  rtc_->SetCpuCount(4);
  EXPECT_EQ(In(0x5F), 3);
  Out(0x0F, 0x5A);
  rtc_->Reset();
  EXPECT_EQ(In(0x0F), 0x5A);  // the battery
  EXPECT_EQ(In(0x0D), 0x80);
}

// Dates that are none and every alarm: no crash, no long search.
TEST_F(RtcTest, HostileDates) {
  for (unsigned value = 0; value < 256; ++value) {
    for (uint8_t index = 0; index < 0x0C; ++index) Out(index, static_cast<uint8_t>(value));
    Out(0x32, static_cast<uint8_t>(value));
    clock_.Advance(100 * kMs);
    Time();
    In(0x0C);
  }
}

TEST_F(RtcTest, StateRoundTrip) {
  Out(0x0B, 0x32);
  Out(4, 0x05);
  Out(0x40, 0x77);
  clock_.Advance(300 * kMs);
  FakeIrqLine irq;
  Rtc other(irq, clock_);
  ExpectRoundTrip(*rtc_, other);
  clock_.Advance(699 * kMs);
  EXPECT_FALSE(irq.level());
  clock_.Advance(kMs);
  EXPECT_TRUE(irq.level());
  other.Write(0, 0, 1, 4);
  EXPECT_EQ(other.Read(0, 1, 1), 0x05u);
}

}  // namespace
}  // namespace atl::dev
