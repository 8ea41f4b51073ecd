// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/i8237.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/dev/testing/round_trip.h"
#include "lib/mem/guest_memory.h"

namespace atl::dev {
namespace {

using Bytes = std::vector<uint8_t>;

struct Client final : DmaClient {
  void OnDmaReady() override { ++calls; }
  int calls = 0;
};

class Dma : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(2 << 20));
    dma_ = std::make_unique<I8237>(*memory_);
  }
  void Low(unsigned reg, uint8_t v) { dma_->Write(I8237::kBytes, reg, 1, v); }
  uint8_t Low(unsigned reg) { return static_cast<uint8_t>(dma_->Read(I8237::kBytes, reg, 1)); }
  // Channel 2, by the mode's byte.
  void Set(uint32_t address, uint16_t count, uint8_t mode) {
    Low(10, 6);
    Low(12, 0);
    Low(4, static_cast<uint8_t>(address));
    Low(4, static_cast<uint8_t>(address >> 8));
    dma_->Write(I8237::kPages, 1, 1, address >> 16);
    Low(5, static_cast<uint8_t>(count));
    Low(5, static_cast<uint8_t>(count >> 8));
    Low(11, mode);
    Low(10, 2);
  }
  Bytes Guest(uint64_t at, size_t n) {
    Bytes out(n);
    EXPECT_TRUE(memory_->Read(Gpa(at), out));
    return out;
  }
  std::unique_ptr<GuestMemory> memory_;
  std::unique_ptr<I8237> dma_;
};

TEST_F(Dma, MovesUntilTheCountEnds) {
  dma_->SetRequest(2, true);
  EXPECT_FALSE(dma_->Ready(2)) << "masked after a reset";
  Set(0x12345, 4, 0x46);
  EXPECT_TRUE(dma_->Ready(2));
  EXPECT_EQ(dma_->Left(2), 5u);
  const Bytes bytes = {1, 2, 3, 4, 5, 6, 7};
  I8237::Moved moved = dma_->ToMemory(2, std::span(bytes).first(2));
  EXPECT_EQ(moved.bytes, 2u);
  EXPECT_FALSE(moved.ended);
  moved = dma_->ToMemory(2, std::span(bytes).subspan(2));
  EXPECT_EQ(moved.bytes, 3u);
  EXPECT_TRUE(moved.ended);
  EXPECT_EQ(Guest(0x12345, 6), (Bytes{1, 2, 3, 4, 5, 0}));
  EXPECT_FALSE(dma_->Ready(2)) << "masked by its end";
  EXPECT_EQ(Low(8), 0x44);
  EXPECT_EQ(Low(8), 0x40) << "reading clears the terminal counts";
  EXPECT_EQ(Low(5), 0xFF);
  EXPECT_EQ(Low(5), 0xFF);
}

TEST_F(Dma, ReadsFromMemoryAndReloads) {
  memory_->Write(Gpa(0x8000), Bytes{9, 8, 7});
  dma_->SetRequest(2, true);
  Set(0x8000, 2, 0x5A);  // from memory, reloading
  for (int i = 0; i < 2; ++i) {
    Bytes got(3);
    EXPECT_TRUE(dma_->FromMemory(2, got).ended);
    EXPECT_EQ(got, (Bytes{9, 8, 7}));
  }
  Set(0x8002, 2, 0x6A);  // downwards
  Bytes got(3);
  EXPECT_EQ(dma_->FromMemory(2, got).bytes, 3u);
  EXPECT_EQ(got, (Bytes{7, 8, 9}));
}

TEST_F(Dma, WrapsWithinItsPage) {
  dma_->SetRequest(2, true);
  Set(0x1FFFF, 1, 0x46);
  dma_->ToMemory(2, Bytes{1, 2});
  EXPECT_EQ(Guest(0x1FFFF, 1), Bytes{1});
  EXPECT_EQ(Guest(0x10000, 1), Bytes{2});
  EXPECT_EQ(Guest(0x20000, 1), Bytes{0});
}

TEST_F(Dma, WordsOfTheSecondController) {
  dma_->Write(I8237::kWords, 2 * 10, 1, 5);
  dma_->Write(I8237::kWords, 2 * 2, 1, 0x00);  // word 0x8000 of page 2: 0x30000
  dma_->Write(I8237::kWords, 2 * 2, 1, 0x80);
  dma_->Write(I8237::kPages, 0xB, 1, 0x03);
  dma_->Write(I8237::kWords, 2 * 3, 1, 1);
  dma_->Write(I8237::kWords, 2 * 3, 1, 0);
  dma_->Write(I8237::kWords, 2 * 11, 1, 0x45);
  dma_->SetRequest(5, true);
  dma_->Write(I8237::kWords, 2 * 10, 1, 1);
  EXPECT_EQ(dma_->Left(5), 4u);
  EXPECT_TRUE(dma_->ToMemory(5, Bytes{1, 2, 3, 4, 5, 6}).ended);
  EXPECT_EQ(Guest(0x30000, 5), (Bytes{1, 2, 3, 4, 0}));
}

TEST_F(Dma, TheWrongDirectionLeavesMemoryAlone) {
  memory_->Write(Gpa(0x8000), Bytes{9, 9});
  dma_->SetRequest(2, true);
  for (uint8_t mode : {0x4A, 0x42, 0x4E}) {
    Set(0x8000, 1, mode);
    EXPECT_TRUE(dma_->ToMemory(2, Bytes{1, 2}).ended);
    EXPECT_EQ(Guest(0x8000, 2), (Bytes{9, 9}));
  }
  Set(0x8000, 1, 0x46);
  Bytes got = {0, 0};
  dma_->FromMemory(2, got);
  EXPECT_EQ(got, (Bytes{0xFF, 0xFF}));
}

TEST_F(Dma, OutsideMemoryNothingHappens) {
  dma_->SetRequest(2, true);
  Set(0xFFFFF0, 0xFF, 0x46);
  EXPECT_TRUE(dma_->ToMemory(2, Bytes(0x100, 1)).ended);
  Set(0xFFFFF0, 0xFF, 0x4A);
  Bytes got(0x100);
  dma_->FromMemory(2, got);
  EXPECT_EQ(got, Bytes(0x100, 0xFF));
}

TEST_F(Dma, TellsWhoWaits) {
  Client client;
  dma_->Connect(2, &client);
  Set(0x8000, 1, 0x46);
  EXPECT_EQ(client.calls, 0) << "nobody asks";
  dma_->SetRequest(2, true);
  Low(10, 6);
  EXPECT_EQ(client.calls, 0);
  Low(10, 2);
  EXPECT_EQ(client.calls, 1);
  Low(8, 4);
  EXPECT_FALSE(dma_->Ready(2)) << "the controller is off";
  Low(8, 0);
  EXPECT_EQ(client.calls, 2);
  Low(13, 0);
  EXPECT_FALSE(dma_->Ready(2));
  Low(14, 0);
  EXPECT_EQ(client.calls, 3);
  EXPECT_EQ(Low(15), 0xF0);
  dma_->Connect(2, nullptr);
}

TEST_F(Dma, StateRoundTrip) {
  dma_->SetRequest(2, true);
  Set(0x12345, 9, 0x46);
  dma_->ToMemory(2, Bytes{1, 2});
  I8237 other(*memory_);
  ExpectRoundTrip(*dma_, other);
  EXPECT_EQ(other.Left(2), 8u);
  other.ToMemory(2, Bytes{7});
  EXPECT_EQ(Guest(0x12345, 3), (Bytes{1, 2, 7}));
}

}  // namespace
}  // namespace atl::dev
