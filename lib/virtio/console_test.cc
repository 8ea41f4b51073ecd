// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/console.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/background.h"

namespace atl::virtio {
namespace {

constexpr uint64_t kData = 0x40000;

class FakeStream final : public chr::Stream {
 public:
  size_t Read(std::span<uint8_t> to) override {
    const size_t n = std::min(to.size(), input.size());
    std::copy_n(input.begin(), n, to.begin());
    input.erase(0, n);
    return n;
  }
  void Write(std::span<const uint8_t> bytes) override { output.append(bytes.begin(), bytes.end()); }
  std::string input, output;
};

class Console : public testing::TestWithParam<Driver::Mode> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(1 << 20));
    std::unique_ptr<ConsoleDevice> device = NewConsole(memory_.get(), &inline_, &stream_);
    console_ = device.get();
    function_ = NewVirtioPci(wiring_.At(5), memory_.get(), std::move(device));
    driver_ = std::make_unique<Driver>(function_.get(), memory_.get(), GetParam());
    ASSERT_TRUE(driver_->Negotiate(kEventIndex));
    receive_ = driver_->SetUpQueue(0, 0x10000);
    send_ = driver_->SetUpQueue(1, 0x20000);
    driver_->Start();
  }
  std::string Memory(uint64_t at, size_t n) {
    std::string out(n, '\0');
    EXPECT_TRUE(memory_->Read(Gpa(at), {reinterpret_cast<uint8_t*>(out.data()), n}));
    return out;
  }

  FakeStream stream_;
  std::unique_ptr<GuestMemory> memory_;
  work::InlineBackground inline_;
  pci::FakeWiring wiring_;
  ConsoleDevice* console_ = nullptr;
  std::unique_ptr<pci::PciDevice> function_;
  std::unique_ptr<Driver> driver_;
  DriverQueue receive_, send_;
};

INSTANTIATE_TEST_SUITE_P(Drivers, Console, testing::Values(Driver::kModern, Driver::kLegacy));

TEST_P(Console, Output) {
  memory_->Write(Gpa(kData), {reinterpret_cast<const uint8_t*>("hello, world"), 12});
  send_.Add(std::vector<Segment>{{kData, 5, false}, {kData + 5, 7, false}});
  driver_->Kick(1);
  EXPECT_EQ(stream_.output, "hello, world");
  EXPECT_TRUE(send_.TakeUsed().has_value());
  send_.Add(std::vector<Segment>{{kData, 10000, false}}, 2);
  driver_->Kick(1);
  EXPECT_EQ(stream_.output.size(), 10012u);
}

// Input waits for buffers and is spread over them.
TEST_P(Console, Input) {
  stream_.input = "abcdefgh";
  console_->InputReady();
  EXPECT_FALSE(receive_.TakeUsed().has_value());
  receive_.Add(std::vector<Segment>{{kData, 5, true}});
  driver_->Kick(0);
  EXPECT_EQ(receive_.TakeUsed()->length, 5u);
  EXPECT_EQ(Memory(kData, 5), "abcde");
  EXPECT_EQ(receive_.available_event(), 1);
  receive_.Add(std::vector<Segment>{{kData, 5, true}}, 1);
  driver_->Kick(0);
  EXPECT_EQ(receive_.TakeUsed()->length, 3u);
  EXPECT_EQ(Memory(kData, 3), "fgh");
  // A buffer first, input later.
  receive_.Add(std::vector<Segment>{{kData, 5, true}}, 2);
  driver_->Kick(0);
  EXPECT_FALSE(receive_.TakeUsed().has_value());
  stream_.input = "z";
  console_->InputReady();
  EXPECT_EQ(receive_.TakeUsed()->length, 1u);
}

TEST_P(Console, BadRequests) {
  send_.Add(std::vector<Segment>{{kData, (1 << 20) + 1, false}});
  driver_->Kick(1);
  EXPECT_EQ(stream_.output, "");
  EXPECT_FALSE(send_.TakeUsed().has_value());
  SetUp();
  send_.Add(std::vector<Segment>{{uint64_t{1} << 40, 5, false}});
  driver_->Kick(1);
  EXPECT_EQ(stream_.output, "");
  SetUp();
  stream_.input = "a";
  receive_.Add(std::vector<Segment>{{kData, 5, false}});  // not writable
  driver_->Kick(0);
  EXPECT_FALSE(receive_.TakeUsed().has_value());
}

}  // namespace
}  // namespace atl::virtio
