// SPDX-License-Identifier: Apache-2.0
// Where a function hangs its queues' bells, and when.
#include "lib/dev/bells.h"

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/block/testing/memory_disk.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/blk.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/background.h"

namespace atl::virtio {
namespace {

using testing::ElementsAre;

class FakeBells final : public dev::Bells {
 public:
  std::unique_ptr<dev::Bell> Hang(const dev::BellPlace& place,
                                  std::function<void()> ring) override {
    if (none) return nullptr;
    ++hung;
    const unsigned id = next_++;
    hanging[id] = {place, std::move(ring)};
    return std::make_unique<Bell>(*this, id);
  }
  std::unique_ptr<dev::Bell> HangFd(const dev::BellPlace&, int) override { return nullptr; }
  std::unique_ptr<dev::Bell> WatchFd(int, std::function<void()>) override { return nullptr; }
  std::unique_ptr<dev::MessageFd> NewMessageFd(int) override { return nullptr; }

  std::vector<uint64_t> addresses() const {
    std::vector<uint64_t> out;
    for (const auto& [id, bell] : hanging) out.push_back(bell.first.address);
    return out;
  }

  std::map<unsigned, std::pair<dev::BellPlace, std::function<void()>>> hanging;
  unsigned hung = 0;
  bool none = false;

 private:
  struct Bell final : dev::Bell {
    Bell(FakeBells& o, unsigned i) : owner(o), id(i) {}
    ~Bell() override { owner.hanging.erase(id); }
    FakeBells& owner;
    const unsigned id;
  };
  unsigned next_ = 0;
};

class BellsTest : public testing::TestWithParam<Driver::Mode> {
 protected:
  static constexpr uint64_t kBase = 0xE0000000;
  static constexpr uint64_t kPort = 0xC000;

  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(4 << 20));
    function_ = NewVirtioPci(wiring_.At(4), memory_.get(),
                             NewBlk(memory_.get(), &disk_, &background_, {.queues = 3}),
                             {.bells = &bells_});
    function_->Reset();
    driver_ = std::make_unique<Driver>(function_.get(), memory_.get(), GetParam());
    Place(kBase, kPort);
  }
  void Place(uint64_t base, uint64_t port) {
    function_->WriteConfig(0x20, 4, static_cast<uint32_t>(base));
    function_->WriteConfig(0x24, 4, 0);
    function_->WriteConfig(0x10, 4, static_cast<uint32_t>(port));
  }
  void Start() {
    ASSERT_TRUE(driver_->Negotiate(0));
    for (uint16_t i = 0; i < 3; ++i) queues_[i] = driver_->SetUpQueue(i, 0x100000 + i * 0x10000u);
    EXPECT_TRUE(bells_.hanging.empty());
    driver_->Start();
  }
  std::vector<uint64_t> Wanted(uint64_t base = kBase, uint64_t port = kPort) const {
    if (GetParam() == Driver::kLegacy) return std::vector<uint64_t>(3, port + 0x10);
    return {base + 0x3000, base + 0x3004, base + 0x3008};
  }
  void AddRead(unsigned queue) {
    memory_->Store<uint64_t>(Gpa(0x1000), 0);
    memory_->Store<uint64_t>(Gpa(0x1008), 0);
    queues_[queue].Add(std::vector<Segment>{{0x1000, 16}, {0x2000, 512, true}, {0x3000, 1, true}});
  }

  std::unique_ptr<GuestMemory> memory_;
  block::MemoryDisk disk_{1 << 20};
  work::InlineBackground background_;
  pci::FakeWiring wiring_;
  FakeBells bells_;
  std::unique_ptr<pci::PciDevice> function_;
  std::unique_ptr<Driver> driver_;
  DriverQueue queues_[3];
};

INSTANTIATE_TEST_SUITE_P(Drivers, BellsTest, testing::Values(Driver::kModern, Driver::kLegacy),
                         [](const auto& i) {
                           return i.param == Driver::kModern ? "Modern" : "Legacy";
                         });

TEST_P(BellsTest, HangWhileADriverIsThere) {
  Start();
  EXPECT_EQ(bells_.addresses(), Wanted());
  uint16_t queue = 0;
  for (const auto& [id, bell] : bells_.hanging) {
    const dev::BellPlace& place = bell.first;
    if (GetParam() == Driver::kLegacy) {
      EXPECT_EQ(place, (dev::BellPlace{true, kPort + 0x10, 2, queue}));
    } else {
      EXPECT_EQ(place, (dev::BellPlace{false, kBase + 0x3000 + 4u * queue, 0, std::nullopt}));
    }
    ++queue;
  }
  driver_->SetStatus(0);
  EXPECT_TRUE(bells_.hanging.empty());
  Start();
  EXPECT_EQ(bells_.hanging.size(), 3u);
  function_->Reset();
  EXPECT_TRUE(bells_.hanging.empty());
}

TEST_P(BellsTest, RingForTheirQueue) {
  Start();
  for (unsigned i = 0; i < 3; ++i) {
    AddRead(i);
    std::next(bells_.hanging.begin(), i)->second.second();
    for (unsigned q = 0; q < 3; ++q) EXPECT_EQ(queues_[q].TakeUsed().has_value(), q == i);
  }
}

TEST_P(BellsTest, FollowTheirBar) {
  Start();
  Place(kBase + 0x10000, kPort + 0x100);
  EXPECT_EQ(bells_.addresses(), Wanted(kBase + 0x10000, kPort + 0x100));
  // What was rung for at the old place meanwhile is not lost.
  AddRead(1);
  Place(kBase, kPort);
  EXPECT_TRUE(queues_[1].TakeUsed().has_value());
  // Other registers move nothing, and what decodes nothing has none.
  const unsigned before = bells_.hung;
  function_->WriteConfig(0x3C, 1, 11);
  EXPECT_EQ(bells_.hung, before);
  function_->WriteConfig(pci::kCommand, 2, 4);
  EXPECT_TRUE(bells_.hanging.empty());
  function_->WriteConfig(pci::kCommand, 2, 7);
  EXPECT_EQ(bells_.addresses(), Wanted());
}

TEST_P(BellsTest, WithoutTheBusIsThere) {
  bells_.none = true;
  Start();
  AddRead(2);
  driver_->Kick(2);
  EXPECT_TRUE(queues_[2].TakeUsed().has_value());
}

}  // namespace
}  // namespace atl::virtio
