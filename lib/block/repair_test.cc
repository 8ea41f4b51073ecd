// SPDX-License-Identifier: Apache-2.0
// Repairs of images whose parts lie on each other or end early: what a repair
// says is mended stays so, and what cannot be mended is said.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/block/image.h"
#include "lib/block/testing/storages.h"

namespace atl::block {
namespace {

using absl::StatusCode;
using testing::Contains;
using testing::HasSubstr;

constexpr uint64_t kCluster = 512;

// An image of clusters of 512 bytes with 64-bit refcounts. Its parts, each one
// cluster: header, refcount table, refcount block, L1 table of `l1` entries.
struct Small {
  static constexpr uint64_t kTable = 0x200, kBlock = 0x400, kL1 = 0x600;

  explicit Small(uint32_t l1 = 1, uint64_t clusters = 4) : storage(NewMemoryStorage("small.img")) {
    EXPECT_OK(storage->Truncate(clusters * kCluster));
    Put<uint32_t>(0, 0x514649fb);
    Put<uint32_t>(4, 3);
    Put<uint32_t>(20, 9);  // cluster bits
    Put<uint64_t>(24, l1 == 0 ? 0 : kCluster);
    Put<uint32_t>(36, l1);
    Put<uint64_t>(40, kL1);
    Put<uint64_t>(48, kTable);
    Put<uint32_t>(56, 1);
    Put<uint32_t>(96, 6);  // refcount order
    Put<uint32_t>(100, 104);
    Put<uint64_t>(kTable, kBlock);
    for (uint64_t c = 0; c < clusters; ++c) Put<uint64_t>(kBlock + 8 * c, 1);
  }

  template <typename T>
  void Put(uint64_t at, T value) {
    uint8_t bytes[sizeof(T)];
    StoreBe<T>(bytes, value);
    EXPECT_OK(storage->Write(at, bytes));
  }

  CheckResult Check(CheckRepair repair) {
    auto image = Image::Open(Borrow(storage.get()),
                             {.format = "qcow2", .writable = true, .for_check = true});
    EXPECT_OK(image);
    auto result = (*image)->Check(repair);
    EXPECT_OK(result);
    return result.value_or(CheckResult{.check_errors = 1});
  }

  std::unique_ptr<Storage> storage;
};

uint64_t Left(const CheckResult& r) { return r.corruptions + r.leaks + r.check_errors; }

TEST(Repair, SmallImageIsSound) {
  Small image;
  CheckResult r = image.Check(CheckRepair::kNone);
  EXPECT_EQ(Left(r), 0u) << testing::PrintToString(r.messages);
}

// The file ends in the header's cluster, within an extension, and a repair
// makes it longer.
TEST(Repair, HeaderSaysTheSameWhenTheFileGrows) {
  Small image(0, 1);
  image.Put<uint32_t>(104, 0x12345678);  // an extension, ...
  image.Put<uint16_t>(108, 0xffff);      // ... of a length of which half is there
  ASSERT_OK(image.storage->Truncate(110));
  auto opened = Image::Open(Borrow(image.storage.get()), {.format = "qcow2", .for_check = true});
  EXPECT_THAT(opened.status(),
              StatusIs(StatusCode::kDataLoss, "header extension 0x12345678 at 0x68 is too large"));

  image.Put<uint16_t>(108, 0);  // none, and the next one begins
  image.Put<uint8_t>(112, 0x41);
  ASSERT_OK(image.storage->Truncate(113));
  EXPECT_EQ(Left(image.Check(CheckRepair::kAll)), 0u);
  EXPECT_EQ(Left(image.Check(CheckRepair::kNone)), 0u);
}

// A file that ends in the header has its other fields as zeroes.
TEST(Repair, HeaderThatEndsEarlyIsPadded) {
  Small image(0, 1);
  image.Put<uint32_t>(4, 2);
  ASSERT_OK(image.storage->Truncate(72));
  EXPECT_EQ(Left(image.Check(CheckRepair::kAll)), 0u);
  EXPECT_EQ(Left(image.Check(CheckRepair::kNone)), 0u);
  EXPECT_OK(Image::Open(Borrow(image.storage.get()), {.format = "qcow2", .writable = true}));
}

// The table names itself as a block: counts put right would take the block away.
TEST(Repair, RefcountBlockInTheRefcountTable) {
  Small image(0, 3);
  image.Put<uint64_t>(Small::kTable, Small::kTable);
  image.Put<uint64_t>(Small::kTable + 8, 2);
  image.Put<uint64_t>(Small::kTable + 16, 1);
  CheckResult before = image.Check(CheckRepair::kNone);
  EXPECT_THAT(before.messages, Contains(HasSubstr("refcount block 0 refcount=")));
  CheckResult r = image.Check(CheckRepair::kAll);
  EXPECT_EQ(Left(r), 0u) << testing::PrintToString(r.messages);
  CheckResult after = image.Check(CheckRepair::kNone);
  EXPECT_EQ(Left(after), 0u) << testing::PrintToString(after.messages);
}

// All counted, and still wrong: each table would be changed as if it were the other.
TEST(Repair, RefcountTableInTheL1TableMoves) {
  Small image;
  image.Put<uint64_t>(40, Small::kTable);
  image.Put<uint32_t>(36, 8);  // the L1 table's entries: the refcount table's
  image.Put<uint64_t>(Small::kTable, 0);
  CheckResult before = image.Check(CheckRepair::kNone);
  EXPECT_THAT(before.messages,
              Contains("ERROR refcount table at 0x200 overlaps with active L1 table"));
  CheckResult r = image.Check(CheckRepair::kAll);
  EXPECT_EQ(Left(r), 0u) << testing::PrintToString(r.messages);
  EXPECT_EQ(Left(image.Check(CheckRepair::kNone)), 0u);
}

TEST(Repair, TablesOnEachOtherAreNotCalledSound) {
  Small image;
  // One snapshot, whose entry is the L1 table: of no L1 table, no name, no id.
  image.Put<uint32_t>(60, 1);
  image.Put<uint64_t>(64, Small::kL1);
  image.Put<uint64_t>(Small::kBlock + 8 * 3, 2);
  for (CheckRepair repair : {CheckRepair::kNone, CheckRepair::kAll, CheckRepair::kNone}) {
    CheckResult r = image.Check(repair);
    EXPECT_EQ(r.corruptions, 1u);
    EXPECT_THAT(r.messages,
                Contains("ERROR active L1 table at 0x600 overlaps with snapshot table"));
  }
}

// Nothing is asked for, and so no memory taken, that the file cannot have.
TEST(Repair, LargeTablesOfASmallFile) {
  struct Case {
    void (*damage)(Small&);
    const char* message;
    StatusCode open = StatusCode::kDataLoss;
  };
  const Case cases[] = {
      {[](Small& s) { s.Put<uint32_t>(36, 4 << 20); }, "L1 table at 0x600 lies past the end"},
      {[](Small& s) { s.Put<uint32_t>(56, (8 << 20) / kCluster); },
       "refcount table at 0x200 lies past the end"},
      {[](Small& s) {
         s.Put<uint32_t>(60, 1);
         s.Put<uint64_t>(64, 0x800);
         s.Put<uint64_t>(0x800, Small::kL1);  // the snapshot's L1 table
         s.Put<uint32_t>(0x808, 4 << 20);
       },
       "L1 table at 0x600 lies past the end", StatusCode::kOk},
  };
  for (const Case& c : cases) {
    Small image(1, 5);
    c.damage(image);
    TestStorage storage(image.storage.get(), nullptr, nullptr);
    EXPECT_EQ(Image::Open(Borrow(&storage), {.format = "qcow2", .writable = true}).status().code(),
              c.open);
    auto check = Image::Open(Borrow(&storage), {.format = "qcow2", .for_check = true});
    ASSERT_OK(check);
    ASSERT_OK_AND_ASSIGN(CheckResult r, (*check)->Check(CheckRepair::kNone));
    EXPECT_THAT(r.messages, Contains(HasSubstr(c.message)));
    EXPECT_LE(storage.largest_read(), 5 * kCluster) << c.message;
  }
}

// An image that was opened for something else has no tables in memory.
TEST(Repair, OpenedForACheckItHasNoData) {
  Small image;
  auto opened = Image::Open(Borrow(image.storage.get()),
                            {.format = "qcow2", .writable = true, .for_check = true});
  ASSERT_OK(opened);
  std::vector<uint8_t> bytes(512);
  const char* message = "small.img: was opened to be described or checked, not for its data";
  EXPECT_EQ((*opened)->Read(0, bytes).message(), message);
  EXPECT_EQ((*opened)->Write(0, bytes).message(), message);
  EXPECT_EQ((*opened)->MapAt(0, 512).status().message(), message);
}

}  // namespace
}  // namespace atl::block
