// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/pc_testdev.h"

#include <memory>

#include "gtest/gtest.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

class PcTestdevTest : public testing::Test {
 protected:
  PcTestdevTest() {
    PcTestdev::Lines lines{};
    lines[5] = &five_;
    lines[23] = &last_;
    device_ = std::make_unique<PcTestdev>(lines);
  }
  FakeIrqLine five_, last_;
  std::unique_ptr<PcTestdev> device_;
};

TEST_F(PcTestdevTest, PortsKeepWhatIsWritten) {
  device_->Write(PcTestdev::kData, 0, 4, 0x12345678);
  EXPECT_EQ(device_->Read(PcTestdev::kData, 0, 4), 0x12345678u);
  EXPECT_EQ(device_->Read(PcTestdev::kData, 1, 2), 0x3456u);
  EXPECT_EQ(device_->Read(PcTestdev::kBytes, 3, 1), 0x12u);
  device_->Write(PcTestdev::kData, 2, 1, 0xAB);
  EXPECT_EQ(device_->Read(PcTestdev::kData, 0, 4), 0x12AB5678u);
  device_->Write(PcTestdev::kFlush, 0, 4, 0x7000);
  EXPECT_EQ(device_->Read(PcTestdev::kFlush, 0, 4), 0u);
  device_->Reset();
  EXPECT_EQ(device_->Read(PcTestdev::kData, 0, 4), 0u);
}

TEST_F(PcTestdevTest, LinesFollow) {
  device_->Write(PcTestdev::kLines, 5, 1, 1);
  EXPECT_TRUE(five_.level());
  device_->Write(PcTestdev::kLines, 5, 4, 0xFE);
  EXPECT_FALSE(five_.level());
  device_->Write(PcTestdev::kLines, 23, 1, 1);
  EXPECT_TRUE(last_.level());
  for (unsigned i = 0; i < 30; ++i) device_->Write(PcTestdev::kLines, i, 1, 1);  // no line: nothing
  EXPECT_EQ(device_->Read(PcTestdev::kLines, 5, 1), 0xFFu);
  device_->Reset();
  EXPECT_FALSE(last_.level());
}

TEST_F(PcTestdevTest, MemoryToItsEnd) {
  device_->Write(PcTestdev::kMemory, 0xFFF8, 8, 0x1122334455667788);
  EXPECT_EQ(device_->Read(PcTestdev::kMemory, 0xFFFC, 4), 0x11223344u);
  device_->Write(PcTestdev::kMemory, 0xFFFE, 8, ~uint64_t{0});  // hangs over
  EXPECT_EQ(device_->Read(PcTestdev::kMemory, 0xFFFC, 4), 0xFFFF3344u);
}

TEST_F(PcTestdevTest, StateRoundTrip) {
  device_->Write(PcTestdev::kLines, 5, 1, 1);
  device_->Write(PcTestdev::kMemory, 7, 1, 9);
  device_->Write(PcTestdev::kData, 0, 4, 77);
  FakeIrqLine line;
  PcTestdev::Lines lines{};
  lines[5] = &line;
  PcTestdev other(lines);
  ExpectRoundTrip(*device_, other);
  EXPECT_TRUE(line.level());
}

}  // namespace
}  // namespace atl::dev
