// SPDX-License-Identifier: Apache-2.0
#include "lib/work/worker_pool.h"

#include <atomic>
#include <thread>

#include "gtest/gtest.h"

namespace atl::work {
namespace {

TEST(WorkerPool, DoneRunsAfterItsWorkWithTheDeviceLocked) {
  WorkerPool pool(4);
  dev::DeviceLock lock;
  std::unique_ptr<Background> background = pool.NewBackground(&lock);
  int finished = 0;  // guarded by `lock` alone: TSan would see it otherwise
  for (int i = 0; i < 1000; ++i) {
    auto worked = std::make_shared<bool>(false);
    dev::DeviceLock::Scope hold(lock);
    background->Post([worked] { *worked = true; },
                     [worked, &finished] {
                       EXPECT_TRUE(*worked);
                       ++finished;
                     });
  }
  pool.WaitIdle();
  EXPECT_EQ(finished, 1000);
}

TEST(WorkerPool, WorkRunsWithoutTheDevicesLock) {
  WorkerPool pool(1);
  dev::DeviceLock lock;
  std::unique_ptr<Background> background = pool.NewBackground(&lock);
  std::atomic<bool> worked = false;
  dev::DeviceLock::Scope hold(lock);
  background->Post([&] { worked = true; }, nullptr);
  while (!worked) std::this_thread::yield();
}

TEST(WorkerPool, NoDoneRunsAfterCancel) {
  WorkerPool pool(4);
  dev::DeviceLock lock;
  std::unique_ptr<Background> background = pool.NewBackground(&lock);
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> worked = 0;
    bool cancelled = false;
    {
      dev::DeviceLock::Scope hold(lock);
      for (int i = 0; i < 8; ++i) {
        background->Post([&] { ++worked; }, [&] { EXPECT_FALSE(cancelled); });
      }
      background->Cancel();
      cancelled = true;
      EXPECT_EQ(worked, 8) << "Cancel() returned while work was left";
    }
    pool.WaitIdle();
  }
}

TEST(WorkerPool, CancelOfOneDeviceLeavesTheOthers) {
  WorkerPool pool(2);
  dev::DeviceLock lock_a;
  dev::DeviceLock lock_b;
  std::unique_ptr<Background> a = pool.NewBackground(&lock_a);
  std::unique_ptr<Background> b = pool.NewBackground(&lock_b);
  int done_b = 0;
  for (int i = 0; i < 100; ++i) {
    {
      dev::DeviceLock::Scope hold(lock_b);
      b->Post(nullptr, [&] { ++done_b; });
    }
    dev::DeviceLock::Scope hold(lock_a);
    a->Post(nullptr, nullptr);
    a->Cancel();
  }
  pool.WaitIdle();
  EXPECT_EQ(done_b, 100);
}

TEST(WorkerPool, DoneMayPostAgain) {
  WorkerPool pool(2);
  dev::DeviceLock lock;
  std::unique_ptr<Background> background = pool.NewBackground(&lock);
  int left = 50;
  std::function<void()> again = [&] {
    if (--left > 0) background->Post(nullptr, again);
  };
  {
    dev::DeviceLock::Scope hold(lock);
    background->Post(nullptr, again);
  }
  pool.WaitIdle();
  EXPECT_EQ(left, 0);
}

}  // namespace
}  // namespace atl::work
