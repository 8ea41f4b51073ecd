// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/bells.h"

#include <unistd.h>

#include <atomic>
#include <map>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace atl::vm {
namespace {

// A VM that hands out what is to be written to.
class FakeEventFds final : public cpu::EventFds {
 public:
  absl::Status AddDoorbell(const cpu::Doorbell& at, int fd) override {
    if (!bells.emplace(at.address, fd).second) return absl::AlreadyExistsError("taken");
    return absl::OkStatus();
  }
  void RemoveDoorbell(const cpu::Doorbell& at, int) override { bells.erase(at.address); }
  absl::StatusOr<std::unique_ptr<cpu::InterruptFd>> NewInterrupt(int) override {
    return absl::ResourceExhaustedError("none");
  }
  void Write(uint64_t address) {
    const uint64_t one = 1;
    EXPECT_EQ(write(bells.at(address), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  std::map<uint64_t, int> bells;
};

class BellsTest : public testing::Test {
 protected:
  void SetUp() override { fds_.Use(&vm_); }
  std::unique_ptr<dev::Bell> Hang(uint64_t at) {
    dev::DeviceLock::Scope scope(lock_);
    return bells_->Hang({.address = at}, [this] {
      EXPECT_TRUE(lock_.HeldByThisThread());
      ringer_ = std::this_thread::get_id();
      ++rung_;
    });
  }
  void WaitFor(unsigned count) {
    while (rung_ < count) std::this_thread::yield();
  }

  FakeEventFds vm_;
  VmEventFds fds_;
  dev::DeviceLock lock_;
  IoThread thread_{"test"};
  std::unique_ptr<dev::Bells> bells_ = NewBells(fds_, thread_, lock_);
  std::atomic<unsigned> rung_ = 0;
  std::thread::id ringer_;
};

TEST_F(BellsTest, RingOnAThreadOfTheirOwnWithTheLock) {
  const std::unique_ptr<dev::Bell> bell = Hang(0x1000);
  ASSERT_NE(bell, nullptr);
  for (unsigned i = 1; i <= 100; ++i) {
    vm_.Write(0x1000);
    WaitFor(i);
  }
  dev::DeviceLock::Scope scope(lock_);
  EXPECT_NE(ringer_, std::this_thread::get_id());
}

TEST_F(BellsTest, AreSilentOnceTheyAreGone) {
  // Held, so that nothing is heard before the bell goes.
  for (unsigned i = 0; i < 100; ++i) {
    std::unique_ptr<dev::Bell> bell = Hang(0x1000);
    dev::DeviceLock::Scope scope(lock_);
    const unsigned before = rung_;
    vm_.Write(0x1000);
    std::this_thread::yield();
    bell.reset();
    EXPECT_TRUE(vm_.bells.empty());
    EXPECT_EQ(rung_, before);
  }
  const unsigned before = rung_;
  const std::unique_ptr<dev::Bell> other = Hang(0x2000);
  vm_.Write(0x2000);
  WaitFor(before + 1);
  EXPECT_EQ(rung_, before + 1);
}

TEST_F(BellsTest, CannotBeHadWhereOneHangsOrTheVmHasNone) {
  const std::unique_ptr<dev::Bell> bell = Hang(0x1000);
  EXPECT_EQ(Hang(0x1000), nullptr);
  EXPECT_EQ(bells_->NewMessageFd(1), nullptr);
  VmEventFds none;
  const std::unique_ptr<dev::Bells> others = NewBells(none, thread_, lock_);
  EXPECT_EQ(others->Hang({.address = 0x3000}, [] {}), nullptr);
  EXPECT_EQ(others->HangFd({.address = 0x3000}, 1), nullptr);
  EXPECT_EQ(others->NewMessageFd(1), nullptr);
}

}  // namespace
}  // namespace atl::vm
