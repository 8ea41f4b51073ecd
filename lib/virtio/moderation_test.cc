// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/moderation.h"

#include "gtest/gtest.h"
#include "lib/dev/testing/fakes.h"

namespace atl::virtio {
namespace {

constexpr uint64_t kUs = 1000;
constexpr uint64_t kAnswerNs = 100 * kUs;
constexpr uint64_t kFrame = 98;

class Moderation : public testing::Test {
 protected:
  // A frame leaves; the driver had looked at earlier ones where it `looks`.
  bool Send(unsigned frames = 1, uint64_t bytes = kFrame) {
    m.Settle();
    wanted = true;
    return m.Wait(frames, bytes);
  }
  // And an answer comes, in whose interrupt the driver looks at what left.
  bool Ask(uint64_t took = kAnswerNs, bool looks = true) {
    const bool waits = Send();
    clock.Advance(took);
    m.Received();
    if (looks) wanted = false;
    return waits;
  }
  void Learn() {
    for (unsigned i = 0; i < InterruptModeration::kLearn; ++i) EXPECT_FALSE(Ask());
  }

  dev::ManualClock clock;
  bool wanted = false;
  unsigned raised = 0;
  InterruptModeration m{&clock, [this] { return wanted; }, [this] { ++raised; }};
};

TEST_F(Moderation, WaitsWhereAnswersCome) {
  Learn();
  EXPECT_EQ(m.wait_ns(), 4 * kAnswerNs);
  for (unsigned i = 0; i < 1000; ++i) EXPECT_TRUE(Ask());
  clock.Advance(InterruptModeration::kMostNs);
  EXPECT_EQ(raised, 0u);
}

TEST_F(Moderation, WithoutAnswersNothingWaits) {
  for (unsigned i = 0; i < 1000; ++i) {
    EXPECT_FALSE(Send());
    clock.Advance(kAnswerNs);
  }
  // One answer in so many frames is none.
  for (unsigned i = 0; i < 100; ++i) {
    EXPECT_FALSE(Ask());
    EXPECT_FALSE(Send());
  }
  EXPECT_EQ(m.wait_ns(), 0u);
}

TEST_F(Moderation, AnswersThatTakeLongAreNotWaitedFor) {
  for (unsigned i = 0; i < 1000; ++i) EXPECT_FALSE(Ask(InterruptModeration::kMostNs));
}

TEST_F(Moderation, WhereNoneComesTheDriverIsToldInTimeAndSoonAtOnce) {
  Learn();
  uint64_t wait = m.wait_ns();
  unsigned waits = 0;
  while (m.wait_ns() != 0) {
    ASSERT_TRUE(Send());
    clock.Advance(wait - 1);
    EXPECT_EQ(raised, waits);
    clock.Advance(1);
    EXPECT_EQ(raised, ++waits);
    wanted = false;
    wait /= 2;
  }
  EXPECT_EQ(waits, 4u);
  EXPECT_FALSE(Send());
}

TEST_F(Moderation, DriverThatDoesNotLookIsToldAllTheSame) {
  Learn();
  // It waits from the first frame, however many answers come.
  ASSERT_TRUE(Ask(kAnswerNs, false));
  ASSERT_TRUE(Ask(kAnswerNs, false));
  ASSERT_TRUE(Ask(kAnswerNs, false));
  EXPECT_EQ(raised, 0u);
  clock.Advance(kAnswerNs);
  EXPECT_EQ(raised, 1u);
}

TEST_F(Moderation, MuchNeverWaits) {
  Learn();
  EXPECT_FALSE(Send(1, InterruptModeration::kMostBytes + 1));
  EXPECT_FALSE(Send(InterruptModeration::kMostFrames + 1));
  for (unsigned i = 0; i < InterruptModeration::kMostFrames; ++i) EXPECT_TRUE(Send());
  EXPECT_FALSE(Send());
  // What was told of is not told of again.
  clock.Advance(InterruptModeration::kMostNs);
  EXPECT_EQ(raised, 0u);
}

TEST_F(Moderation, WaitsFollowTheAnswers) {
  Learn();
  EXPECT_TRUE(Ask(3 * kAnswerNs));
  EXPECT_EQ(m.wait_ns(), 12 * kAnswerNs);
  for (unsigned i = 0; i < 100; ++i) EXPECT_TRUE(Ask(kAnswerNs));
  EXPECT_EQ(m.wait_ns(), 4 * kAnswerNs);
  for (unsigned i = 0; i < 100; ++i) EXPECT_TRUE(Ask(1));
  EXPECT_EQ(m.wait_ns(), InterruptModeration::kLeastNs);
}

TEST_F(Moderation, ForgetsAtResetAndLooksAfterALoad) {
  Learn();
  ASSERT_TRUE(Send());
  m.Reset();
  clock.Advance(InterruptModeration::kMostNs);
  EXPECT_EQ(raised, 0u);
  EXPECT_FALSE(Send());
  m.Loaded();
  clock.Advance(InterruptModeration::kMostNs);
  EXPECT_EQ(raised, 1u);
  wanted = false;
  m.Loaded();
  clock.Advance(InterruptModeration::kMostNs);
  EXPECT_EQ(raised, 1u);
}

}  // namespace
}  // namespace atl::virtio
