// SPDX-License-Identifier: Apache-2.0
// Images that lie: each is refused, or stops being written to, with a message
// that names the file, the structure and the place.
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/block/image.h"
#include "lib/block/testing/qemu.h"

namespace atl::block {
namespace {

using absl::StatusCode;

// A small sound image in memory, for tests to damage.
std::unique_ptr<Storage> NewImage(const char* format, uint64_t size,
                                  const FormatOptions& options = {}) {
  auto storage = NewMemoryStorage("bad.img");
  auto all = CompleteOptions(*FindFormat(format), options);
  EXPECT_OK(all);
  EXPECT_OK(FindFormat(format)->create(*storage, size, *all));
  return storage;
}

void Fill(Storage& storage, const char* format, uint64_t bytes) {
  auto image = Image::Open(Borrow(&storage), {.format = format, .writable = true});
  ASSERT_OK(image);
  std::vector<uint8_t> data(bytes, 0x5a);
  ASSERT_OK((*image)->Write(0, data));
  ASSERT_OK((*image)->Close());
}

template <typename T>
void Poke(Storage& storage, uint64_t at, T value) {
  uint8_t bytes[sizeof(T)];
  StoreBe<T>(bytes, value);
  ASSERT_OK(storage.Write(at, bytes));
}

template <typename T>
T Peek(Storage& storage, uint64_t at) {
  uint8_t bytes[sizeof(T)] = {};
  EXPECT_OK(storage.Read(at, bytes));
  return LoadBe<T>(bytes);
}

absl::Status OpenError(Storage& storage, const char* format, bool writable = true) {
  return Image::Open(Borrow(&storage), {.format = format, .writable = writable}).status();
}

constexpr uint64_t kL1SizeAt = 36, kL1OffsetAt = 40, kTableOffsetAt = 48, kTableClustersAt = 56;

struct BadHeader {
  const char* name;
  std::function<void(Storage&)> damage;
  const char* message;
};

class BadHeaderTest : public testing::TestWithParam<BadHeader> {};

TEST_P(BadHeaderTest, IsRefused) {
  auto storage = NewImage("qcow2", 1 << 20);
  GetParam().damage(*storage);
  EXPECT_EQ(OpenError(*storage, "qcow2").message(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Qcow2, BadHeaderTest,
    testing::Values(
        BadHeader{"magic", [](Storage& s) { Poke<uint32_t>(s, 0, 1); },
                  "bad.img: qcow2: not a qcow2 image"},
        BadHeader{"version", [](Storage& s) { Poke<uint32_t>(s, 4, 7); },
                  "bad.img: qcow2: version 7 is not supported"},
        BadHeader{"short", [](Storage& s) { ASSERT_OK(s.Truncate(40)); },
                  "bad.img: qcow2: not a qcow2 image"},
        BadHeader{"cluster_bits", [](Storage& s) { Poke<uint32_t>(s, 20, 40); },
                  "bad.img: qcow2: unsupported cluster size 2^40; 2^9 to 2^21 are valid"},
        BadHeader{"size", [](Storage& s) { Poke<uint64_t>(s, 24, UINT64_MAX); },
                  "bad.img: qcow2: disk size 18446744073709551615 is out of range"},
        BadHeader{"l1_size", [](Storage& s) { Poke<uint32_t>(s, kL1SizeAt, 1 << 23); },
                  "bad.img: qcow2: L1 table of 8388608 entries; 4194304 are the most"},
        BadHeader{"l1_small", [](Storage& s) { Poke<uint64_t>(s, 24, uint64_t{1} << 40); },
                  "bad.img: qcow2: L1 table of 1 entries is too small: a disk of 1099511627776 "
                  "bytes needs 2048"},
        BadHeader{"l1_align", [](Storage& s) { Poke<uint64_t>(s, kL1OffsetAt, 0x30200); },
                  "bad.img: qcow2: L1 table offset 0x30200 is not a multiple of the cluster size"},
        BadHeader{"l1_far", [](Storage& s) { Poke<uint64_t>(s, kL1OffsetAt, uint64_t{1} << 40); },
                  "bad.img: qcow2: L1 table at 0x10000000000 lies past the end of the file"},
        BadHeader{"l1_overflow",
                  [](Storage& s) { Poke<uint64_t>(s, kL1OffsetAt, 0xffffffffffff0000); },
                  "bad.img: qcow2: L1 table of 8 bytes at 0xffffffffffff0000 is out of range"},
        BadHeader{"table_large", [](Storage& s) { Poke<uint32_t>(s, kTableClustersAt, 129); },
                  "bad.img: qcow2: refcount table of 129 clusters; 8 MiB are the most"},
        BadHeader{"table_none", [](Storage& s) { Poke<uint32_t>(s, kTableClustersAt, 0); },
                  "bad.img: qcow2: image does not contain a reference count table"},
        BadHeader{"table_far",
                  [](Storage& s) { Poke<uint64_t>(s, kTableOffsetAt, uint64_t{1} << 40); },
                  "bad.img: qcow2: refcount table at 0x10000000000 lies past the end of the file"},
        BadHeader{"refcount_order", [](Storage& s) { Poke<uint32_t>(s, 96, 7); },
                  "bad.img: qcow2: refcounts of 2^7 bits; 64 bits are the most"},
        BadHeader{"header_length", [](Storage& s) { Poke<uint32_t>(s, 100, 70000); },
                  "bad.img: qcow2: header length 70000 is not within 104 and the cluster"},
        BadHeader{"compression", [](Storage& s) { Poke<uint8_t>(s, 104, 9); },
                  "bad.img: qcow2: compression type 9 does not match the feature bit"},
        BadHeader{"snapshots", [](Storage& s) { Poke<uint32_t>(s, 60, 70000); },
                  "bad.img: qcow2: 70000 snapshots; 65536 are the most"},
        BadHeader{"backing_name",
                  [](Storage& s) {
                    Poke<uint64_t>(s, 8, 0x1000);
                    Poke<uint32_t>(s, 16, 2000);
                  },
                  "bad.img: qcow2: backing file name of 2000 bytes; 1023 are the most"},
        BadHeader{"backing_place",
                  [](Storage& s) {
                    Poke<uint64_t>(s, 8, 0xffff);
                    Poke<uint32_t>(s, 16, 20);
                  },
                  "bad.img: qcow2: backing file name at 0xffff passes the end of the first "
                  "cluster"},
        BadHeader{"extension",
                  [](Storage& s) {
                    Poke<uint32_t>(s, 112, 0x12345678);
                    Poke<uint32_t>(s, 116, 0x7fffffff);
                  },
                  "bad.img: qcow2: header extension 0x12345678 at 0x70 is too large"},
        BadHeader{"unknown_feature", [](Storage& s) { Poke<uint64_t>(s, 72, uint64_t{1} << 40); },
                  "bad.img: qcow2: Unsupported feature(s): bit 40"},
        BadHeader{"named_feature",
                  [](Storage& s) {
                    // The first entry of the feature table, now bit 40's.
                    Poke<uint8_t>(s, 112 + 8 + 1, 40);
                    Poke<uint64_t>(s, 72, uint64_t{1} << 40);
                  },
                  "bad.img: qcow2: Unsupported feature(s): dirty bit"},
        BadHeader{"encrypted", [](Storage& s) { Poke<uint32_t>(s, 32, 2); },
                  "bad.img: qcow2: the image is encrypted (method 2), which is not supported"},
        BadHeader{"data_file", [](Storage& s) { Poke<uint64_t>(s, 72, 4); },
                  "bad.img: qcow2: external data files are not supported"},
        BadHeader{"extended_l2", [](Storage& s) { Poke<uint64_t>(s, 72, 16); },
                  "bad.img: qcow2: extended L2 entries are not supported"},
        BadHeader{"corrupt", [](Storage& s) { Poke<uint64_t>(s, 72, 2); },
                  "bad.img: qcow2: Image is corrupt; cannot be opened read/write (see img check "
                  "-r all)"}),
    [](const auto& info) { return info.param.name; });

// The image of Fill(): header, refcount table, block, L1, then L2 and data.
struct Places {
  explicit Places(Storage& s)
      : l1(Peek<uint64_t>(s, kL1OffsetAt)),
        table(Peek<uint64_t>(s, kTableOffsetAt)),
        block(Peek<uint64_t>(s, table)),
        l2(Peek<uint64_t>(s, l1) & 0x00fffffffffffe00) {}
  uint64_t l1, table, block, l2;
};

TEST(HostileQcow2, BadTables) {
  std::vector<uint8_t> buffer(512);
  struct Case {
    std::function<void(Storage&, const Places&)> damage;
    const char* message;
  };
  const Case cases[] = {
      {[](Storage& s, const Places& p) { Poke<uint64_t>(s, p.l1, 0x8000000000012200); },
       "bad.img: qcow2: L1 entry 0 at 0x30000: L2 table offset 0x12200 is not aligned"},
      {[](Storage& s, const Places& p) { Poke<uint64_t>(s, p.l1, 0x8000100000000000); },
       "bad.img: qcow2: L2 table at 0x100000000000 lies past the end of the file"},
      {[](Storage& s, const Places& p) { Poke<uint64_t>(s, p.l2, 0x8000000000050200); },
       "bad.img: qcow2: L2 entry at 0x40000, of the disk's 0x0: cluster offset 0x50200 is not "
       "aligned"},
      {[](Storage& s, const Places& p) { Poke<uint64_t>(s, p.l2, 0x4000000000050000); },
       "bad.img: qcow2: compressed cluster at 0x50000: packed data: broken deflate stream"},
  };
  for (const Case& c : cases) {
    auto storage = NewImage("qcow2", 1 << 20);
    Fill(*storage, "qcow2", 1 << 16);
    c.damage(*storage, Places(*storage));
    auto image = Image::Open(Borrow(storage.get()), {.format = "qcow2"});
    ASSERT_OK(image);
    EXPECT_EQ((*image)->Read(0, buffer).message(), c.message);
    // What it says must not depend on being asked once.
    EXPECT_EQ((*image)->Read(0, buffer).message(), c.message);
  }
}

// A guest's write must never reach the tables, whatever an L2 entry says.
TEST(HostileQcow2, WritesToMetadataStopTheImage) {
  struct Case {
    std::function<void(Storage&, const Places&)> damage;
    const char* message;
  };
  const Case cases[] = {
      {[](Storage& s, const Places& p) { Poke<uint64_t>(s, p.l2, 0x8000000000000000 | p.l1); },
       "bad.img: qcow2: preventing invalid write on metadata (overlaps with active L1 table) at "
       "0x30000"},
      {[](Storage& s, const Places& p) { Poke<uint64_t>(s, p.l2, 0x8000000000000000 | p.l2); },
       "bad.img: qcow2: preventing invalid write on metadata (overlaps with active L2 table) at "
       "0x40000"},
      {[](Storage& s, const Places& p) { Poke<uint64_t>(s, p.l2, 0x8000000000000000 | p.block); },
       "bad.img: qcow2: preventing invalid write on metadata (overlaps with refcount block) at "
       "0x20000"},
      {[](Storage& s, const Places& p) { Poke<uint64_t>(s, p.l2, 0x8000000000000000 | p.table); },
       "bad.img: qcow2: preventing invalid write on metadata (overlaps with refcount table) at "
       "0x10000"},
      {[](Storage& s, const Places& p) { Poke<uint64_t>(s, p.l1, 0x8000000000000000 | p.table); },
       "bad.img: qcow2: active L2 table at 0x10000 overlaps with refcount table"},
      {[](Storage& s, const Places& p) { Poke<uint64_t>(s, p.table, p.l1); },
       "bad.img: qcow2: refcount block at 0x30000 overlaps with active L1 table"},
  };
  std::vector<uint8_t> data(4096, 1);
  for (const Case& c : cases) {
    auto storage = NewImage("qcow2", 1 << 20);
    Fill(*storage, "qcow2", 1 << 16);
    c.damage(*storage, Places(*storage));
    std::vector<uint8_t> before(storage->Size().value());
    ASSERT_OK(storage->Read(0, before));
    auto image = Image::Open(Borrow(storage.get()), {.format = "qcow2", .writable = true});
    ASSERT_OK(image);
    EXPECT_EQ((*image)->Write(0, data).message(), c.message);
    EXPECT_EQ((*image)->Write(1 << 19, data).message(), c.message);
    EXPECT_FALSE((*image)->Flush().ok());
    image->reset();
    std::vector<uint8_t> after(before.size());
    ASSERT_OK(storage->Read(0, after));
    EXPECT_EQ(after[79], 2) << "the corrupt bit";
    after[79] = 0;
    EXPECT_TRUE(after == before);
    EXPECT_THAT(OpenError(*storage, "qcow2"),
                StatusIs(StatusCode::kDataLoss, "Image is corrupt; cannot be opened read/write"));
  }
}

// A refcount of 0 for what is in use must not hand the place out again.
TEST(HostileQcow2, FreeMetadataIsNotAllocated) {
  auto storage = NewImage("qcow2", 1 << 20);
  Fill(*storage, "qcow2", 1 << 16);
  Places p(*storage);
  Poke<uint16_t>(*storage, p.block + 2 * (p.l2 >> 16), 0);
  auto image = Image::Open(Borrow(storage.get()), {.format = "qcow2", .writable = true});
  ASSERT_OK(image);
  std::vector<uint8_t> data(4096, 1);
  EXPECT_EQ((*image)->Write(1 << 17, data).message(),
            "bad.img: qcow2: the refcount of clusters at 0x40000 is 0, but the active L2 table "
            "lies there");
}

// The first 64 KiB are the header's, though a refcount may say they are free.
TEST(HostileQcow2, HeaderIsNeverAllocated) {
  auto storage = NewImage("qcow2", 1 << 20);
  Places p(*storage);
  Poke<uint16_t>(*storage, p.block, 0);
  auto image = Image::Open(Borrow(storage.get()), {.format = "qcow2", .writable = true});
  ASSERT_OK(image);
  std::vector<uint8_t> data(65536, 1);
  EXPECT_THAT((*image)->Write(0, data),
              StatusIs(StatusCode::kDataLoss, "is 0, but the qcow2 header lies there"));
  EXPECT_EQ(Peek<uint32_t>(*storage, 0), 0x514649fbu);
}

TEST(HostileQcow, Header) {
  struct Case {
    std::function<void(Storage&)> damage;
    const char* message;
  };
  const Case cases[] = {
      {[](Storage& s) { ASSERT_OK(s.Truncate(20)); },
       "bad.img: qcow: the file is too short for a header"},
      {[](Storage& s) { Poke<uint8_t>(s, 32, 30); },
       "bad.img: qcow: Cluster size must be between 512 and 64k"},
      {[](Storage& s) { Poke<uint8_t>(s, 33, 30); },
       "bad.img: qcow: L2 table size must be between 512 and 64k"},
      {[](Storage& s) { Poke<uint64_t>(s, 24, UINT64_MAX); }, "bad.img: qcow: Image too large"},
      {[](Storage& s) { Poke<uint64_t>(s, 24, uint64_t{1} << 50); },
       "bad.img: qcow: Image too large: L1 table of 536870912 entries"},
      {[](Storage& s) { Poke<uint64_t>(s, 40, uint64_t{1} << 50); },
       "bad.img: qcow: L1 table at 0x4000000000000 lies past the end of the file"},
      {[](Storage& s) { Poke<uint32_t>(s, 36, 1); },
       "bad.img: qcow: the image is encrypted (AES), which is not supported"},
      {[](Storage& s) {
         Poke<uint64_t>(s, 8, 48);
         Poke<uint32_t>(s, 16, 5000);
       },
       "bad.img: qcow: Backing file name too long"},
  };
  for (const Case& c : cases) {
    auto storage = NewImage("qcow", 1 << 20);
    c.damage(*storage);
    EXPECT_EQ(OpenError(*storage, "qcow").message(), c.message);
  }
}

TEST(Backing, LoopNamesTheChain) {
  const std::string dir = TestPath("loop");
  ASSERT_EQ(RunCommand("mkdir -p " + dir + " && cd " + dir +
                       " && qemu-img create -q -f qcow2 -u -b b.qcow2 -F qcow2 a.qcow2 1M"
                       " && qemu-img create -q -f qcow2 -u -b c.qcow2 -F qcow2 b.qcow2 1M"
                       " && qemu-img create -q -f qcow2 -u -b a.qcow2 -F qcow2 c.qcow2 1M")
                .exit,
            0);
  EXPECT_EQ(Image::Open(dir + "/a.qcow2", {.writable = true}).status().message(),
            absl::StrCat("backing files form a loop: ", dir, "/a.qcow2 -> ", dir, "/b.qcow2 -> ",
                         dir, "/c.qcow2 -> ", dir, "/a.qcow2"));
}

TEST(Backing, DepthIsLimited) {
  OpenOptions options{.format = "qcow2"};
  int opened = 0;
  std::vector<std::unique_ptr<Storage>> files;
  options.open_storage = [&](absl::string_view path) -> absl::StatusOr<std::unique_ptr<Storage>> {
    auto storage = NewMemoryStorage(path);
    auto all = CompleteOptions(*FindFormat("qcow2"), {{"backing_file", absl::StrCat("f", ++opened)},
                                                      {"backing_fmt", "qcow2"}});
    RETURN_IF_ERROR(FindFormat("qcow2")->create(*storage, 1 << 20, *all));
    return storage;
  };
  EXPECT_EQ(Image::Open("f0", options).status().message(), "f0: more than 200 backing files");
  EXPECT_EQ(opened, 200);
}

TEST(Backing, NamesThatAreNotFollowed) {
  for (const char* name : {"json:{\"driver\":\"file\"}", "nbd:localhost:10809", "file:/etc/passwd",
                           "fat:rw:/", "https://example.org/x"}) {
    auto storage = NewImage("qcow2", 1 << 20, {{"backing_file", name}, {"backing_fmt", "raw"}});
    EXPECT_THAT(
        OpenError(*storage, "qcow2"),
        StatusIs(StatusCode::kInvalidArgument, absl::StrCat("bad.img: backing file '", name, "'")));
    auto image = Image::Open(Borrow(storage.get()), {.describe_only = true});
    ASSERT_OK(image);
    auto info = (*image)->Info();
    ASSERT_OK(info);
    EXPECT_EQ(info->backing_file, name);
  }
}

TEST(Backing, PolicyConfinesToTheFolder) {
  const std::string dir = TestPath("confined");
  ASSERT_EQ(RunCommand("mkdir -p " + dir + "/in && cd " + dir +
                       " && truncate -s 1M outside.raw in/inside.raw && ln -sf ../outside.raw "
                       "in/link.raw"
                       " && qemu-img create -q -f qcow2 -b inside.raw -F raw in/good.qcow2"
                       " && qemu-img create -q -f qcow2 -b ../outside.raw -F raw in/up.qcow2"
                       " && qemu-img create -q -f qcow2 -b link.raw -F raw in/link.qcow2"
                       " && qemu-img create -q -f qcow2 -u -b /etc/passwd -F raw in/abs.qcow2 1M")
                .exit,
            0);
  OpenOptions options{.backing = BackingPolicy::kConfined};
  EXPECT_OK(Image::Open(dir + "/in/good.qcow2", options));
  for (const char* name : {"up", "link", "abs"}) {
    EXPECT_THAT(Image::Open(absl::StrCat(dir, "/in/", name, ".qcow2"), options),
                StatusIs(StatusCode::kPermissionDenied,
                         "lies outside the folder of the image that names it"));
  }
  options.backing = BackingPolicy::kNone;
  EXPECT_THAT(Image::Open(dir + "/in/good.qcow2", options),
              StatusIs(StatusCode::kPermissionDenied,
                       "good.qcow2: names the backing file 'inside.raw', and none is allowed"));
}

TEST(Backing, MissingFileNamesBoth) {
  const std::string path = TestPath("orphan.qcow2");
  ASSERT_EQ(RunCommand("qemu-img create -q -f qcow2 -u -b gone.raw -F raw " + path + " 1M").exit,
            0);
  EXPECT_EQ(Image::Open(path, {}).status().message(),
            absl::StrCat("Could not open backing file of ", path, ": ", TestPath("gone.raw"),
                         ": No such file or directory"));
}

// A guest must not turn a raw disk whose format was guessed into another one.
TEST(Probing, GuestCannotChangeTheFormat) {
  auto storage = NewMemoryStorage("disk.raw");
  ASSERT_OK(storage->Truncate(1 << 20));
  auto evil = NewImage("qcow2", 1 << 20, {{"backing_file", "/etc/shadow"}, {"backing_fmt", "raw"}});
  std::vector<uint8_t> header(512);
  ASSERT_OK(evil->Read(0, header));
  {
    auto image = Image::Open(Borrow(storage.get()), {.writable = true});
    ASSERT_OK(image);
    EXPECT_STREQ((*image)->format().name, "raw");
    EXPECT_THAT((*image)->Write(0, header),
                StatusIs(StatusCode::kPermissionDenied,
                         "disk.raw: write would turn this raw disk into a qcow2 image"));
    EXPECT_OK((*image)->Write(512, header));
    header[0] = 0;
    EXPECT_OK((*image)->Write(0, header));
  }
  header[0] = 'Q';
  auto image = Image::Open(Borrow(storage.get()), {.format = "raw", .writable = true});
  ASSERT_OK(image);
  EXPECT_OK((*image)->Write(0, header));
}

TEST(Locks, TwoWritersExcludeEachOther) {
  const std::string path = TestPath("locked.qcow2");
  ASSERT_OK(CreateImage({.path = path, .format = "qcow2", .size = 1 << 20}));
  auto writer = Image::Open(path, {.format = "qcow2", .writable = true});
  ASSERT_OK(writer);
  const std::string who = absl::StrCat("process ", getpid(), " (");
  EXPECT_THAT(Image::Open(path, {.format = "qcow2", .writable = true}),
              StatusIs(StatusCode::kUnavailable,
                       absl::StrCat(path, ": Failed to get \"write\" lock: ", who)));
  EXPECT_THAT(Image::Open(path, {.format = "qcow2"}),
              StatusIs(StatusCode::kUnavailable,
                       absl::StrCat(path, ": Failed to get shared \"write\" lock: ", who)));
  EXPECT_OK(Image::Open(path, {.format = "qcow2", .force_share = true}));
  // What would empty the file must not, either.
  EXPECT_THAT(CreateImage({.path = path, .format = "raw", .size = 1 << 20}),
              StatusIs(StatusCode::kUnavailable, "lock"));
  CommandResult qemu = RunCommand("qemu-img info " + path);
  EXPECT_NE(qemu.exit, 0) << qemu.output;
  EXPECT_THAT(qemu.output, testing::HasSubstr("Failed to get shared \"write\" lock"));
  writer->reset();
  EXPECT_EQ(RunCommand("qemu-img info " + path).exit, 0);
  // Readers share.
  auto one = Image::Open(path, {.format = "qcow2"}), two = Image::Open(path, {.format = "qcow2"});
  EXPECT_OK(one);
  EXPECT_OK(two);
}

}  // namespace
}  // namespace atl::block
