// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/queue.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/virtio/testing/driver.h"

namespace atl::virtio {
namespace {

constexpr uint64_t kMemory = 4 << 20;
constexpr uint64_t kQueueBase = 0x10000;
constexpr uint16_t kSize = 8;
constexpr uint64_t kTable = 0x20000;  // an indirect table
constexpr uint64_t kData = 0x30000;

constexpr uint16_t kNext = 1;
constexpr uint16_t kWrite = 2;
constexpr uint16_t kIndirect = 4;

class Queue : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(kMemory));
    driver_ = DriverQueue(memory_.get(), kQueueBase, kSize);
    Open(true, true);
  }
  void Open(bool indirect, bool event_index) {
    layout_ = {Gpa(driver_.descriptors),
               Gpa(driver_.driver_ring),
               Gpa(driver_.device_ring),
               kSize,
               event_index,
               indirect};
    ASSERT_OK_AND_ASSIGN(VirtQueue q, VirtQueue::Create(memory_.get(), layout_));
    queue_.emplace(std::move(q));
  }
  absl::Status PopError() {
    auto popped = queue_->Pop();
    if (popped.ok()) return absl::OkStatus();
    return popped.status();
  }
  Chain PopChain() {
    auto popped = queue_->Pop();
    EXPECT_OK(popped);
    if (!popped.ok() || !popped->has_value()) {
      ADD_FAILURE() << "no chain";
      return {};
    }
    return **std::move(popped);
  }

  std::unique_ptr<GuestMemory> memory_;
  DriverQueue driver_;
  QueueLayout layout_;
  std::optional<VirtQueue> queue_;
};

TEST_F(Queue, ChainsComeInOrderAndGoBackInAny) {
  driver_.Add(std::vector<Segment>{{kData, 16}, {kData + 16, 512, true}, {kData + 600, 1, true}});
  driver_.Add(std::vector<Segment>{{kData, 8}}, 5);
  const Chain a = PopChain();
  EXPECT_EQ(a.head, 0);
  EXPECT_EQ(a.readable.size(), 1u);
  EXPECT_EQ(a.readable_bytes, 16u);
  EXPECT_EQ(a.writable_bytes, 513u);
  const Chain b = PopChain();
  EXPECT_EQ(b.head, 5);
  EXPECT_FALSE(queue_->Pop()->has_value());
  EXPECT_EQ(queue_->in_flight(), 2u);
  ASSERT_OK(queue_->Push(b.head, 0));
  ASSERT_OK(queue_->Push(a.head, 513));
  EXPECT_EQ(driver_.TakeUsed()->id, 5u);
  const std::optional<Used> used = driver_.TakeUsed();
  EXPECT_EQ(used->id, 0u);
  EXPECT_EQ(used->length, 513u);
  EXPECT_FALSE(driver_.TakeUsed().has_value());
}

TEST_F(Queue, RingsWrapManyTimes) {
  for (int i = 0; i < 70000; ++i) {
    const uint16_t head = static_cast<uint16_t>(i % kSize);
    driver_.Add(std::vector<Segment>{{kData, 4, true}}, head);
    ASSERT_EQ(PopChain().head, head);
    ASSERT_OK(queue_->Push(head, 4));
    ASSERT_EQ(driver_.TakeUsed()->id, head);
  }
}

TEST_F(Queue, CopiesGoAcrossBuffers) {
  driver_.Add(std::vector<Segment>{{kData, 3},
                                   {kData + 100, 0},
                                   {kData + 200, 5},
                                   {kData + 300, 2, true},
                                   {kData + 400, 7, true}});
  memory_->Write(Gpa(kData), std::vector<uint8_t>{1, 2, 3});
  memory_->Write(Gpa(kData + 200), std::vector<uint8_t>{4, 5, 6, 7, 8});
  const Chain c = PopChain();
  std::vector<uint8_t> got(6);
  EXPECT_TRUE(c.Read(*memory_, 1, got));
  EXPECT_EQ(got, (std::vector<uint8_t>{2, 3, 4, 5, 6, 7}));
  EXPECT_FALSE(c.Read(*memory_, 3, got)) << "past the end";
  EXPECT_TRUE(c.Write(*memory_, 1, std::vector<uint8_t>{9, 10, 11}));
  EXPECT_EQ(*memory_->Load<uint8_t>(Gpa(kData + 301)), 9);
  EXPECT_EQ(*memory_->Load<uint16_t>(Gpa(kData + 400)), 10 + (11 << 8));
  EXPECT_FALSE(c.Write(*memory_, 9, std::vector<uint8_t>{1}));
  EXPECT_FALSE(c.Write(*memory_, ~uint64_t{0}, std::vector<uint8_t>{1}));
}

TEST_F(Queue, IndirectTablesAreFollowed) {
  driver_.AddIndirect(std::vector<Segment>{{kData, 16}, {kData, 512, true}, {kData, 1, true}},
                      kTable, 3);
  const Chain c = PopChain();
  EXPECT_EQ(c.head, 3);
  EXPECT_EQ(c.readable_bytes, 16u);
  EXPECT_EQ(c.writable.size(), 2u);
}

TEST_F(Queue, IndirectAfterDirectDescriptors) {
  driver_.SetDescriptor(0, kData, 16, kNext, 1);
  driver_.SetDescriptor(1, kTable, 16, kIndirect, 0);
  driver_.SetDescriptorAt(kTable, 0, kData, 32, kWrite, 0);
  driver_.MakeAvailable(0);
  const Chain c = PopChain();
  EXPECT_EQ(c.readable_bytes, 16u);
  EXPECT_EQ(c.writable_bytes, 32u);
}

TEST_F(Queue, HostileLoopInTheTable) {
  for (unsigned i = 0; i < kSize; ++i) {
    driver_.SetDescriptor(i, kData, 16, kNext, static_cast<uint16_t>((i + 1) % kSize));
  }
  driver_.MakeAvailable(0);
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "or a loop"));
}

TEST_F(Queue, HostileLoopOfOne) {
  driver_.SetDescriptor(0, kData, 0, kNext, 0);
  driver_.MakeAvailable(0);
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "or a loop"));
}

TEST_F(Queue, HostileLoopInAnIndirectTable) {
  driver_.SetDescriptorAt(kTable, 0, kData, 1, kNext, 1);
  driver_.SetDescriptorAt(kTable, 1, kData, 1, kNext, 0);
  driver_.SetDescriptor(0, kTable, 32, kIndirect, 0);
  driver_.MakeAvailable(0);
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "or a loop"));
}

TEST_F(Queue, HostileIndirectInIndirect) {
  driver_.SetDescriptorAt(kTable, 0, kTable, 16, kIndirect, 0);
  driver_.SetDescriptor(0, kTable, 16, kIndirect, 0);
  driver_.MakeAvailable(0);
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "in an indirect table"));
}

TEST_F(Queue, HostileIndirectWithNext) {
  driver_.SetDescriptor(0, kTable, 16, kIndirect | kNext, 1);
  driver_.MakeAvailable(0);
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "with a next one"));
}

TEST_F(Queue, HostileIndirectWithoutTheFeature) {
  Open(/*indirect=*/false, /*event_index=*/true);
  driver_.AddIndirect(std::vector<Segment>{{kData, 16}}, kTable);
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "without the feature"));
}

TEST_F(Queue, HostileIndirectTableLengths) {
  for (uint32_t length : {0u, 1u, 15u, 17u, 0xFFFFFFFFu}) {
    Open(true, true);
    driver_ = DriverQueue(memory_.get(), kQueueBase, kSize);
    driver_.SetDescriptor(0, kTable, length, kIndirect, 0);
    driver_.MakeAvailable(0);
    EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "multiple of 16"))
        << length;
  }
}

TEST_F(Queue, HostileIndirectTableOutsideMemory) {
  for (uint64_t at : {kMemory, kMemory - 8, ~uint64_t{0}, ~uint64_t{7}}) {
    Open(true, true);
    driver_ = DriverQueue(memory_.get(), kQueueBase, kSize);
    driver_.SetDescriptor(0, at, 16, kIndirect, 0);
    driver_.MakeAvailable(0);
    EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kOutOfRange, "outside memory")) << at;
  }
}

TEST_F(Queue, HostileNextPastTheTable) {
  driver_.SetDescriptor(0, kData, 16, kNext, kSize);
  driver_.MakeAvailable(0);
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "of a table of 8"));
}

TEST_F(Queue, HostileNextPastAnIndirectTable) {
  driver_.SetDescriptorAt(kTable, 0, kData, 16, kNext, 1);
  driver_.SetDescriptor(0, kTable, 16, kIndirect, 0);
  driver_.MakeAvailable(0);
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "of a table of 1"));
}

TEST_F(Queue, HostileHeadPastTheTable) {
  driver_.MakeAvailable(kSize);
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "head 8"));
}

TEST_F(Queue, HostileIndexJump) {
  memory_->Store<uint16_t>(Gpa(driver_.driver_ring + 2), kSize + 1);
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "jumped by 9"));
  memory_->Store<uint16_t>(Gpa(driver_.driver_ring + 2), 0xFFFF);
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "jumped by 65535"));
}

TEST_F(Queue, HostileSameHeadTwice) {
  driver_.Add(std::vector<Segment>{{kData, 16}});
  driver_.MakeAvailable(0);
  PopChain();
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "in flight already"));
}

TEST_F(Queue, HostileLengthsThatOverflow) {
  driver_.Add(std::vector<Segment>{{kData, 0x80000000, true}, {kData, 0x80000000, true}});
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "4 GiB"));
}

TEST_F(Queue, HostileReadableAfterWritable) {
  driver_.Add(std::vector<Segment>{{kData, 16, true}, {kData, 16}});
  EXPECT_THAT(PopError(), StatusIs(absl::StatusCode::kInvalidArgument, "after a writable one"));
}

TEST_F(Queue, HostileBuffersOutsideMemoryFailTheCopyOnly) {
  for (uint64_t at : {kMemory - 1, kMemory, ~uint64_t{0}, ~uint64_t{0} - 14}) {
    Open(true, true);
    driver_ = DriverQueue(memory_.get(), kQueueBase, kSize);
    driver_.Add(std::vector<Segment>{{at, 16}, {at, 16, true}});
    const Chain c = PopChain();
    std::vector<uint8_t> bytes(16);
    EXPECT_FALSE(c.Read(*memory_, 0, bytes));
    EXPECT_FALSE(c.Write(*memory_, 0, bytes));
  }
}

// The chain's buffers are the rings themselves: the guest's own loss.
TEST_F(Queue, HostileBuffersOverTheRings) {
  driver_.Add(std::vector<Segment>{
      {driver_.driver_ring, 16, true}, {driver_.device_ring, 64, true}, {kQueueBase, 128, true}});
  const Chain c = PopChain();
  EXPECT_TRUE(c.Write(*memory_, 0, std::vector<uint8_t>(208, 0xFF)));
  ASSERT_OK(queue_->Push(c.head, 208));
  EXPECT_FALSE(PopError().ok());  // the driver ring's index is garbage now
}

// Another CPU of the guest rewrites the tables behind the device's first look:
// what was judged is what is used.
TEST_F(Queue, HostileTablesThatChangeAfterTheyWereRead) {
  for (const bool indirect : {false, true}) {
    Open(true, true);
    driver_ = DriverQueue(memory_.get(), kQueueBase, kSize);
    ASSERT_TRUE(memory_->Fill(Gpa(kData), 0x11, 64));
    const std::vector<Segment> segments{{kData, 16}, {kData + 16, 16, true}};
    if (indirect) {
      driver_.AddIndirect(segments, kData + 0x1000);
    } else {
      driver_.Add(segments);
    }
    const Chain c = PopChain();
    memory_->Fill(Gpa(kQueueBase), 0xFF, 16 * kSize);  // every descriptor
    memory_->Fill(Gpa(kData + 0x1000), 0xFF, 0x100);
    EXPECT_EQ(c.readable_bytes, 16u);
    EXPECT_EQ(c.writable_bytes, 16u);
    std::vector<uint8_t> bytes(16);
    EXPECT_TRUE(c.Read(*memory_, 0, bytes));
    EXPECT_EQ(bytes, std::vector<uint8_t>(16, 0x11));
    EXPECT_TRUE(c.Write(*memory_, 0, std::vector<uint8_t>(16, 0x22)));
    EXPECT_EQ(memory_->Load<uint8_t>(Gpa(kData + 16)), 0x22);
    ASSERT_OK(queue_->Push(c.head, 16));
  }
}

// What the driver writes into the device's ring is never believed.
TEST_F(Queue, HostileUsedIndexIsIgnored) {
  driver_.Add(std::vector<Segment>{{kData, 16}});
  memory_->Store<uint16_t>(Gpa(driver_.device_ring + 2), 0x7777);
  ASSERT_OK(queue_->Push(PopChain().head, 0));
  EXPECT_EQ(*memory_->Load<uint16_t>(Gpa(driver_.device_ring + 2)), 1);
}

TEST_F(Queue, PushOfWhatIsNotInFlightIsRefused) {
  EXPECT_THAT(queue_->Push(0, 0), StatusIs(absl::StatusCode::kInternal, "not in flight"));
  EXPECT_THAT(queue_->Push(0xFFFF, 0), StatusIs(absl::StatusCode::kInternal, "not in flight"));
}

TEST_F(Queue, CreateRefusesMisplacedTables) {
  auto with = [&](QueueLayout l) { return VirtQueue::Create(memory_.get(), l).status(); };
  QueueLayout l = layout_;
  for (uint16_t size : {0, 3, 2048, 0xFFFF}) {
    l.size = size;
    EXPECT_THAT(with(l), StatusIs(absl::StatusCode::kInvalidArgument, "queue size"));
  }
  l = layout_;
  l.descriptors = Gpa(kQueueBase + 8);
  EXPECT_THAT(with(l), StatusIs(absl::StatusCode::kInvalidArgument, "multiple of 16"));
  l = layout_;
  l.driver_ring = Gpa(kQueueBase + 1);
  EXPECT_THAT(with(l), StatusIs(absl::StatusCode::kInvalidArgument, "driver ring"));
  l = layout_;
  l.device_ring = Gpa(kQueueBase + 2);
  EXPECT_THAT(with(l), StatusIs(absl::StatusCode::kInvalidArgument, "device ring"));
  for (uint64_t at : {kMemory - 16, kMemory, ~uint64_t{15}}) {
    l = layout_;
    l.descriptors = Gpa(at);
    EXPECT_THAT(with(l), StatusIs(absl::StatusCode::kOutOfRange, "descriptor table")) << at;
    l = layout_;
    l.device_ring = Gpa(at);
    EXPECT_THAT(with(l), StatusIs(absl::StatusCode::kOutOfRange, "device ring")) << at;
  }
}

TEST_F(Queue, InterruptsByFlag) {
  Open(true, /*event_index=*/false);
  EXPECT_FALSE(queue_->TakeInterrupt()) << "nothing was pushed";
  driver_.Add(std::vector<Segment>{{kData, 16}});
  ASSERT_OK(queue_->Push(PopChain().head, 0));
  EXPECT_TRUE(queue_->TakeInterrupt());
  EXPECT_FALSE(queue_->TakeInterrupt());
  driver_.SetInterruptFlags(1);
  driver_.Add(std::vector<Segment>{{kData, 16}});
  ASSERT_OK(queue_->Push(PopChain().head, 0));
  EXPECT_FALSE(queue_->TakeInterrupt());
}

// Against the definition: an interrupt where the event index was passed.
TEST_F(Queue, InterruptsByEventIndex) {
  uint32_t random = 1;
  uint16_t used = 0;
  for (int round = 0; round < 30000; ++round) {
    random = random * 1664525 + 1013904223;
    const unsigned n = 1 + (random >> 16) % kSize;
    const uint16_t event = static_cast<uint16_t>(used + (random >> 24) % 12 - 2);
    driver_.SetUsedEvent(event);
    bool passed = false;
    for (unsigned i = 0; i < n; ++i) {
      driver_.Add(std::vector<Segment>{{kData, 16}}, static_cast<uint16_t>(i));
      ASSERT_OK(queue_->Push(PopChain().head, 0));
      passed = passed || used == event;
      ++used;
    }
    ASSERT_EQ(queue_->TakeInterrupt(), passed) << "round " << round;
  }
}

TEST_F(Queue, KicksAreAskedForAndNotLost) {
  EXPECT_FALSE(queue_->SetKicks(false));
  driver_.Add(std::vector<Segment>{{kData, 16}});
  EXPECT_TRUE(queue_->SetKicks(true)) << "a chain came while kicks were off";
  EXPECT_EQ(driver_.available_event(), 1) << "told of what comes after that one";
  PopChain();
  EXPECT_FALSE(queue_->SetKicks(true));
  EXPECT_EQ(driver_.available_event(), 1);
  Open(true, /*event_index=*/false);
  queue_->SetKicks(false);
  EXPECT_EQ(driver_.device_flags(), 1);
  queue_->SetKicks(true);
  EXPECT_EQ(driver_.device_flags(), 0);
}

}  // namespace
}  // namespace atl::virtio
