// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/bus.h"

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/dev/state.h"
#include "lib/dev/testing/fakes.h"

namespace atl::dev {
namespace {

// Notes each access; byte i of a region reads as i.
class Recorder final : public Device {
 public:
  absl::string_view name() const override { return "recorder"; }
  void Reset() override {}
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override {
    log += absl::StrFormat("r%d:%d/%d ", region, offset, size);
    if (on_read) on_read();
    uint64_t v = 0;
    for (unsigned i = 0; i < size; ++i) v |= ((offset + i) & 0xFF) << (8 * i);
    return v;
  }
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override {
    log += absl::StrFormat("w%d:%d/%d=%x ", region, offset, size, value);
  }
  void VisitState(StateVisitor&) override {}

  std::string Take() { return std::exchange(log, ""); }
  std::string log;
  std::function<void()> on_read;
};

class BusTest : public testing::Test {
 protected:
  Bus bus_;
  DeviceLock lock_;
  Recorder device_;
};

TEST_F(BusTest, NothingReadsAllOnes) {
  EXPECT_EQ(bus_.Read(Space::kPort, 0x3F8, 1), 0xFFu);
  EXPECT_EQ(bus_.Read(Space::kPort, 0xFFFF, 4), 0xFFFFFFFFu);
  EXPECT_EQ(bus_.Read(Space::kMmio, ~uint64_t{0}, 8), ~uint64_t{0});
  bus_.Write(Space::kMmio, ~uint64_t{0} - 3, 8, 1);
}

TEST_F(BusTest, SplitsToMaxAccessAndAlignment) {
  ASSERT_OK(bus_.Map(Space::kPort, lock_, device_, 1, 0x100, 16, {.max_access = 2}).status());
  EXPECT_EQ(bus_.Read(Space::kPort, 0x104, 4), 0x07060504u);
  EXPECT_EQ(device_.Take(), "r1:4/2 r1:6/2 ");
  EXPECT_EQ(bus_.Read(Space::kPort, 0x101, 4), 0x04030201u);
  EXPECT_EQ(device_.Take(), "r1:1/1 r1:2/2 r1:4/1 ");
  bus_.Write(Space::kPort, 0x101, 4, 0xFF44332211);
  EXPECT_EQ(device_.Take(), "w1:1/1=11 w1:2/2=3322 w1:4/1=44 ");
}

TEST_F(BusTest, WidensToMinAccess) {
  ASSERT_OK(bus_.Map(Space::kMmio, lock_, device_, 0, 0x1000, 16, {.min_access = 4}).status());
  EXPECT_EQ(bus_.Read(Space::kMmio, 0x1006, 1), 6u);
  EXPECT_EQ(device_.Take(), "r0:4/4 ");
  bus_.Write(Space::kMmio, 0x1006, 2, 0xABCD);
  EXPECT_EQ(device_.Take(), "w0:4/4=abcd0000 ");
  EXPECT_EQ(bus_.Read(Space::kMmio, 0x1008, 8), 0x0F0E0D0C0B0A0908u);
  EXPECT_EQ(device_.Take(), "r0:8/4 r0:12/4 ");
}

TEST_F(BusTest, UnalignedWhereTheDeviceTakesIt) {
  ASSERT_OK(bus_.Map(Space::kPort, lock_, device_, 0, 0x1CE, 4, {.unaligned = true}).status());
  bus_.Read(Space::kPort, 0x1CF, 2);
  EXPECT_EQ(device_.Take(), "r0:1/2 ");
}

TEST_F(BusTest, HangsOverTheEnd) {
  ASSERT_OK(bus_.Map(Space::kPort, lock_, device_, 0, 0x60, 1).status());
  ASSERT_OK(bus_.Map(Space::kPort, lock_, device_, 1, 0x62, 1).status());
  EXPECT_EQ(bus_.Read(Space::kPort, 0x60, 4), 0xFF00FF00u);
  EXPECT_EQ(device_.Take(), "r0:0/1 r1:0/1 ");
}

TEST_F(BusTest, PriorityThenTheLaterWins) {
  ASSERT_OK(bus_.Map(Space::kPort, lock_, device_, 0, 0xCF8, 8, {}).status());
  ASSERT_OK(bus_.Map(Space::kPort, lock_, device_, 1, 0xCF9, 1, {.priority = 1}).status());
  ASSERT_OK(bus_.Map(Space::kPort, lock_, device_, 2, 0xCF8, 2).status());
  bus_.Read(Space::kPort, 0xCF9, 1);
  bus_.Read(Space::kPort, 0xCF8, 1);
  bus_.Read(Space::kPort, 0xCFC, 4);
  EXPECT_EQ(device_.Take(), "r1:0/1 r2:0/1 r0:4/4 ");

  ASSERT_OK(bus_.Map(Space::kMmio, lock_, device_, 3, 0x1000, 0x3000, {}).status());
  ASSERT_OK_AND_ASSIGN(unsigned top,
                       bus_.Map(Space::kMmio, lock_, device_, 4, 0x2000, 0x1000, {.priority = 1}));
  ASSERT_OK(bus_.Map(Space::kMmio, lock_, device_, 5, 0x2800, 0x1000).status());
  for (uint64_t a : {0x1FFF, 0x2000, 0x2FFF, 0x3000, 0x37FF, 0x3800, 0x3FFF, 0x4000})
    bus_.Read(Space::kMmio, a, 1);
  EXPECT_EQ(device_.Take(),
            "r3:4095/1 r4:0/1 r4:4095/1 r5:2048/1 r5:4095/1 r3:10240/1 r3:12287/1 ");
  bus_.Unmap(top);
  for (uint64_t a : {0x2000, 0x2800}) bus_.Read(Space::kMmio, a, 1);
  EXPECT_EQ(device_.Take(), "r3:4096/1 r5:0/1 ");
}

TEST_F(BusTest, MovesAndRefuses) {
  ASSERT_OK_AND_ASSIGN(unsigned id, bus_.Add(Space::kPort, lock_, device_, 0, 8));
  EXPECT_OK(bus_.Move(id, 0xC000));
  bus_.Read(Space::kPort, 0xC007, 1);
  EXPECT_OK(bus_.Move(id, 0xC004));
  bus_.Read(Space::kPort, 0xC003, 1);
  bus_.Read(Space::kPort, 0xC007, 1);
  EXPECT_EQ(device_.Take(), "r0:7/1 r0:3/1 ");
  EXPECT_EQ(bus_.Show(Space::kPort), "0xc004-0xc00b recorder\n");
  EXPECT_THAT(bus_.Move(id, 0xFFF9), StatusIs(absl::StatusCode::kOutOfRange, "recorder: region 0"));
  EXPECT_EQ(bus_.Read(Space::kPort, 0xC007, 1), 0xFFu);
  EXPECT_THAT(bus_.Add(Space::kPort, lock_, device_, 0, 0).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "recorder"));
}

TEST_F(BusTest, TooManyMmioRangesIsAnError) {
  unsigned id = 0;
  for (unsigned i = 0; i <= Bus::kMaxMmioRanges; ++i) {
    ASSERT_OK_AND_ASSIGN(id, bus_.Add(Space::kMmio, lock_, device_, 0, 0x1000));
    absl::Status moved = bus_.Move(id, i * 0x2000);
    EXPECT_EQ(moved.ok(), i < Bus::kMaxMmioRanges) << moved;
  }
  bus_.Read(Space::kMmio, 0x2000, 1);
  EXPECT_EQ(device_.Take(), "r0:0/1 ");
}

// A device that is made to access itself gets all ones, not a deadlock.
TEST_F(BusTest, ReentryIsRefused) {
  ASSERT_OK(bus_.Map(Space::kMmio, lock_, device_, 0, 0x1000, 16).status());
  uint64_t inner = 0;
  device_.on_read = [&] {
    bus_.Write(Space::kMmio, 0x1000, 4, 1);
    inner = bus_.Read(Space::kMmio, 0x1000, 4);
  };
  EXPECT_EQ(bus_.Read(Space::kMmio, 0x1004, 4), 0x07060504u);
  EXPECT_EQ(inner, 0xFFFFFFFFu);
  EXPECT_EQ(device_.Take(), "r0:4/4 ");
}

TEST_F(BusTest, MovingWhileOthersAccess) {
  Recorder quiet;
  DeviceLock quiet_lock;
  ASSERT_OK_AND_ASSIGN(unsigned moving, bus_.Add(Space::kMmio, lock_, device_, 0, 0x1000));
  ASSERT_OK(bus_.Map(Space::kMmio, quiet_lock, quiet, 0, 0x9000, 0x1000).status());
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t) {
    readers.emplace_back([&] {
      while (!stop) {
        uint64_t v = bus_.Read(Space::kMmio, 0x5010, 1);
        EXPECT_TRUE(v == 0x10 || v == 0xFF) << v;
        EXPECT_EQ(bus_.Read(Space::kMmio, 0x9020, 1), 0x20u);
        quiet_lock.Run([&] { quiet.log.clear(); });
        lock_.Run([&] { device_.log.clear(); });
      }
    });
  }
  for (int i = 0; i < 2000; ++i) EXPECT_OK(bus_.Move(moving, i % 2 ? 0x5000 : 0x7000));
  stop = true;
  for (std::thread& t : readers) t.join();
}

TEST(DeviceLock, TimersFireUnderTheLockAndNotAfterDisarm) {
  ManualClock clock;
  DeviceLock lock(&clock);
  int fired = 0;
  bool held = false;
  std::unique_ptr<Timer> timer = lock.clock().NewTimer([&] {
    ++fired;
    held = lock.HeldByThisThread();
  });
  lock.Run([&] { timer->Arm(100); });
  clock.Advance(99);
  EXPECT_EQ(fired, 0);
  clock.Advance(1);
  EXPECT_EQ(fired, 1);
  EXPECT_TRUE(held);
  EXPECT_FALSE(lock.HeldByThisThread());
  lock.Run([&] { timer->Arm(200); });
  lock.Run([&] { timer->Disarm(); });
  clock.Advance(200);
  EXPECT_EQ(fired, 1);
  lock.Run([&] { timer->Arm(0); });  // past deadlines fire at once
  clock.Advance(0);
  EXPECT_EQ(fired, 2);
}

}  // namespace
}  // namespace atl::dev
