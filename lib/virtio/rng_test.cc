// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/rng.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/dev/testing/round_trip.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/background.h"

namespace atl::virtio {
namespace {

constexpr uint64_t kMemory = 1 << 20;
constexpr uint64_t kData = 0x20000;

class Rng : public testing::TestWithParam<Driver::Mode> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(kMemory));
    function_ = New(wiring_);
    driver_ = std::make_unique<Driver>(function_.get(), memory_.get(), GetParam());
    Start();
  }
  std::unique_ptr<pci::PciDevice> New(pci::FakeWiring& wiring) {
    return NewVirtioPci(wiring.At(5), memory_.get(),
                        NewRng(memory_.get(), &inline_, [this](std::span<uint8_t> to) {
                          largest_ = std::max(largest_, to.size());
                          std::fill(to.begin(), to.end(), next_++);
                          return works_;
                        }));
  }
  void Start() {
    ASSERT_TRUE(driver_->Negotiate(0));
    queue_ = driver_->SetUpQueue(0, 0x10000);
    driver_->Start();
  }

  std::unique_ptr<GuestMemory> memory_;
  work::InlineBackground inline_;
  pci::FakeWiring wiring_;
  uint8_t next_ = 0x51;
  bool works_ = true;
  size_t largest_ = 0;
  std::unique_ptr<pci::PciDevice> function_;
  std::unique_ptr<Driver> driver_;
  DriverQueue queue_;
};

INSTANTIATE_TEST_SUITE_P(Drivers, Rng, testing::Values(Driver::kModern, Driver::kLegacy));

TEST_P(Rng, FillsWhatIsAsked) {
  EXPECT_EQ(function_->ReadConfig(0, 4), 0x10051AF4u);
  queue_.Add(std::vector<Segment>{{kData, 10, true}, {kData + 100, 6, true}});
  driver_->Kick(0);
  EXPECT_EQ(queue_.TakeUsed()->length, 16u);
  EXPECT_TRUE(wiring_.intx.level);
  EXPECT_EQ(*memory_->Load<uint8_t>(Gpa(kData + 9)), 0x51);
  EXPECT_EQ(*memory_->Load<uint8_t>(Gpa(kData + 10)), 0);
  EXPECT_EQ(*memory_->Load<uint8_t>(Gpa(kData + 105)), 0x51);
}

TEST_P(Rng, LargeRequestsGetAPart) {
  queue_.Add(std::vector<Segment>{{kData, 0x10000, true}});
  driver_->Kick(0);
  EXPECT_EQ(queue_.TakeUsed()->length, kRngBytes);
  EXPECT_EQ(largest_, kRngBytes);
}

TEST_P(Rng, NothingToGiveIsNoBytes) {
  works_ = false;
  queue_.Add(std::vector<Segment>{{kData, 8, true}});
  driver_->Kick(0);
  EXPECT_EQ(queue_.TakeUsed()->length, 0u);
  EXPECT_EQ(*memory_->Load<uint64_t>(Gpa(kData)), 0u);
}

TEST_P(Rng, BuffersOutsideMemoryNeedReset) {
  queue_.Add(std::vector<Segment>{{kMemory - 4, 8, true}});
  driver_->Kick(0);
  EXPECT_NE(driver_->status() & kStatusNeedsReset, 0);
  EXPECT_FALSE(queue_.TakeUsed().has_value());
  Start();
  queue_.Add(std::vector<Segment>{{kData, 8, true}});
  driver_->Kick(0);
  EXPECT_TRUE(queue_.TakeUsed().has_value());
}

TEST_P(Rng, ReadableBuffersAreIgnored) {
  queue_.Add(std::vector<Segment>{{kData, 8}});
  driver_->Kick(0);
  EXPECT_EQ(queue_.TakeUsed()->length, 0u);
}

TEST_P(Rng, StateRoundTrip) {
  pci::FakeWiring wiring;
  auto other = New(wiring);
  dev::ExpectRoundTrip(*function_, *other);
}

}  // namespace
}  // namespace atl::virtio
