// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/balloon.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/background.h"

namespace atl::virtio {
namespace {

constexpr uint64_t kList = 0x40000;

class Balloon : public testing::TestWithParam<Driver::Mode> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(1 << 20));
    std::unique_ptr<BalloonDevice> device = NewBalloon(
        memory_.get(), &inline_, [this](Gpa page) { discarded_.push_back(page - Gpa(0)); });
    balloon_ = device.get();
    function_ = NewVirtioPci(wiring_.At(5), memory_.get(), std::move(device));
    driver_ = std::make_unique<Driver>(function_.get(), memory_.get(), GetParam());
    ASSERT_TRUE(driver_->Negotiate(0));
    inflate_ = driver_->SetUpQueue(0, 0x10000);
    deflate_ = driver_->SetUpQueue(1, 0x20000);
    driver_->Start();
  }
  void Write(std::vector<uint32_t> pages) {
    for (size_t i = 0; i < pages.size(); ++i) memory_->Store(Gpa(kList + 4 * i), pages[i]);
  }

  std::unique_ptr<GuestMemory> memory_;
  work::InlineBackground inline_;
  pci::FakeWiring wiring_;
  std::vector<uint64_t> discarded_;
  BalloonDevice* balloon_ = nullptr;
  std::unique_ptr<pci::PciDevice> function_;
  std::unique_ptr<Driver> driver_;
  DriverQueue inflate_, deflate_;
};

INSTANTIATE_TEST_SUITE_P(Drivers, Balloon, testing::Values(Driver::kModern, Driver::kLegacy));

TEST_P(Balloon, GivenPagesAreDiscarded) {
  Write({3, 0x10, 0xFFFFFFFF});
  inflate_.Add(std::vector<Segment>{{kList, 12, false}});
  driver_->Kick(0);
  EXPECT_EQ(discarded_, (std::vector<uint64_t>{0x3000, 0x10000, 0xFFFFFFFF000}));
  EXPECT_TRUE(inflate_.TakeUsed().has_value());
  EXPECT_TRUE(wiring_.intx.level);
  deflate_.Add(std::vector<Segment>{{kList, 12, false}});
  driver_->Kick(1);
  EXPECT_EQ(discarded_.size(), 3u);
  EXPECT_TRUE(deflate_.TakeUsed().has_value());
}

TEST_P(Balloon, TheTargetIsToldAndTheAnswerRead) {
  EXPECT_EQ(driver_->ReadDeviceConfig(0, 4), 0u);
  balloon_->SetTarget(1000);
  EXPECT_TRUE(wiring_.intx.level);
  EXPECT_EQ(driver_->ReadDeviceConfig(0, 4), 1000u);
  driver_->WriteDeviceConfig(0, 4, 7);  // not the driver's
  EXPECT_EQ(balloon_->target(), 1000u);
  driver_->WriteDeviceConfig(4, 4, 999);
  EXPECT_EQ(balloon_->actual(), 999u);
  driver_->SetStatus(0);
  EXPECT_EQ(balloon_->actual(), 0u);
}

// A driver that notifies only when it is asked to.
TEST_P(Balloon, AsksForTheNextNotification) {
  ASSERT_TRUE(driver_->Negotiate(kEventIndex));
  inflate_ = driver_->SetUpQueue(0, 0x10000);
  driver_->Start();
  Write({3});
  for (uint16_t i = 0; i < 5; ++i) {
    EXPECT_EQ(inflate_.available_event(), i);
    inflate_.Add(std::vector<Segment>{{kList, 4, false}}, i);
    driver_->Kick(0);
    ASSERT_TRUE(inflate_.TakeUsed().has_value());
  }
}

// Requests without end: others have their turn between them.
TEST_P(Balloon, AFlood) {
  for (uint16_t i = 0; i < 64; ++i) {
    inflate_.Add(std::vector<Segment>{{kList, 4 * 1024, false}}, i);
  }
  driver_->Kick(0);
  for (unsigned i = 0; i < 64; ++i) ASSERT_TRUE(inflate_.TakeUsed().has_value()) << i;
  EXPECT_EQ(discarded_.size(), 64u * 1024);
}

TEST_P(Balloon, TooLargeAndOutside) {
  inflate_.Add(std::vector<Segment>{{0, 4 * 65537, false}});
  driver_->Kick(0);
  EXPECT_TRUE(discarded_.empty());
  SetUp();
  inflate_.Add(std::vector<Segment>{{uint64_t{1} << 40, 4, false}});
  driver_->Kick(0);
  EXPECT_TRUE(discarded_.empty());
}

}  // namespace
}  // namespace atl::virtio
