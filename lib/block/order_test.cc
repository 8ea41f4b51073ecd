// SPDX-License-Identifier: Apache-2.0
// Mistakes that image code has made elsewhere, one test each, by the order of
// what reaches the storage.
#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/block/image.h"
#include "lib/block/testing/storages.h"

namespace atl::block {
namespace {

constexpr uint64_t kCluster = 65536;
constexpr size_t kNever = SIZE_MAX;

class OrderTest : public testing::Test {
 protected:
  void Make(const FormatOptions& options, uint64_t size) {
    storage_ = NewMemoryStorage("disk");
    auto all = CompleteOptions(*FindFormat("qcow2"), options);
    ASSERT_OK(all);
    ASSERT_OK(FindFormat("qcow2")->create(*storage_, size, *all));
    ASSERT_OK_AND_ASSIGN(image_,
                         Image::Open(std::make_unique<TestStorage>(storage_.get(), &log_, nullptr),
                                     {.format = "qcow2", .writable = true}));
  }
  uint64_t Peek(uint64_t at) {
    uint8_t b[8] = {};
    EXPECT_OK(storage_->Read(at, b));
    return LoadBe<uint64_t>(b);
  }
  void Write(uint64_t at, uint64_t n, uint8_t byte) {
    std::vector<uint8_t> data(n, byte);
    ASSERT_OK(image_->Write(at, data));
  }
  uint64_t HostOf(uint64_t at) { return image_->MapAt(at)->host_offset.value(); }

  // The first operation of `kind` at or after `from` that touches the range.
  static size_t FindOp(const std::vector<StorageOp>& ops, StorageOp::Kind kind, uint64_t begin,
                       uint64_t end, size_t from = 0) {
    for (size_t i = from; i < ops.size(); ++i) {
      if (ops[i].kind != kind) continue;
      if (kind == StorageOp::Kind::kFlush) return i;
      const uint64_t n = kind == StorageOp::Kind::kWrite ? ops[i].bytes.size() : ops[i].length;
      if (ops[i].offset < end && begin < ops[i].offset + n) return i;
    }
    return kNever;
  }

  std::unique_ptr<Storage> storage_;
  StorageLog log_;
  std::unique_ptr<Image> image_;
};

using Kind = StorageOp::Kind;

// Data, then the refcount, a flush, then L2, L1.
TEST_F(OrderTest, RefcountIsDurableBeforeL1AndL2) {
  Make({}, 1 << 20);
  const uint64_t l1 = Peek(40), block = Peek(Peek(48));
  log_.Take();
  Write(0, kCluster, 1);
  ASSERT_OK(image_->Flush());
  const std::vector<StorageOp> ops = log_.Take();
  const uint64_t data = HostOf(0), l2 = Peek(l1) & 0x00fffffffffffe00;
  const size_t data_at = FindOp(ops, Kind::kWrite, data, data + kCluster);
  const size_t refs_at = FindOp(ops, Kind::kWrite, block, block + kCluster);
  const size_t flush_at = FindOp(ops, Kind::kFlush, 0, 0, std::max(data_at, refs_at));
  const size_t l2_at = FindOp(ops, Kind::kWrite, l2, l2 + 8);
  const size_t l1_at = FindOp(ops, Kind::kWrite, l1, l1 + 8);
  ASSERT_NE(l1_at, kNever);
  EXPECT_LT(data_at, flush_at);
  EXPECT_LT(refs_at, flush_at);
  EXPECT_LT(flush_at, l2_at);
  EXPECT_LT(l2_at, l1_at);
  EXPECT_NE(FindOp(ops, Kind::kFlush, 0, 0, l1_at), kNever);
}

// A dropped cluster is unpublished durably, then punched, and only then
// anyone's: its new owner's bytes must not fall into the hole.
TEST_F(OrderTest, FreedClusterIsPunchedBeforeItsReuse) {
  Make({}, 8 << 20);
  Write(0, kCluster, 1);
  ASSERT_OK(image_->Flush());
  const uint64_t host = HostOf(0);
  log_.Take();
  ASSERT_OK(image_->Discard(0, kCluster));
  // Not durable yet: nobody may have it.
  Write(1 << 20, kCluster, 2);
  EXPECT_NE(HostOf(1 << 20), host);
  ASSERT_OK(image_->Flush());
  Write(2 << 20, kCluster, 3);
  ASSERT_EQ(HostOf(2 << 20), host) << "the test wants the place used again";
  ASSERT_OK(image_->Flush());
  const std::vector<StorageOp> ops = log_.Take();
  const size_t punch = FindOp(ops, Kind::kPunch, host, host + kCluster);
  const size_t reuse = FindOp(ops, Kind::kWrite, host, host + kCluster);
  ASSERT_NE(reuse, kNever);
  EXPECT_LT(FindOp(ops, Kind::kFlush, 0, 0), punch);
  EXPECT_LT(punch, reuse);
  EXPECT_EQ(FindOp(ops, Kind::kPunch, host, host + kCluster, reuse), kNever);
}

// The image's first cluster is never given to guest data.
TEST_F(OrderTest, GuestWritesNeverReachTheHeader) {
  Make({{"cluster_size", "512"}}, 4 << 20);
  std::vector<uint8_t> header(512), now(512);
  ASSERT_OK(storage_->Read(0, header));
  log_.Take();
  for (uint64_t at = 0; at + 2048 <= 4 << 20; at += 3072) Write(at, 2048, 0xee);
  ASSERT_OK(image_->Flush());
  for (const StorageOp& op : log_.Take()) {
    if (op.kind != Kind::kWrite || op.offset >= 512) continue;
    // The refcount table moved: 12 bytes of the header say where to.
    EXPECT_EQ(op.offset, 48u);
    EXPECT_EQ(op.bytes.size(), 12u);
  }
}

// Moving the refcount table gives the old one back, and the file ends where
// the last cluster in use does.
TEST_F(OrderTest, MovedRefcountTableDoesNotLeak) {
  Make({{"cluster_size", "512"}, {"refcount_bits", "64"}}, 16 << 20);
  const uint64_t table = Peek(48);
  for (uint64_t at = 0; at < 16 << 20; at += 65536) Write(at, 65536, 1);
  ASSERT_OK(image_->Close());
  EXPECT_NE(Peek(48), table) << "the test wants the table to move";
  image_.reset();
  ASSERT_OK_AND_ASSIGN(auto image,
                       Image::Open(Borrow(storage_.get()), {.format = "qcow2", .for_check = true}));
  ASSERT_OK_AND_ASSIGN(CheckResult check, image->Check(CheckRepair::kNone));
  EXPECT_EQ(check.leaks, 0u);
  EXPECT_EQ(check.corruptions, 0u);
  EXPECT_EQ(check.image_end_offset, storage_->Size().value());
}

// Flushes with nothing to say cost nothing.
TEST_F(OrderTest, IdleFlushIsElided) {
  Make({}, 1 << 20);
  Write(0, 4096, 1);
  ASSERT_OK(image_->Flush());
  log_.Take();
  ASSERT_OK(image_->Flush());
  EXPECT_EQ(log_.Take().size(), 0u);
}

TEST_F(OrderTest, DiskOfNoSize) {
  Make({}, 0);
  EXPECT_EQ(image_->size(), 0u);
  ASSERT_OK(image_->Resize(1 << 20, Preallocation::kOff));
  Write(0, 4096, 1);
  ASSERT_OK(image_->Close());
  image_.reset();
  ASSERT_OK_AND_ASSIGN(auto image,
                       Image::Open(Borrow(storage_.get()), {.format = "qcow2", .for_check = true}));
  ASSERT_OK_AND_ASSIGN(CheckResult check, image->Check(CheckRepair::kNone));
  EXPECT_EQ(check.leaks + check.corruptions, 0u);
}

}  // namespace
}  // namespace atl::block
