// SPDX-License-Identifier: Apache-2.0
#include "lib/work/guest_io.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/block/testing/memory_disk.h"

namespace atl::work {
namespace {

class GuestIo : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(16 << 20));
    for (size_t i = 0; i < disk_.bytes().size(); ++i) {
      disk_.bytes()[i] = static_cast<uint8_t>(i * 2654435761u >> 24);
    }
  }
  std::unique_ptr<GuestMemory> memory_;
  block::MemoryDisk disk_{6 << 20};
};

// Any split into pieces, small and large, moves the bytes that one copy would.
TEST_F(GuestIo, EverySplitMovesTheSameBytes) {
  uint32_t random = 7;
  auto next = [&](uint32_t below) {
    random = random * 1664525 + 1013904223;
    return (random >> 8) % below;
  };
  for (int round = 0; round < 60; ++round) {
    GuestPieces pieces;
    std::vector<std::pair<uint64_t, uint64_t>> layout;
    const uint32_t largest = round % 3 == 0 ? 5000 : round % 3 == 1 ? 70000 : 300000;
    uint64_t at = next(4096);
    while (pieces.bytes() < (3 << 20)) {
      const uint64_t n = 1 + next(largest);
      if (at + n > (12 << 20)) break;
      ASSERT_TRUE(pieces.Append(*memory_, Gpa(at), n));
      layout.emplace_back(at, n);
      at += n + (next(3) == 0 ? 0 : next(1000));
    }
    const uint64_t offset = next(1 << 20);
    ASSERT_OK(pieces.ReadFrom(disk_, offset, *memory_));
    uint64_t done = offset;
    for (const auto& [from, n] : layout) {
      std::vector<uint8_t> got(n);
      ASSERT_TRUE(memory_->Read(Gpa(from), got));
      ASSERT_TRUE(
          std::equal(got.begin(), got.end(), disk_.bytes().begin() + static_cast<long>(done)));
      done += n;
    }
    block::MemoryDisk copy(6 << 20);
    ASSERT_OK(pieces.WriteTo(copy, offset));
    ASSERT_TRUE(std::equal(copy.bytes().begin() + static_cast<long>(offset),
                           copy.bytes().begin() + static_cast<long>(done),
                           disk_.bytes().begin() + static_cast<long>(offset)));
    ASSERT_EQ(copy.bytes()[done], 0);
  }
}

TEST_F(GuestIo, WhatIsNotRamIsRefused) {
  GuestPieces pieces;
  EXPECT_FALSE(pieces.Append(*memory_, Gpa((16 << 20) - 1), 2));
  EXPECT_FALSE(pieces.Append(*memory_, Gpa(~uint64_t{0}), 512));
  EXPECT_TRUE(pieces.Append(*memory_, Gpa(~uint64_t{0}), 0));
  EXPECT_TRUE(pieces.empty());
}

TEST_F(GuestIo, ErrorsComeBack) {
  GuestPieces pieces;
  for (uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(pieces.Append(*memory_, Gpa(i * 8192), 512));
  EXPECT_THAT(pieces.ReadFrom(disk_, 6 << 20, *memory_),
              StatusIs(absl::StatusCode::kOutOfRange, "memory.img"));
  EXPECT_THAT(pieces.WriteTo(disk_, 6 << 20),
              StatusIs(absl::StatusCode::kOutOfRange, "memory.img"));
}

}  // namespace
}  // namespace atl::work
