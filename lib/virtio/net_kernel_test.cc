// SPDX-License-Identifier: Apache-2.0
// The network device while a kernel serves its queues: what that is given, whose the
// interrupts are, and how the queues come back.
#include <unistd.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/dev/bells.h"
#include "lib/mem/guest_memory.h"
#include "lib/net/testing/fake_port.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/net.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/background.h"

namespace atl::virtio {
namespace {

constexpr uint64_t kMerge = 1 << 15;

class FakePath final : public net::KernelPath {
 public:
  uint64_t features() override { return known; }
  absl::Status Serve(uint64_t f, std::span<const Region> memory,
                     const std::array<Queue, 2>& q) override {
    if (fails) return absl::InternalError("no");
    serves = true;
    given = f;
    regions.assign(memory.begin(), memory.end());
    queues = q;
    return absl::OkStatus();
  }
  absl::Status SetMemory(std::span<const Region> memory) override {
    regions.assign(memory.begin(), memory.end());
    return absl::OkStatus();
  }
  std::array<uint16_t, 2> Stop() override {
    serves = false;
    return {3, 7};
  }
  uint64_t known = kMerge | 1u << 28 | 1u << 29 | uint64_t{1} << 32, given = 0;
  bool fails = false, serves = false;
  std::vector<Region> regions;
  std::array<Queue, 2> queues{};
};

class KernelPort final : public net::FakePort {
 public:
  net::KernelPath* kernel_path() override { return path; }
  net::KernelPath* path = nullptr;
};

// Of two queues: who hears of each eventfd, and what it sends.
class FakeBells final : public dev::Bells {
 public:
  struct Sends {
    uint32_t data = 0;  // 0: holds
  };
  std::unique_ptr<dev::Bell> Hang(const dev::BellPlace&, std::function<void()>) override {
    ADD_FAILURE() << "not this queue's";
    return nullptr;
  }
  std::unique_ptr<dev::Bell> HangFd(const dev::BellPlace&, int fd) override {
    hung.push_back(fd);
    return std::make_unique<dev::Bell>();
  }
  std::unique_ptr<dev::Bell> WatchFd(int fd, std::function<void()> ready) override {
    if (none) return nullptr;
    heard[fd] = std::move(ready);
    return std::make_unique<Heard>(*this, fd);
  }
  std::unique_ptr<dev::MessageFd> NewMessageFd(int fd) override {
    if (none) return nullptr;
    return std::make_unique<Message>(sends[fd]);
  }
  std::vector<int> hung;
  std::map<int, std::function<void()>> heard;
  std::map<int, Sends> sends;
  bool none = false;

 private:
  struct Heard final : dev::Bell {
    Heard(FakeBells& o, int f) : owner(o), fd(f) {}
    ~Heard() override { owner.heard.erase(fd); }
    FakeBells& owner;
    const int fd;
  };
  struct Message final : dev::MessageFd {
    explicit Message(Sends& s) : to(s) {}
    ~Message() override { to.data = 0; }
    bool Send(uint64_t, uint32_t data) override {
      to.data = data;
      return true;
    }
    void Hold() override { to.data = 0; }
    Sends& to;
  };
};

class NetKernel : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(4 << 20));
    port_.path = &path_;
    function_ = NewVirtioPci(wiring_.At(4), memory_.get(),
                             NewNet(memory_.get(), &port_, &background_, {.delegates = true}),
                             {.bells = &bells_, .bells_of_delegated_only = true});
    function_->Reset();
    driver_ = std::make_unique<Driver>(function_.get(), memory_.get(), Driver::kModern);
    function_->WriteConfig(0x20, 4, 0xE0000000);
  }
  void Start(bool msix) {
    if (msix) driver_->EnableMsix(4);
    ASSERT_TRUE(driver_->Negotiate(kMerge | 1u << 28 | 1u << 29));
    for (uint16_t i = 0; i < 3; ++i) {
      queues_[i] = driver_->SetUpQueue(i, 0x100000 + i * 0x10000u);
      if (msix) driver_->SetQueueVector(i, i);
    }
    driver_->Start();
  }
  void Write(int fd) {
    const uint64_t one = 1;
    EXPECT_EQ(write(fd, &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  bool Readable(int fd) {
    uint64_t count;
    return read(fd, &count, sizeof count) == static_cast<ssize_t>(sizeof count);
  }
  void MaskVector(unsigned vector, bool masked) {
    function_->Write(kMsixBar, 16 * vector + 12, 4, masked);
  }

  std::unique_ptr<GuestMemory> memory_;
  FakePath path_;
  KernelPort port_;
  FakeBells bells_;
  work::InlineBackground background_;
  pci::FakeWiring wiring_;
  std::unique_ptr<pci::PciDevice> function_;
  std::unique_ptr<Driver> driver_;
  DriverQueue queues_[3];
};

TEST_F(NetKernel, IsGivenQueuesAndMemory) {
  Start(true);
  ASSERT_TRUE(path_.serves);
  EXPECT_EQ(path_.given, path_.known);
  ASSERT_EQ(path_.regions.size(), memory_->slots().size());
  EXPECT_EQ(path_.regions[0].host, memory_->ram_host());
  for (unsigned i = 0; i < 2; ++i) {
    const net::KernelPath::Queue& q = path_.queues[i];
    EXPECT_EQ(q.size, queues_[i].size);
    EXPECT_EQ(q.descriptors, memory_->ram_host() + queues_[i].descriptors);
    EXPECT_EQ(q.driver_ring, memory_->ram_host() + queues_[i].driver_ring);
    EXPECT_EQ(q.device_ring, memory_->ram_host() + queues_[i].device_ring);
    // Rung once for what stood there before, by doorbells of its own and by the bus.
    EXPECT_TRUE(Readable(q.kick));
    EXPECT_FALSE(Readable(q.kick));
    driver_->Kick(static_cast<uint16_t>(i));
    EXPECT_TRUE(Readable(q.kick));
  }
  EXPECT_EQ(bells_.hung, (std::vector<int>{path_.queues[0].kick, path_.queues[1].kick}));
  EXPECT_TRUE(port_.Deliver(std::vector<uint8_t>(60)));
  EXPECT_FALSE(queues_[0].TakeUsed().has_value());
  // Memory that changes places is told of.
  memory_->SetSlot(Gpa(0xA0000), 0x20000, nullptr, SlotKind::kRam);
  EXPECT_EQ(path_.regions.size(), 2u);
}

TEST_F(NetKernel, InterruptsGoStraightAndWhereTheyAreMaskedThroughTheFunction) {
  Start(true);
  const int call = path_.queues[1].call;
  EXPECT_EQ(bells_.sends[call].data, 0x41u);
  EXPECT_EQ(bells_.heard.count(call), 0u);
  MaskVector(1, true);
  EXPECT_EQ(bells_.sends[call].data, 0u);
  ASSERT_EQ(bells_.heard.count(call), 1u);
  wiring_.msi.TakeSent();
  Write(call);
  bells_.heard[call]();
  EXPECT_TRUE(wiring_.msi.TakeSent().empty());
  EXPECT_EQ(function_->Read(kMsixBar, 0x800, 8), 2u) << "pending";
  function_->Write(kMsixBar, 16 + 8, 4, 0x77);
  MaskVector(1, false);
  EXPECT_EQ(wiring_.msi.TakeSent().size(), 1u);
  EXPECT_EQ(bells_.sends[call].data, 0x77u);
  // A vector of another's, and none.
  driver_->SetQueueVector(1, 0);
  EXPECT_EQ(bells_.sends[call].data, 0x40u);
  driver_->SetQueueVector(1, 0xFFFF);
  EXPECT_EQ(bells_.sends[call].data, 0u);
}

TEST_F(NetKernel, WithoutMsixThePinIsDriven) {
  Start(false);
  ASSERT_TRUE(path_.serves);
  Write(path_.queues[0].call);
  bells_.heard[path_.queues[0].call]();
  EXPECT_TRUE(wiring_.intx.level);
  EXPECT_EQ(driver_->ReadIsr(), 1u);
}

TEST_F(NetKernel, AResetTakesTheQueuesBack) {
  Start(true);
  driver_->SetStatus(0);
  EXPECT_FALSE(path_.serves);
  EXPECT_TRUE(bells_.heard.empty());
  for (const auto& [fd, sends] : bells_.sends) EXPECT_EQ(sends.data, 0u);
  Start(true);
  EXPECT_TRUE(path_.serves);
  EXPECT_EQ(path_.queues[0].next, 0u);
  function_.reset();
  EXPECT_FALSE(path_.serves);
}

TEST_F(NetKernel, WhereItCannotBeTheCardDoesIt) {
  const auto receives = [this] {
    Start(true);
    EXPECT_FALSE(path_.serves);
    EXPECT_TRUE(bells_.hung.empty());
    queues_[0].Add(std::vector<Segment>{{0x2000, 2048, true}});
    driver_->Kick(0);
    std::vector<uint8_t> frame(60, 0xFF);
    EXPECT_TRUE(port_.Deliver(frame));
    return queues_[0].TakeUsed().has_value();
  };
  path_.fails = true;
  EXPECT_TRUE(receives());
  path_.fails = false;
  path_.known = kMerge;
  EXPECT_TRUE(receives());
  path_.known = ~uint64_t{0};
  bells_.none = true;
  EXPECT_TRUE(receives());
  port_.path = nullptr;
  EXPECT_TRUE(receives());
}

}  // namespace
}  // namespace atl::virtio
