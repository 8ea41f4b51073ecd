// SPDX-License-Identifier: Apache-2.0
// Checksums, rings and fragments, each against something simple.
#include <deque>
#include <numeric>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "lib/usernet/checksum.h"
#include "lib/usernet/reassembly.h"
#include "lib/usernet/ring.h"

namespace atl::usernet {
namespace {

uint16_t Naive(std::span<const uint8_t> bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? bytes[i] << 8 : bytes[i];
    sum = (sum & 0xFFFF) + (sum >> 16);
  }
  return static_cast<uint16_t>(sum);
}

TEST(Checksum, IsThatOfOneSumHoweverItIsCut) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> bytes(random() % 3000);
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(round % 3 == 0 ? 0xFF : random());
    Checksum sum;
    for (size_t at = 0; at < bytes.size();) {
      const size_t n = std::min<size_t>(1 + random() % 700, bytes.size() - at);
      sum.Add(std::span(bytes).subspan(at, n));
      at += n;
    }
    EXPECT_EQ(sum.sum(), Naive(bytes)) << bytes.size();
  }
}

TEST(Ring, HoldsBytesInOrderAndStashesThoseAhead) {
  std::mt19937 random(2);
  MemoryBudget budget;
  Ring ring(&budget);
  std::deque<uint8_t> model;
  uint8_t next = 0;
  for (int round = 0; round < 20000; ++round) {
    const size_t n = random() % 5000;
    switch (random() % 4) {
      case 0:
        if (ring.Grow(std::min<size_t>(ring.used() + n, 1 << 20))) {
          std::vector<uint8_t> bytes(std::min(n, ring.free()));
          for (uint8_t& b : bytes) model.push_back(b = next++);
          ring.Append(bytes);
        }
        break;
      case 1: {  // the second half first
        if (!ring.Grow(ring.used() + n)) break;
        std::vector<uint8_t> bytes(n);
        for (uint8_t& b : bytes) model.push_back(b = next++);
        ring.Stash(n / 2, std::span(bytes).subspan(n / 2));
        const size_t out = std::min<size_t>(ring.used(), random() % 3000);
        ring.Consume(out);
        model.erase(model.begin(), model.begin() + static_cast<ptrdiff_t>(out));
        if (random() % 2) ring.Grow(ring.capacity() + 1);
        ring.Append(std::span(bytes).first(n / 2));
        ring.Commit(n - n / 2);
        break;
      }
      default: {
        const size_t out = std::min<size_t>(ring.used(), n);
        ring.Consume(out);
        model.erase(model.begin(), model.begin() + static_cast<ptrdiff_t>(out));
      }
    }
    ASSERT_EQ(ring.used(), model.size());
    if (ring.used() > 300000) {
      ring.Consume(ring.used());
      model.clear();
      ring.Release();
      ASSERT_EQ(budget.used, 0u);
    }
    if (round % 50 != 0) continue;
    std::vector<uint8_t> all;
    const Pieces pieces = ring.Data(0, ring.used());
    for (int i = 0; i < pieces.count; ++i) {
      const uint8_t* p = static_cast<const uint8_t*>(pieces.parts[i].iov_base);
      all.insert(all.end(), p, p + pieces.parts[i].iov_len);
    }
    ASSERT_TRUE(std::equal(all.begin(), all.end(), model.begin(), model.end()));
  }
}

TEST(Ring, BudgetRefusesButSmallRings) {
  MemoryBudget budget;
  budget.limit = 64 * 1024;
  Ring a(&budget), b(&budget);
  EXPECT_TRUE(a.Grow(64 * 1024));
  EXPECT_FALSE(b.Grow(32 * 1024));
  EXPECT_TRUE(b.Grow(MemoryBudget::kSmallRing));
  EXPECT_FALSE(b.CanHold(MemoryBudget::kSmallRing + 1));
  a.Release();
  EXPECT_TRUE(b.Grow(32 * 1024));
}

TEST(Reassembly, AnyOrderAndOverlaps) {
  std::mt19937 random(3);
  Reassembly r;
  std::vector<uint8_t> whole(10000);
  std::iota(whole.begin(), whole.end(), 0);
  for (uint32_t id = 0; id < 200; ++id) {
    const Reassembly::Key key{IpAddress::V4(1), IpAddress::V4(2), id, 17};
    std::vector<size_t> offsets;
    for (size_t at = 0; at < whole.size(); at += 1480) offsets.push_back(at);
    std::shuffle(offsets.begin(), offsets.end(), random);
    offsets.push_back(offsets[0]);  // twice
    size_t wholes = 0;
    for (const size_t at : offsets) {
      const size_t n = std::min<size_t>(1480, whole.size() - at);
      const auto got = r.Add(key, at, at + n < whole.size(), std::span(whole).subspan(at, n), 1000);
      if (got.empty()) continue;
      ++wholes;
      EXPECT_TRUE(std::equal(got.begin(), got.end(), whole.begin(), whole.end()));
    }
    EXPECT_EQ(wholes, 1u);
  }
}

TEST(Reassembly, WhatContradictsItselfIsDropped) {
  Reassembly r;
  const std::vector<uint8_t> bytes(64);
  const Reassembly::Key key{IpAddress::V4(1), IpAddress::V4(2), 1, 17};
  EXPECT_TRUE(r.Add(key, 64, false, std::span(bytes).first(8), 0).empty());
  EXPECT_TRUE(r.Add(key, 128, true, bytes, 0).empty());    // behind the end
  EXPECT_TRUE(r.Add(key, 0, true, bytes, 0).empty());      // of the dropped one
  EXPECT_TRUE(r.Add(key, 65528, true, bytes, 0).empty());  // too far
  EXPECT_TRUE(r.Add(key, 8, true, std::span(bytes).first(3), 0).empty());
  EXPECT_FALSE(r.Add(key, 64, false, std::span(bytes).first(8), 0).empty());
}

TEST(Reassembly, TheOldestGivesWay) {
  Reassembly r;
  const std::vector<uint8_t> bytes(8);
  const auto key = [](uint32_t id) {
    return Reassembly::Key{IpAddress::V4(1), IpAddress::V4(2), id, 17};
  };
  for (uint32_t id = 0; id <= Reassembly::kSlots; ++id) r.Add(key(id), 0, true, bytes, id);
  EXPECT_TRUE(r.Add(key(0), 8, false, bytes, 100).empty());
  EXPECT_FALSE(r.Add(key(Reassembly::kSlots), 8, false, bytes, 100).empty());
}

}  // namespace
}  // namespace atl::usernet
