// SPDX-License-Identifier: Apache-2.0
// The block device with a ring: what goes by it, what does not, and what happens to what
// is under way.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/base/unique_fd.h"
#include "lib/block/disk.h"
#include "lib/dev/bells.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/blk.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/background.h"
#include "lib/work/ring.h"

namespace atl::virtio {
namespace {

enum : uint32_t { kIn = 0, kOut = 1, kFlush = 4 };

// A file's first half lies at its offset plus 4096, the other half nowhere.
class PlacedDisk final : public block::Disk {
 public:
  static constexpr uint64_t kBytes = 1 << 16, kShift = 4096;
  PlacedDisk() : file_(memfd_create("disk", MFD_CLOEXEC)) {
    for (uint64_t i = 0; i < kBytes; i += 512) {
      const std::vector<uint8_t> sector(512, static_cast<uint8_t>(i / 512));
      EXPECT_EQ(pwrite(file_.get(), sector.data(), 512, static_cast<off_t>(i + kShift)), 512);
    }
  }
  uint64_t size() const override { return kBytes; }
  bool read_only() const override { return false; }
  std::string name() const override { return "placed"; }
  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override {
    ++calls;
    if (fails) return absl::DataLossError("placed: bad sector");
    EXPECT_EQ(pread(file_.get(), to.data(), to.size(), static_cast<off_t>(offset + kShift)),
              static_cast<ssize_t>(to.size()));
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t offset, std::span<const uint8_t> from) override {
    ++calls;
    EXPECT_EQ(pwrite(file_.get(), from.data(), from.size(), static_cast<off_t>(offset + kShift)),
              static_cast<ssize_t>(from.size()));
    return absl::OkStatus();
  }
  absl::Status Flush() override {
    ++calls;
    return absl::OkStatus();
  }
  absl::Status WriteZeroes(uint64_t, uint64_t, bool) override { return absl::OkStatus(); }
  absl::Status Discard(uint64_t, uint64_t) override { return absl::OkStatus(); }
  std::optional<Place> PlaceOf(uint64_t offset, uint64_t length, bool) override {
    if (offset + length > kBytes / 2) return std::nullopt;
    ++placed;
    return Place{bad_fd ? -1 : file_.get(), offset + kShift,
                 std::shared_ptr<const void>(this, [this](const void*) { ++let_go; })};
  }
  uint8_t At(uint64_t offset) {
    uint8_t byte = 0xEE;
    EXPECT_EQ(pread(file_.get(), &byte, 1, static_cast<off_t>(offset + kShift)), 1);
    return byte;
  }

  unsigned calls = 0, placed = 0, let_go = 0;
  bool fails = false, bad_fd = false;

 private:
  const UniqueFd file_;
};

class FakeBells final : public dev::Bells {
 public:
  std::unique_ptr<dev::Bell> Hang(const dev::BellPlace&, std::function<void()>) override {
    return nullptr;
  }
  std::unique_ptr<dev::Bell> HangFd(const dev::BellPlace&, int) override { return nullptr; }
  std::unique_ptr<dev::MessageFd> NewMessageFd(int) override { return nullptr; }
  std::unique_ptr<dev::Bell> WatchFd(int fd, std::function<void()> ready) override {
    if (none) return nullptr;
    watched = fd;
    on_ready = std::move(ready);
    return std::make_unique<Bell>(*this);
  }
  int watched = -1;
  std::function<void()> on_ready;
  bool none = false;

 private:
  struct Bell final : dev::Bell {
    explicit Bell(FakeBells& o) : owner(o) {}
    ~Bell() override { owner.watched = -1; }
    FakeBells& owner;
  };
};

class BlkRing : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(4 << 20));
    ring_ = work::Ring::Create(4);
    ASSERT_NE(ring_, nullptr);
    Make();
  }
  void Make() {
    BlkOptions options;
    options.ring = ring_.get();
    options.bells = &bells_;
    options.on_error = [this](const absl::Status& s) { errors_.push_back(s.ToString()); };
    function_ = NewVirtioPci(wiring_.At(4), memory_.get(),
                             NewBlk(memory_.get(), &disk_, &background_, std::move(options)));
    function_->Reset();
    driver_ = std::make_unique<Driver>(function_.get(), memory_.get(), Driver::kModern);
    Start();
  }
  void Start() {
    // Write-back, without event indices.
    ASSERT_TRUE(driver_->Negotiate(1 << 9));
    queue_ = driver_->SetUpQueue(0, 0x100000);
    driver_->Start();
  }
  // Laid from descriptor 3 * i on, its data at Data(i), in two pieces.
  void Lay(unsigned i, uint32_t type, uint64_t sector, uint32_t bytes = 1024) {
    const uint64_t header = 0x1000 + 32 * i;
    memory_->Store<uint32_t>(Gpa(header), type);
    memory_->Store<uint64_t>(Gpa(header + 8), sector);
    memory_->Store<uint8_t>(Gpa(header + 16), 0xEE);
    queue_.Add(std::vector<Segment>{{header, 16},
                                    {Data(i), bytes / 2, type == kIn},
                                    {Data(i) + 0x1000, bytes / 2, type == kIn},
                                    {header + 16, 1, true}},
               static_cast<uint16_t>(4 * i));
  }
  uint8_t Status(unsigned i) { return *memory_->Load<uint8_t>(Gpa(0x1000 + 32 * i + 16)); }
  static uint64_t Data(unsigned i) { return 0x200000 + 0x4000 * i; }
  uint8_t Byte(uint64_t at) { return *memory_->Load<uint8_t>(Gpa(at)); }
  void Finish(unsigned requests) {
    for (unsigned used = 0; used < requests;) {
      while (queue_.TakeUsed().has_value()) ++used;
      if (used == requests) break;
      pollfd p{ring_->fd(), POLLIN, 0};
      ASSERT_EQ(poll(&p, 1, 10000), 1);
      bells_.on_ready();
    }
    EXPECT_EQ(disk_.placed, disk_.let_go);
  }

  std::unique_ptr<GuestMemory> memory_;
  PlacedDisk disk_;
  FakeBells bells_;
  work::InlineBackground background_;
  pci::FakeWiring wiring_;
  std::unique_ptr<work::Ring> ring_;
  std::unique_ptr<pci::PciDevice> function_;
  std::unique_ptr<Driver> driver_;
  DriverQueue queue_;
  std::vector<std::string> errors_;
};

TEST_F(BlkRing, ReadsAndWritesWhatHasAPlace) {
  Lay(0, kIn, 5);
  memory_->Fill(Gpa(Data(1)), 0xA1, 512);
  memory_->Fill(Gpa(Data(1) + 0x1000), 0xA2, 512);
  Lay(1, kOut, 10);
  driver_->Kick(0);
  Finish(2);
  EXPECT_EQ(Status(0), 0);
  EXPECT_EQ(Status(1), 0);
  EXPECT_EQ(Byte(Data(0)), 5);
  EXPECT_EQ(Byte(Data(0) + 0x1000 + 511), 6);
  EXPECT_EQ(disk_.At(10 * 512), 0xA1);
  EXPECT_EQ(disk_.At(12 * 512 - 1), 0xA2);
  EXPECT_EQ(disk_.calls, 0u);
}

TEST_F(BlkRing, TheRestGoesByTheDisk) {
  Lay(0, kIn, PlacedDisk::kBytes / 512 - 2);
  Lay(1, kFlush, 0);
  driver_->Kick(0);
  Finish(2);
  EXPECT_EQ(Status(0), 0);
  EXPECT_EQ(Byte(Data(0)), PlacedDisk::kBytes / 512 - 2);
  EXPECT_EQ(disk_.placed, 0u);
  EXPECT_EQ(disk_.calls, 2u);
}

TEST_F(BlkRing, MoreThanTheRingHoldsIsDoneToo) {
  for (unsigned i = 0; i < 30; ++i) Lay(i, kIn, i);
  driver_->Kick(0);
  Finish(30);
  for (unsigned i = 0; i < 30; ++i) {
    EXPECT_EQ(Status(i), 0);
    EXPECT_EQ(Byte(Data(i) + 511), i);
  }
}

TEST_F(BlkRing, WhatFailsIsTriedByTheDiskWhichSaysWhy) {
  disk_.bad_fd = true;
  Lay(0, kIn, 7);
  driver_->Kick(0);
  Finish(1);
  EXPECT_EQ(Status(0), 0);
  EXPECT_EQ(Byte(Data(0)), 7);
  EXPECT_NE(disk_.calls, 0u);
  disk_.fails = true;
  Lay(0, kIn, 7);
  driver_->Kick(0);
  Finish(1);
  EXPECT_EQ(Status(0), 1);
  ASSERT_EQ(errors_.size(), 1u);
  EXPECT_NE(errors_[0].find("bad sector"), std::string::npos);
}

TEST_F(BlkRing, AResetWaitsForWhatIsUnderWayAndForgetsIt) {
  for (unsigned i = 0; i < 4; ++i) Lay(i, kOut, i);
  driver_->Kick(0);
  driver_->SetStatus(0);
  EXPECT_EQ(ring_->under_way(), 0u);
  EXPECT_EQ(disk_.placed, disk_.let_go);
  EXPECT_EQ(bells_.watched, -1);
  Start();
  EXPECT_EQ(bells_.watched, ring_->fd());
  Lay(0, kIn, 9);
  driver_->Kick(0);
  Finish(1);
  EXPECT_EQ(Byte(Data(0)), 9);
}

TEST_F(BlkRing, WithNobodyToWaitForItThereIsNone) {
  bells_.none = true;
  Make();
  Lay(0, kIn, 5);
  driver_->Kick(0);
  EXPECT_TRUE(queue_.TakeUsed().has_value());
  EXPECT_EQ(Byte(Data(0)), 5);
  EXPECT_EQ(disk_.placed, 0u);
}

}  // namespace
}  // namespace atl::virtio
