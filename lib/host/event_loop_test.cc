// SPDX-License-Identifier: Apache-2.0
#include "lib/host/event_loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/host/event.h"

namespace atl::host {
namespace {

constexpr uint64_t kMs = 1'000'000;

class EventLoopTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_OK_AND_ASSIGN(loop_, EventLoop::Create()); }
  // The last resort of a test whose loop would not end.
  void QuitAfter(uint64_t ns) {
    guard_ = loop_->NewTimer([this] {
      timed_out_ = true;
      loop_->Quit();
    });
    guard_->Arm(MonotonicNs() + ns);
  }

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<LoopTimer> guard_;
  bool timed_out_ = false;
};

TEST_F(EventLoopTest, RunsPostedWorkInOrderAndBeforeQuit) {
  std::vector<int> seen;
  for (int i = 0; i < 5; ++i) loop_->Post([&seen, i] { seen.push_back(i); });
  loop_->Quit();
  loop_->Run();
  EXPECT_THAT(seen, testing::ElementsAre(0, 1, 2, 3, 4));
}

TEST_F(EventLoopTest, TakesWorkOfManyThreads) {
  constexpr int kThreads = 4, kEach = 2000;
  int sum = 0;  // touched on the loop thread alone
  std::atomic<int> left = kThreads;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) loop_->Post([&sum] { ++sum; });
      if (--left == 0) loop_->Quit();
    });
  }
  loop_->Run();
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(sum, kThreads * kEach);
}

TEST_F(EventLoopTest, TimersFireInTheOrderOfDeadlinesAndNotEarly) {
  const uint64_t start = MonotonicNs();
  std::vector<int> seen;
  uint64_t fired_at = 0;
  auto late = loop_->NewTimer([&] {
    seen.push_back(2);
    fired_at = MonotonicNs();
    loop_->Quit();
  });
  auto early = loop_->NewTimer([&] { seen.push_back(1); });
  auto past = loop_->NewTimer([&] { seen.push_back(0); });
  late->Arm(start + 8 * kMs);
  early->Arm(start + 4 * kMs);
  past->Arm(0);
  loop_->Run();
  EXPECT_THAT(seen, testing::ElementsAre(0, 1, 2));
  EXPECT_GE(fired_at, start + 8 * kMs);
}

TEST_F(EventLoopTest, DisarmedAndRearmedTimers) {
  int fired = 0, never = 0;
  auto moved = loop_->NewTimer([&] {
    ++fired;
    loop_->Quit();
  });
  auto disarmed = loop_->NewTimer([&] { ++never; });
  moved->Arm(MonotonicNs() + 1);
  moved->Arm(MonotonicNs() + 3 * kMs);  // replaces the first
  disarmed->Arm(MonotonicNs() + kMs);
  disarmed->Disarm();
  disarmed->Disarm();
  {
    auto destroyed = loop_->NewTimer([&] { ++never; });
    destroyed->Arm(MonotonicNs() + kMs);
  }
  QuitAfter(5'000 * kMs);
  loop_->Run();
  EXPECT_FALSE(timed_out_);
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(never, 0);
}

TEST_F(EventLoopTest, ATimerThatIsAlwaysDueDoesNotStarveTheRest) {
  std::unique_ptr<LoopTimer> greedy;
  uint64_t rounds = 0;
  greedy = loop_->NewTimer([&] {
    ++rounds;
    greedy->Arm(0);
  });
  greedy->Arm(0);
  ASSERT_OK_AND_ASSIGN(Event event, Event::Create());
  ASSERT_OK_AND_ASSIGN(auto watch,
                       loop_->Watch(event.fd(), EPOLLIN, [&](uint32_t) { loop_->Quit(); }));
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    event.Signal();
  });
  loop_->Run();
  later.join();
  EXPECT_GT(rounds, 0u);
}

// A deadline that falls while another thread disarms, under the lock that the
// callback takes: after Disarm() the callback must not run.
TEST_F(EventLoopTest, DisarmUnderTheLockIsFinal) {
  Mutex mu;
  bool armed = false;  // under mu
  int wrong = 0;       // under mu
  std::atomic<bool> stop = false;
  auto timer = loop_->NewTimer(
      [&] {
        if (!armed) ++wrong;
        armed = false;
      },
      &mu);
  std::thread runner([&] { loop_->Run(); });
  std::thread vcpu([&] {
    for (int i = 0; i < 3000; ++i) {
      mu.Lock();
      armed = true;
      timer->Arm(MonotonicNs() + 1000);
      mu.Unlock();
      if (i % 3 == 0) std::this_thread::yield();
      mu.Lock();
      timer->Disarm();
      armed = false;
      mu.Unlock();
    }
    stop = true;
    loop_->Quit();
  });
  vcpu.join();
  runner.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(EventLoopTest, ArmingFromAnotherThreadWakesTheLoop) {
  int fired = 0;
  auto far = loop_->NewTimer([] {});
  far->Arm(MonotonicNs() + 3'600'000 * kMs);
  auto timer = loop_->NewTimer([&] {
    ++fired;
    loop_->Quit();
  });
  std::thread other([&] { timer->Arm(MonotonicNs() + 2 * kMs); });
  QuitAfter(5'000 * kMs);
  loop_->Run();
  other.join();
  EXPECT_FALSE(timed_out_);
  EXPECT_EQ(fired, 1);
}

TEST_F(EventLoopTest, WatchesPauseAndResume) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  UniqueFd in(fds[0]), out(fds[1]);
  int calls = 0;
  std::unique_ptr<FdWatch> watch;
  ASSERT_OK_AND_ASSIGN(watch, loop_->Watch(in.get(), EPOLLIN, [&](uint32_t events) {
    EXPECT_TRUE(events & EPOLLIN);
    // Nothing is read, so it stays ready; paused it must not call.
    ++calls;
    watch->SetEvents(0);
    loop_->Post([&] { loop_->Post([&] { loop_->Quit(); }); });
  }));
  ASSERT_EQ(write(out.get(), "x", 1), 1);
  loop_->Run();
  EXPECT_EQ(calls, 1);
  watch->SetEvents(EPOLLIN);
  loop_->Run();
  EXPECT_EQ(calls, 2);
}

// Two descriptors are ready in one round; whichever comes first ends both.
TEST_F(EventLoopTest, AWatchMayDieInTheRoundThatWouldCallIt) {
  ASSERT_OK_AND_ASSIGN(Event a, Event::Create());
  ASSERT_OK_AND_ASSIGN(Event b, Event::Create());
  a.Signal();
  b.Signal();
  int calls = 0;
  std::unique_ptr<FdWatch> watches[2];
  auto end_both = [&](uint32_t) {
    ++calls;
    watches[0].reset();
    watches[1].reset();
    loop_->Quit();
  };
  ASSERT_OK_AND_ASSIGN(watches[0], loop_->Watch(a.fd(), EPOLLIN, end_both));
  ASSERT_OK_AND_ASSIGN(watches[1], loop_->Watch(b.fd(), EPOLLIN, end_both));
  loop_->Run();
  EXPECT_EQ(calls, 1);
}

TEST_F(EventLoopTest, AQuitIsNotLostInThePostThatIsReadAfterIt) {
  // Ready in this order: the callback quits, then the wake-up for the Post(),
  // in the same round, is read, and with it the one for the Quit().
  QuitAfter(5'000 * kMs);
  ASSERT_OK_AND_ASSIGN(Event event, Event::Create());
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<FdWatch> watch,
                       loop_->Watch(event.fd(), EPOLLIN, [&](uint32_t) {
                         event.Clear();
                         loop_->Quit();
                       }));
  event.Signal();
  loop_->Post([] {});
  loop_->Run();
  EXPECT_FALSE(timed_out_);
}

TEST_F(EventLoopTest, ATimerMayDestroyItself) {
  std::unique_ptr<LoopTimer> timer;
  std::vector<int> kept(1000, 7);
  int sum = 0;
  timer = loop_->NewTimer([&, kept] {
    timer.reset();
    for (int k : kept) sum += k;
    loop_->Quit();
  });
  timer->Arm(0);
  loop_->Run();
  EXPECT_EQ(sum, 7000);
}

TEST_F(EventLoopTest, KnowsItsThread) {
  EXPECT_FALSE(loop_->InLoop());
  bool inside = false;
  loop_->Post([&] { inside = loop_->InLoop(); });
  loop_->Quit();
  loop_->Run();
  EXPECT_TRUE(inside);
  EXPECT_FALSE(loop_->InLoop());
}

TEST_F(EventLoopTest, RefusesWhatCannotBeWaitedFor) {
  EXPECT_FALSE(loop_->Watch(-1, EPOLLIN, [](uint32_t) {}).ok());
}

}  // namespace
}  // namespace atl::host
