// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/acpi_pm.h"

#include "gtest/gtest.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

class AcpiPmTest : public testing::Test {
 protected:
  uint64_t In(uint64_t offset, unsigned size = 2) { return pm_.Read(AcpiPm::kPm, offset, size); }
  void Out(uint64_t offset, uint64_t value, unsigned size = 2) {
    pm_.Write(AcpiPm::kPm, offset, size, value);
  }
  void Enable() { pm_.Write(AcpiPm::kApm, 0, 1, AcpiPm::kAcpiEnable); }

  FakeIrqLine sci_;
  ManualClock clock_;
  FakeSystemControl system_;
  AcpiPm pm_{sci_, clock_, system_};
};

TEST_F(AcpiPmTest, TimerRunsAtItsRateIn24Bits) {
  EXPECT_EQ(In(8, 4), 0u);
  clock_.Advance(kSecond);
  EXPECT_EQ(In(8, 4), 3579545u);
  EXPECT_EQ(In(9, 1) & 0xFF, 3579545u >> 8 & 0xFF);
  clock_.Advance(4 * kSecond);
  EXPECT_EQ(In(8, 4), (5 * 3579545u) & 0xFFFFFF);
  EXPECT_EQ(In(0), 1u);  // its top bit has toggled
}

TEST_F(AcpiPmTest, AcpiIsTurnedOnAndOff) {
  EXPECT_EQ(In(4), 0u);
  Enable();
  EXPECT_EQ(In(4), 1u);
  EXPECT_EQ(pm_.Read(AcpiPm::kApm, 0, 1), AcpiPm::kAcpiEnable);
  pm_.Write(AcpiPm::kApm, 0, 1, AcpiPm::kAcpiDisable);
  EXPECT_EQ(In(4), 0u);
  Out(4, 1);  // not by writing the bit
  EXPECT_EQ(In(4), 0u);
}

TEST_F(AcpiPmTest, PowerButton) {
  Enable();
  pm_.PressPowerButton();
  EXPECT_FALSE(sci_.level());
  Out(2, 0xFFFF);
  EXPECT_EQ(In(2), 0x0721u);
  EXPECT_TRUE(sci_.level());
  EXPECT_EQ(In(0), 0x100u);
  Out(1, 0x01, 1);  // write 1 to clear, by byte
  EXPECT_EQ(In(0), 0u);
  EXPECT_FALSE(sci_.level());
}

TEST_F(AcpiPmTest, TimerCarryInterrupts) {
  Enable();
  Out(2, 1);
  clock_.Advance(2 * kSecond);
  EXPECT_FALSE(sci_.level());
  clock_.Advance(kSecond);  // 2^23 ticks are 2.34 s
  EXPECT_TRUE(sci_.level());
  Out(0, 1);
  EXPECT_FALSE(sci_.level());
  clock_.Advance(2 * kSecond);
  EXPECT_TRUE(sci_.level());
}

TEST_F(AcpiPmTest, SoftOff) {
  Enable();
  Out(4, AcpiPm::kS5SleepType << 10);
  EXPECT_EQ(system_.power_offs, 0u);
  Out(4, AcpiPm::kS5SleepType << 10 | 1 << 13 | 1);
  EXPECT_EQ(system_.power_offs, 1u);
  EXPECT_EQ(In(4) & 0x2000, 0u);
  Out(5, 0x20, 1);  // by byte
  EXPECT_EQ(system_.power_offs, 2u);
  Out(4, 1 << 10 | 1 << 13);  // S3 is not offered
  EXPECT_EQ(system_.power_offs, 2u);
}

TEST_F(AcpiPmTest, GeneralPurposeEvents) {
  Enable();
  pm_.Write(AcpiPm::kGpe0, 2, 2, 0x0202);
  pm_.RaiseGpe(9);
  EXPECT_TRUE(sci_.level());
  EXPECT_EQ(pm_.Read(AcpiPm::kGpe0, 0, 4), 0x02020200u);
  pm_.Write(AcpiPm::kGpe0, 1, 1, 0x02);
  EXPECT_FALSE(sci_.level());
}

TEST_F(AcpiPmTest, StateRoundTrip) {
  Enable();
  Out(2, 0x101);
  pm_.PressPowerButton();
  pm_.Write(AcpiPm::kApm, 1, 1, 0x42);
  clock_.Advance(kSecond);
  FakeIrqLine sci;
  AcpiPm other(sci, clock_, system_);
  ExpectRoundTrip(pm_, other);
  EXPECT_TRUE(sci.level());
}

}  // namespace
}  // namespace atl::dev
