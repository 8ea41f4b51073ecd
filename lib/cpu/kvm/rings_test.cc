// SPDX-License-Identifier: Apache-2.0
// The rings without a kernel: what one writes there, and what nobody should.
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/cpu/kvm/coalesced.h"
#include "lib/cpu/kvm/dirty_ring.h"

namespace atl::cpu::kvm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

using Pages = std::vector<std::pair<uint32_t, uint64_t>>;

struct DirtyPages {
  std::array<kvm_dirty_gfn, 4> entries{};
  DirtyRing ring{entries};

  void Put(unsigned at, uint32_t slot, uint64_t page, uint32_t flags = KVM_DIRTY_GFN_F_DIRTY) {
    entries[at].slot = slot;
    entries[at].offset = page;
    entries[at].flags = flags;
  }
  Pages Harvest() {
    Pages out;
    const uint32_t n =
        ring.Harvest([&](uint32_t slot, uint64_t page) { out.emplace_back(slot, page); });
    EXPECT_EQ(n, out.size());
    return out;
  }
};

TEST(DirtyRing, GivesEntriesOnceAndInOrderAroundItsEnd) {
  DirtyPages d;
  EXPECT_THAT(d.Harvest(), IsEmpty());
  d.Put(0, 1, 10);
  d.Put(1, 2, 20);
  d.Put(2, 1, 11);
  EXPECT_THAT(d.Harvest(), ElementsAre(Pair(1, 10), Pair(2, 20), Pair(1, 11)));
  EXPECT_EQ(d.entries[1].flags, KVM_DIRTY_GFN_F_RESET);
  // The kernel has not taken them back: they are not new.
  EXPECT_THAT(d.Harvest(), IsEmpty());
  d.entries[0].flags = d.entries[1].flags = d.entries[2].flags = 0;
  d.Put(3, 7, 1);
  d.Put(0, 7, 2);
  EXPECT_THAT(d.Harvest(), ElementsAre(Pair(7, 1), Pair(7, 2)));
  d.Put(1, 8, 3);
  EXPECT_THAT(d.Harvest(), ElementsAre(Pair(8, 3)));
}

TEST(DirtyRing, StopsAtWhatIsNotOurs) {
  DirtyPages d;
  // Behind an entry that is not there yet nothing counts, whatever its flags are.
  d.Put(1, 1, 1);
  d.Put(0, 1, 2, KVM_DIRTY_GFN_F_DIRTY | KVM_DIRTY_GFN_F_RESET);
  EXPECT_THAT(d.Harvest(), IsEmpty());
  d.Put(0, 1, 2, ~uint32_t{KVM_DIRTY_GFN_F_MASK});
  EXPECT_THAT(d.Harvest(), IsEmpty());
}

TEST(DirtyRing, NeverGoesRoundTwice) {
  DirtyPages d;
  for (unsigned i = 0; i < 4; ++i) d.Put(i, ~0u, ~uint64_t{0});
  uint32_t seen = 0;
  EXPECT_EQ(d.ring.Harvest([&](uint32_t, uint64_t) {
    // A vCPU writes as fast as we look.
    d.Put((seen++ + 3) % 4, 1, 1);
  }),
            4u);
}

struct Write {
  bool port;
  uint64_t at;
  unsigned size;
  uint64_t value;
  friend bool operator==(const Write&, const Write&) = default;
  friend void PrintTo(const Write& w, std::ostream* os) {
    *os << (w.port ? "port " : "") << std::hex << "0x" << w.at << " size " << w.size << " = 0x"
        << w.value;
  }
};

struct Posted {
  std::unique_ptr<CoalescedRing> ring = std::make_unique<CoalescedRing>();
  std::vector<Write> seen;
  PostedSink sink = [this](bool port, uint64_t at, unsigned size, uint64_t value) {
    seen.push_back({port, at, size, value});
    if (on_write) on_write();
  };
  std::function<void()> on_write;
  RingReader reader{*ring, sink};

  // As Linux 6.1 does, with what it takes for a full ring.
  bool Push(bool port, uint64_t at, uint32_t len, uint64_t value) {
    const uint32_t last = ring->last;
    const uint32_t first = __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE);
    if ((first - last - 1) % CoalescedRing::kEntries == 0) return false;
    const uint32_t next = (last + 1) % CoalescedRing::kEntries;
    kvm_coalesced_mmio& e = ring->entries[last];
    e.phys_addr = at;
    e.len = len;
    e.pio = port;
    std::memcpy(e.data, &value, sizeof value);
    __atomic_store_n(&ring->last, next, __ATOMIC_RELEASE);
    return true;
  }
  std::vector<Write> Deliver() {
    seen.clear();
    reader.Deliver();
    return seen;
  }
};

TEST(CoalescedRing, DeliversInOrderAndSplitsOddSizes) {
  Posted p;
  EXPECT_THAT(p.Deliver(), IsEmpty());
  p.Push(false, 0xA0000, 8, 0x1122334455667788);
  p.Push(true, 0x3C4, 2, 0x0F02);
  p.Push(false, 0xA0ffd, 7, 0x77665544332211);
  EXPECT_THAT(p.Deliver(),
              ElementsAre(Write{false, 0xA0000, 8, 0x1122334455667788},
                          Write{true, 0x3C4, 2, 0x0F02}, Write{false, 0xA0FFD, 4, 0x44332211},
                          Write{false, 0xA1001, 2, 0x6655}, Write{false, 0xA1003, 1, 0x77}));
  EXPECT_THAT(p.Deliver(), IsEmpty());
  // More than once around.
  for (uint64_t i = 0; i < 1000; ++i) {
    ASSERT_TRUE(p.Push(false, 0xA0000 + i, 1, i & 0xFF));
    if (i % 7 == 0) p.reader.Deliver();
  }
  p.reader.Deliver();
  ASSERT_EQ(p.seen.size(), 1000u);
  for (uint64_t i = 0; i < 1000; ++i) ASSERT_EQ(p.seen[i].at, 0xA0000 + i);
}

// Wherever it begins, and when it fills up while it is emptied: nothing is lost.
TEST(CoalescedRing, LosesNothingThatTheKernelPuts) {
  for (unsigned begin = 0; begin < CoalescedRing::kEntries; ++begin) {
    Posted p;
    uint64_t next = 0;
    for (; next < begin; ++next) {
      ASSERT_TRUE(p.Push(false, next, 1, 0));
      p.reader.Deliver();
    }
    bool refill = true;
    p.on_write = [&] {
      // Once, after some of it: as many as go in.
      if (refill && p.seen.size() == begin + 70) {
        refill = false;
        for (unsigned i = 0; i < 1000 && p.Push(false, next, 1, 0); ++i) ++next;
      }
    };
    for (unsigned i = 0; i < 1000 && p.Push(false, next, 1, 0); ++i) ++next;
    for (int i = 0; i < 3; ++i) p.reader.Deliver();
    ASSERT_FALSE(refill);
    ASSERT_EQ(p.seen.size(), next) << begin;
    for (uint64_t i = 0; i < next; ++i) ASSERT_EQ(p.seen[i].at, i) << begin;
  }
}

TEST(CoalescedRing, BelievesNothingOfItsMemory) {
  Posted p;
  for (kvm_coalesced_mmio& e : p.ring->entries) e.len = 1;
  // An end outside.
  for (const uint32_t last : {CoalescedRing::kEntries, 0x7FFFFFFFu, ~0u}) {
    p.ring->last = last;
    EXPECT_THAT(p.Deliver(), IsEmpty());
  }
  // A beginning that somebody else moved is not ours.
  p.ring->last = 3;
  p.ring->first = ~0u;
  EXPECT_EQ(p.Deliver().size(), 3u);
  EXPECT_EQ(p.ring->first, 3u);
  EXPECT_THAT(p.Deliver(), IsEmpty());
  // Sizes, and ports that are none.
  p.Push(false, 0xA0000, 0, 1);
  p.Push(false, 0xA0000, 9, 1);
  p.Push(false, 0xA0000, ~0u, 1);
  p.Push(true, 0x10000, 1, 1);
  p.Push(true, 0x80, 1, 5);
  EXPECT_THAT(p.Deliver(), ElementsAre(Write{true, 0x80, 1, 5}));
}

// Whoever finds the ring empty finds the writes before it done, whoever did them.
TEST(CoalescedRing, TwoThreadsKeepTheOrder) {
  Posted p;
  constexpr uint64_t kCount = 20000;
  std::atomic<bool> stop = false;
  std::thread other([&] {
    while (!stop) p.reader.Deliver();
  });
  for (uint64_t i = 0; i < kCount;) {
    if (p.Push(false, i, 1, 0)) ++i;
    if (i % 50 == 0) p.reader.Deliver();
  }
  p.reader.Deliver();
  stop = true;
  other.join();
  ASSERT_EQ(p.seen.size(), kCount);
  for (uint64_t i = 0; i < kCount; ++i) ASSERT_EQ(p.seen[i].at, i);
}

}  // namespace
}  // namespace atl::cpu::kvm
