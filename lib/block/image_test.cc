// SPDX-License-Identifier: Apache-2.0
// Creating, describing, mapping, resizing and repairing images, next to what
// qemu-img says of them.
#include "lib/block/image.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/block/testing/qemu.h"

namespace atl::block {
namespace {

using absl::StatusCode;

void Qemu(const std::string& command) {
  CommandResult r = RunCommand(command);
  ASSERT_EQ(r.exit, 0) << command << "\n" << r.output;
}

void Write(Image& image, uint64_t at, uint64_t n, uint8_t byte) {
  std::vector<uint8_t> data(n, byte);
  ASSERT_OK(image.Write(at, data));
}

void ExpectByte(Image& image, uint64_t at, uint8_t byte) {
  uint8_t b[1];
  ASSERT_OK(image.Read(at, b));
  EXPECT_EQ(b[0], byte) << "at " << at;
}

absl::StatusOr<std::unique_ptr<Image>> OpenRw(const std::string& path, const char* format) {
  return Image::Open(path, {.format = format, .writable = true});
}

TEST(Create, ErrorsLeaveTheFileAlone) {
  const std::string path = TestPath("keep");
  std::ofstream(path) << "precious";
  struct Case {
    CreateRequest request;
    const char* message;
  };
  const Case cases[] = {
      {{.format = "qcow3", .size = 1}, "Unknown file format 'qcow3'"},
      {{.format = "qcow2"}, "Image creation needs a size parameter"},
      {{.format = "qcow2", .size = 1, .options = {{"cluster_size", "3000"}}},
       "Cluster size must be a power of two between 512 and 2048k"},
      {{.format = "qcow2", .size = 1, .options = {{"refcount_bits", "3"}}},
       "Refcount width must be a power of two and may not exceed 64 bits"},
      {{.format = "qcow2", .size = 1, .options = {{"compat", "0.10"}, {"refcount_bits", "8"}}},
       "Different refcount widths than 16 bits require compatibility level 1.1 or above"},
      {{.format = "qcow2", .size = 1, .options = {{"compat", "v2"}, {"lazy_refcounts", "on"}}},
       "Lazy refcounts only supported with compatibility level 1.1 and above"},
      {{.format = "qcow2", .size = 1, .options = {{"compression_type", "lzma"}}},
       "Parameter 'compression_type' expects one of zlib, zstd, not 'lzma'"},
      {{.format = "qcow2", .size = 1, .options = {{"clustersize", "1"}}},
       "Invalid parameter 'clustersize'"},
      {{.format = "qcow2", .size = uint64_t{1} << 50, .options = {{"cluster_size", "512"}}},
       "Image size too large for file format"},
      {{.format = "qcow", .size = 0}, "Image size is too small"},
      {{.format = "qcow", .size = 1, .options = {{"encryption", "on"}}},
       "encryption is not supported"},
      {{.format = "raw", .size = 1, .options = {{"backing_file", "x"}}},
       "Backing file not supported for file format 'raw'"},
      {{.format = "qcow2", .size = 1, .options = {{"backing_file", "x"}}},
       "Backing file specified without backing format"},
      {{.format = "qcow2",
        .size = 1,
        .options = {{"backing_file", "/nonexistent"}, {"backing_fmt", "raw"}}},
       "Could not open backing file: /nonexistent: No such file or directory"},
  };
  for (Case c : cases) {
    c.request.path = path;
    absl::Status status = CreateImage(c.request);
    EXPECT_FALSE(status.ok()) << c.message;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(c.message));
    std::string text;
    std::ifstream(path) >> text;
    EXPECT_EQ(text, "precious") << c.message;
  }
}

TEST(Create, QemuReadsWhatWeMake) {
  for (const char* options :
       {"", "cluster_size=512", "cluster_size=2M", "compat=0.10", "refcount_bits=1",
        "refcount_bits=64", "lazy_refcounts=on", "compression_type=zstd", "preallocation=metadata",
        "preallocation=falloc", "preallocation=full"}) {
    const std::string path = TestPath("made.qcow2");
    CreateRequest request{.path = path, .format = "qcow2", .size = 20 << 20};
    std::string o = options;
    if (!o.empty()) {
      request.options.emplace_back(o.substr(0, o.find('=')), o.substr(o.find('=') + 1));
    }
    ASSERT_OK(CreateImage(request)) << options;
    Qemu("qemu-img check -q -f qcow2 " + path);
    const std::string theirs = TestPath("theirs.qcow2");
    Qemu(absl::StrCat("qemu-img create -q -f qcow2 ", o.empty() ? "" : "-o ", o, " ", theirs,
                      " 20M"));
    auto info = [](const std::string& p) {
      std::string text = RunCommand("qemu-img info " + p).output;
      return text.substr(text.find("virtual size"));
    };
    auto without_disk_size = [](std::string s) {
      size_t at = s.find("disk size");
      return s.erase(at, s.find('\n', at) - at);
    };
    EXPECT_EQ(without_disk_size(info(path)), without_disk_size(info(theirs))) << options;
  }
}

TEST(Info, OfQemusImage) {
  const std::string base = TestPath("info_base.raw"), path = TestPath("info.qcow2");
  Qemu("truncate -s 3M " + base);
  Qemu("qemu-img create -q -f qcow2 -b info_base.raw -F raw -o lazy_refcounts=on,refcount_bits=8 " +
       path);
  Qemu("qemu-img snapshot -c first " + path);
  Qemu("qemu-img bitmap --add -g 64k " + path + " b0");
  ASSERT_OK_AND_ASSIGN(auto image, Image::Open(path, {}));
  ASSERT_OK_AND_ASSIGN(ImageInfo info, image->Info());
  EXPECT_EQ(info.format, "qcow2");
  EXPECT_EQ(info.virtual_size, 3u << 20);
  EXPECT_EQ(info.cluster_size, 65536u);
  EXPECT_EQ(info.backing_file, "info_base.raw");
  EXPECT_EQ(info.full_backing_file, base);
  EXPECT_EQ(info.backing_format, "raw");
  ASSERT_EQ(info.snapshots.size(), 1u);
  EXPECT_EQ(info.snapshots[0].name, "first");
  EXPECT_EQ(info.snapshots[0].id, "1");
  ASSERT_TRUE(info.qcow2.has_value());
  EXPECT_EQ(info.qcow2->compat, "1.1");
  EXPECT_EQ(info.qcow2->refcount_bits, 8);
  EXPECT_TRUE(info.qcow2->lazy_refcounts);
  ASSERT_EQ(info.qcow2->bitmaps.size(), 1u);
  EXPECT_EQ(info.qcow2->bitmaps[0].name, "b0");
  EXPECT_EQ(info.qcow2->bitmaps[0].granularity, 65536u);
  EXPECT_EQ(image->depth(), 2);
}

// Writing voids bitmaps: the autoclear bit must go, or they would lie.
TEST(Write, ClearsBitmapsOnTheFirstChangeOnly) {
  const std::string path = TestPath("bitmaps.qcow2");
  Qemu("qemu-img create -q -f qcow2 " + path + " 1M && qemu-img bitmap --add " + path + " b0");
  auto bitmaps = [&] {
    auto image = Image::Open(path, {});
    return (*image)->Info()->qcow2->bitmaps.size();
  };
  ASSERT_OK_AND_ASSIGN(auto image, OpenRw(path, "qcow2"));
  ASSERT_OK(image->Close());
  image.reset();
  EXPECT_EQ(bitmaps(), 1u);
  ASSERT_OK_AND_ASSIGN(image, OpenRw(path, "qcow2"));
  Write(*image, 0, 512, 1);
  ASSERT_OK(image->Close());
  image.reset();
  EXPECT_EQ(bitmaps(), 0u);
  EXPECT_THAT(RunCommand("qemu-img check -f qcow2 " + path).exit, testing::AnyOf(0, 3));
}

// What a snapshot refers to is copied, not overwritten.
TEST(Write, RespectsSnapshots) {
  for (const char* compat : {"0.10", "1.1"}) {
    const std::string path = TestPath("snap.qcow2");
    Qemu(absl::StrCat("qemu-img create -q -f qcow2 -o cluster_size=4k,compat=", compat, " ", path,
                      " 4M"));
    Qemu("qemu-io -f qcow2 -c 'write -q -P 1 0 4M' " + path);
    Qemu("qemu-img snapshot -c s " + path);
    ASSERT_OK_AND_ASSIGN(auto image, OpenRw(path, "qcow2"));
    for (uint64_t at = 1000; at < 4 << 20; at += 100000) Write(*image, at, 5000, 2);
    ASSERT_OK(image->WriteZeroes(1 << 20, 1 << 20, true));
    ASSERT_OK(image->Discard(2 << 20, 1 << 20));
    ExpectByte(*image, 1000, 2);
    ExpectByte(*image, 999, 1);
    ASSERT_OK(image->Close());
    image.reset();
    Qemu("qemu-img check -q -f qcow2 " + path);
    Qemu("qemu-img snapshot -a s " + path);
    Qemu("qemu-io -f qcow2 -c 'read -q -P 1 0 4M' " + path);
    Qemu("qemu-img check -q -f qcow2 " + path);
  }
}

std::string OurMap(Image& image) {
  std::string out;
  for (uint64_t at = 0; at < image.size();) {
    auto e = image.MapAt(at);
    if (!e.ok()) return e.status().ToString();
    auto b = [](bool v) { return v ? "true" : "false"; };
    absl::StrAppendFormat(&out,
                          "{ \"start\": %d, \"length\": %d, \"depth\": %d, \"present\": %s, "
                          "\"zero\": %s, \"data\": %s",
                          e->offset, e->length, e->depth, b(e->present), b(e->zero), b(e->data));
    if (e->host_offset.has_value())
      absl::StrAppendFormat(&out, ", \"offset\": %d", *e->host_offset);
    absl::StrAppend(&out, "}");
    at += e->length;
    out += at < image.size() ? ",\n" : "]\n";
  }
  return "[" + out;
}

// Bytes at their place are what Read() gives.
void ExpectPlaced(Image& image, uint64_t at, uint64_t n) {
  const std::optional<Disk::Place> place = image.PlaceOf(at, n, false);
  ASSERT_TRUE(place.has_value()) << at;
  std::vector<uint8_t> there(n), read(n);
  ASSERT_EQ(pread(place->fd, there.data(), n, static_cast<off_t>(place->offset)),
            static_cast<ssize_t>(n));
  ASSERT_OK(image.Read(at, read));
  EXPECT_EQ(there, read);
}

TEST(Place, OfAllocatedBytesOnly) {
  constexpr uint64_t kCluster = 65536;
  for (const char* format : {"qcow2", "qcow", "raw"}) {
    const std::string path = TestPath(format);
    ASSERT_OK(CreateImage({.path = path, .format = format, .size = 64 * kCluster}));
    ASSERT_OK_AND_ASSIGN(std::unique_ptr<Image> image, OpenRw(path, format));
    const bool raw = std::string(format) == "raw";
    EXPECT_EQ(image->PlaceOf(0, 512, false).has_value(), raw) << format;
    EXPECT_EQ(image->PlaceOf(0, 512, true).has_value(), raw) << format;
    Write(*image, 4096, 3 * kCluster, 0x51);
    ExpectPlaced(*image, 8192, 4096);
    ExpectPlaced(*image, kCluster - 512, 1024);
    EXPECT_EQ(image->PlaceOf(40 * kCluster, 512, false).has_value(), raw);
    EXPECT_EQ(image->PlaceOf(39 * kCluster, 20 * kCluster, true).has_value(), raw);
    EXPECT_FALSE(image->PlaceOf(64 * kCluster - 512, 1024, false).has_value()) << "past the end";
    // Written there, it reads so; and it is not lost with a snapshot or a discard later.
    {
      const std::optional<Disk::Place> place = image->PlaceOf(8192, 512, true);
      ASSERT_TRUE(place.has_value()) << format;
      const std::vector<uint8_t> data(512, 0x52);
      ASSERT_EQ(pwrite(place->fd, data.data(), 512, static_cast<off_t>(place->offset)), 512);
    }
    ExpectByte(*image, 8192, 0x52);
    ExpectByte(*image, 8704, 0x51);
    ASSERT_OK(image->WriteZeroes(0, kCluster, true));
    ASSERT_OK(image->Flush());
    EXPECT_EQ(image->PlaceOf(8192, 512, false).has_value(), raw);
    ASSERT_OK(image->Close());
    EXPECT_FALSE(image->PlaceOf(kCluster, 512, false).has_value());
  }
}

TEST(Place, NeverOfSharedOrPackedClustersOrGuardedBytes) {
  const std::string path = TestPath("shared.qcow2");
  ASSERT_OK(CreateImage({.path = path, .format = "qcow2", .size = 1 << 20}));
  {
    ASSERT_OK_AND_ASSIGN(std::unique_ptr<Image> image, OpenRw(path, "qcow2"));
    Write(*image, 0, 65536, 1);
    ASSERT_OK(image->Close());
  }
  Qemu(absl::StrCat("qemu-img snapshot -c one ", path));
  {
    ASSERT_OK_AND_ASSIGN(std::unique_ptr<Image> image, OpenRw(path, "qcow2"));
    Write(*image, 131072, 512, 2);
    ExpectByte(*image, 0, 1);
    ExpectPlaced(*image, 0, 512);
    EXPECT_FALSE(image->PlaceOf(0, 512, true).has_value());
    EXPECT_TRUE(image->PlaceOf(131072, 512, true).has_value());
  }
  const std::string packed = TestPath("packed.qcow2");
  Qemu(absl::StrCat("qemu-img convert -c -O qcow2 ", path, " ", packed));
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<Image> image, OpenRw(packed, "qcow2"));
  ExpectByte(*image, 0, 1);
  EXPECT_FALSE(image->PlaceOf(0, 512, false).has_value());
  // A guessed raw disk's first bytes are written past a guard.
  const std::string raw = TestPath("guessed.raw");
  ASSERT_OK(CreateImage({.path = raw, .format = "raw", .size = 1 << 20}));
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<Image> guessed, OpenRw(raw, ""));
  EXPECT_FALSE(guessed->PlaceOf(0, 4096, true).has_value());
  EXPECT_TRUE(guessed->PlaceOf(4096, 4096, true).has_value());
  guessed.reset();
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<Image> read, Image::Open(raw, {.format = "raw"}));
  EXPECT_FALSE(read->PlaceOf(4096, 4096, true).has_value());
}

TEST(Map, EqualsQemus) {
  const std::string base = TestPath("map_base.qcow2"), path = TestPath("map.qcow2");
  Qemu("qemu-img create -q -f qcow2 " + base + " 5M && qemu-img create -q -f qcow2 -b " + base +
       " -F qcow2 " + path + " 9M");
  Qemu("qemu-io -f qcow2 -c 'write -q -P 1 1M 3M' -c 'write -q -z 4M 128k' " + base);
  Qemu(
      "qemu-io -f qcow2 -c 'write -q -P 2 2M 64k' -c 'write -q -P 2 3M 1M' "
      "-c 'write -q -z 1M 512k' -c 'write -q -z -u 3M 64k' -c 'write -q -c 7M 64k' " +
      path);
  ASSERT_OK_AND_ASSIGN(auto image, Image::Open(path, {}));
  EXPECT_EQ(OurMap(*image), RunCommand("qemu-img map --output=json " + path).output);
}

TEST(Map, PreallocatedHoles) {
  const std::string path = TestPath("map_prealloc.qcow2");
  Qemu("qemu-img create -q -f qcow2 -o preallocation=metadata " + path + " 9M");
  Qemu("qemu-io -f qcow2 -c 'write -q -P 2 2M 64k' -c 'write -q -P 2 3M 1M' " + path);
  ASSERT_OK_AND_ASSIGN(auto image, Image::Open(path, {}));
  EXPECT_EQ(OurMap(*image), RunCommand("qemu-img map --output=json " + path).output);
}

TEST(Map, RawHoles) {
  const std::string path = TestPath("holes.raw");
  Qemu("truncate -s 4M " + path + " && qemu-io -f raw -c 'write -q -P 1 1M 64k' " + path);
  ASSERT_OK_AND_ASSIGN(auto image, Image::Open(path, {.format = "raw"}));
  EXPECT_EQ(OurMap(*image), RunCommand("qemu-img map --output=json -f raw " + path).output);
}

TEST(Resize, GrowShrinkGrow) {
  for (const char* options : {"cluster_size=512", "cluster_size=64k", "compat=0.10"}) {
    const std::string path = TestPath("resize.qcow2");
    Qemu(absl::StrCat("qemu-img create -q -f qcow2 -o ", options, " ", path, " 1M"));
    ASSERT_OK_AND_ASSIGN(auto image, OpenRw(path, "qcow2"));
    Write(*image, 0, 1 << 20, 1);
    ASSERT_OK(image->Resize(100 << 20, Preallocation::kOff));
    EXPECT_EQ(image->size(), 100u << 20);
    Write(*image, 99 << 20, 1 << 20, 2);
    ExpectByte(*image, 1 << 20, 0);
    ASSERT_OK(image->Resize((1 << 19) + 1024, Preallocation::kOff));
    ASSERT_OK(image->Resize(200 << 20, Preallocation::kOff));
    ExpectByte(*image, (1 << 19) + 1023, 1);
    ExpectByte(*image, (1 << 19) + 1024, 0);
    ExpectByte(*image, 1 << 20, 0);
    ExpectByte(*image, 99 << 20, 0);
    ASSERT_OK(image->Resize(201 << 20, Preallocation::kMetadata));
    ASSERT_OK(image->Close());
    image.reset();
    Qemu("qemu-img check -q -f qcow2 " + path);
    Qemu(absl::StrCat("qemu-io -f qcow2 -c 'read -q -P 1 0 ", (1 << 19) + 1024,
                      "' -c 'read -q -P 0 ", (1 << 19) + 1024, " 200M' ", path));
  }
}

// Growing over a longer backing file must not bring its bytes to light.
TEST(Resize, BackingDoesNotShine) {
  const std::string base = TestPath("long.raw"), path = TestPath("short.qcow2");
  Qemu("truncate -s 4M " + base + " && qemu-io -f raw -c 'write -q -P 9 0 4M' " + base);
  Qemu("qemu-img create -q -f qcow2 -b " + base + " -F raw " + path + " 1M");
  ASSERT_OK_AND_ASSIGN(auto image, OpenRw(path, "qcow2"));
  ASSERT_OK(image->Resize(8 << 20, Preallocation::kOff));
  ExpectByte(*image, (1 << 20) - 1, 9);
  ExpectByte(*image, 1 << 20, 0);
  ExpectByte(*image, (4 << 20) - 1, 0);
}

TEST(Resize, RefusesToShrinkOverSnapshots) {
  const std::string path = TestPath("shrink_snap.qcow2");
  Qemu("qemu-img create -q -f qcow2 " + path + " 1M && qemu-img snapshot -c s " + path);
  ASSERT_OK_AND_ASSIGN(auto image, OpenRw(path, "qcow2"));
  EXPECT_THAT(image->Resize(4096, Preallocation::kOff),
              StatusIs(StatusCode::kUnimplemented, "Can't resize an image which has snapshots"));
}

// The compression type is a byte behind the fields that resizing writes.
TEST(Resize, KeepsTheCompressionType) {
  const std::string path = TestPath("zstd.qcow2"), raw = TestPath("zstd.raw");
  Qemu("truncate -s 1M " + raw + " && qemu-io -f raw -c 'write -q -P 3 0 1M' " + raw);
  Qemu("qemu-img convert -c -O qcow2 -o compression_type=zstd -f raw " + raw + " " + path);
  ASSERT_OK_AND_ASSIGN(auto image, OpenRw(path, "qcow2"));
  ASSERT_OK(image->Resize(64 << 20, Preallocation::kOff));
  ASSERT_OK(image->Close());
  image.reset();
  Qemu("qemu-img check -q -f qcow2 " + path);
  Qemu("qemu-io -f qcow2 -c 'read -q -P 3 0 1M' " + path);
  EXPECT_THAT(RunCommand("qemu-img info " + path).output,
              testing::HasSubstr("compression type: zstd"));
}

class CheckTest : public testing::Test {
 protected:
  void SetUp() override {
    Qemu("qemu-img create -q -f qcow2 " + path_ +
         " 8M && qemu-io -f qcow2 -c 'write -q -P 5 0 4M' " + path_);
  }
  void Poke(uint64_t at, std::vector<uint8_t> bytes) {
    auto storage = OpenFile(path_, {.writable = true});
    ASSERT_OK(storage);
    ASSERT_OK((*storage)->Write(at, bytes));
  }
  uint64_t Peek(uint64_t at) {
    auto storage = OpenFile(path_, {});
    uint8_t b[8] = {};
    EXPECT_OK((*storage)->Read(at, b));
    return LoadBe<uint64_t>(b);
  }
  CheckResult Check(CheckRepair repair) {
    auto image = Image::Open(
        path_, {.format = "qcow2", .writable = repair != CheckRepair::kNone, .for_check = true});
    EXPECT_OK(image);
    auto result = (*image)->Check(repair);
    EXPECT_OK(result);
    return *result;
  }
  // qemu's numbers for the image as it is.
  void ExpectAsQemu() {
    CheckResult r = Check(CheckRepair::kNone);
    std::string json = RunCommand("qemu-img check --output=json -f qcow2 " + path_).output;
    auto number = [&](const char* key) -> uint64_t {
      size_t at = json.find(absl::StrCat("\"", key, "\": "));
      return at == std::string::npos ? 0
                                     : strtoull(json.c_str() + json.find(':', at) + 1, nullptr, 10);
    };
    EXPECT_EQ(r.leaks, number("leaks")) << json;
    EXPECT_EQ(r.corruptions, number("corruptions")) << json;
    EXPECT_EQ(r.check_errors, number("check-errors")) << json;
    EXPECT_EQ(r.image_end_offset, number("image-end-offset")) << json;
    for (const std::string& m : r.messages) EXPECT_THAT(json, testing::HasSubstr(m));
  }
  const std::string path_ = TestPath("check.qcow2");
};

TEST_F(CheckTest, Leaks) {
  const uint64_t block = Peek(Peek(48));
  Poke(block + 2 * 20, {0, 3});
  Poke(block + 2 * 30, {0, 2});
  ExpectAsQemu();
  CheckResult r = Check(CheckRepair::kLeaks);
  EXPECT_EQ(r.leaks_fixed, 2u);
  EXPECT_EQ(r.leaks, 0u);
  Qemu("qemu-img check -q -f qcow2 " + path_);
}

TEST_F(CheckTest, CountTooLow) {
  const uint64_t block = Peek(Peek(48));
  Poke(block + 2 * 20, {0, 0});
  ExpectAsQemu();
  EXPECT_EQ(Check(CheckRepair::kLeaks).corruptions, 2u);  // and its copied flag
  CheckResult r = Check(CheckRepair::kAll);
  EXPECT_EQ(r.corruptions, 0u);
  EXPECT_GE(r.corruptions_fixed, 1u);
  Qemu("qemu-img check -q -f qcow2 " + path_);
  Qemu("qemu-io -f qcow2 -c 'read -q -P 5 0 4M' " + path_);
}

TEST_F(CheckTest, NoRefcountsAtAll) {
  Poke(Peek(48), std::vector<uint8_t>(65536));
  CheckResult before = Check(CheckRepair::kNone);
  EXPECT_GT(before.corruptions, 60u);
  EXPECT_EQ(Check(CheckRepair::kAll).corruptions, 0u);
  Qemu("qemu-img check -q -f qcow2 " + path_);
  Qemu("qemu-io -f qcow2 -c 'read -q -P 5 0 4M' " + path_);
}

TEST_F(CheckTest, CopiedFlags) {
  const uint64_t l1 = Peek(40), l2 = Peek(l1) & 0x00fffffffffffe00;
  Poke(l1, {0});
  Poke(l2 + 8, {0});
  ExpectAsQemu();
  EXPECT_EQ(Check(CheckRepair::kAll).corruptions_fixed, 2u);
  Qemu("qemu-img check -q -f qcow2 " + path_);
}

TEST_F(CheckTest, ClusterUsedTwice) {
  const uint64_t l2 = Peek(Peek(40)) & 0x00fffffffffffe00;
  std::vector<uint8_t> entry(8);
  StoreBe<uint64_t>(entry.data(), Peek(l2));
  Poke(l2 + 8, entry);
  ExpectAsQemu();
  EXPECT_EQ(Check(CheckRepair::kAll).corruptions, 0u);
  Qemu("qemu-img check -q -f qcow2 " + path_);
}

TEST_F(CheckTest, PastTheEndAndUnaligned) {
  const uint64_t l2 = Peek(Peek(40)) & 0x00fffffffffffe00;
  Poke(l2, {0x80, 0, 0x10, 0, 0, 0, 0, 0});
  Poke(l2 + 8, {0x80, 0, 0, 0, 0, 6, 2, 0});
  ExpectAsQemu();
}

TEST_F(CheckTest, SnapshotsCount) {
  Qemu("qemu-img snapshot -c a " + path_ + " && qemu-img snapshot -c b " + path_);
  Qemu("qemu-io -f qcow2 -c 'write -q -P 6 1M 1M' " + path_);
  ExpectAsQemu();
  EXPECT_EQ(Check(CheckRepair::kNone).corruptions + Check(CheckRepair::kNone).leaks, 0u);
}

// The dirty bit: refcounts may be stale, so writing begins with a repair.
TEST_F(CheckTest, DirtyImageIsRepairedOnOpening) {
  const uint64_t block = Peek(Peek(48));
  Poke(block + 2 * 20, {0, 0, 0, 0});
  Poke(79, {1});
  {
    ASSERT_OK_AND_ASSIGN(auto image, OpenRw(path_, "qcow2"));
    Write(*image, 5 << 20, 65536, 7);
    ASSERT_OK(image->Close());
  }
  EXPECT_EQ(Peek(72), 0u);
  Qemu("qemu-img check -q -f qcow2 " + path_);
  Qemu("qemu-io -f qcow2 -c 'read -q -P 5 0 4M' -c 'read -q -P 7 5M 64k' " + path_);
}

TEST(Raw, SizeThatIsNoMultipleOfASector) {
  const std::string path = TestPath("odd.raw");
  std::ofstream(path) << std::string(1000, 'x');
  ASSERT_OK_AND_ASSIGN(auto image, Image::Open(path, {.format = "raw"}));
  EXPECT_EQ(image->size(), 1024u);
  ExpectByte(*image, 999, 'x');
  ExpectByte(*image, 1000, 0);
  std::vector<uint8_t> one(1);
  EXPECT_THAT(image->Read(1024, one),
              StatusIs(StatusCode::kOutOfRange, "odd.raw: 1 bytes at 0x400 pass the end"));
}

TEST(Image, ClosedIsClosed) {
  const std::string path = TestPath("closed.qcow2");
  ASSERT_OK(CreateImage({.path = path, .format = "qcow2", .size = 1 << 20}));
  ASSERT_OK_AND_ASSIGN(auto image, OpenRw(path, "qcow2"));
  ASSERT_OK(image->Close());
  EXPECT_THAT(image->Flush(), StatusIs(StatusCode::kFailedPrecondition, "is closed"));
  EXPECT_THAT(image->WriteZeroes(0, 512, false),
              StatusIs(StatusCode::kFailedPrecondition, "is closed"));
}

TEST(Image, ReadOnlyRefusesWrites) {
  const std::string path = TestPath("ro.qcow2");
  ASSERT_OK(CreateImage({.path = path, .format = "qcow2", .size = 1 << 20}));
  ASSERT_OK_AND_ASSIGN(auto image, Image::Open(path, {.format = "qcow2"}));
  std::vector<uint8_t> data(512);
  EXPECT_THAT(image->Write(0, data),
              StatusIs(StatusCode::kPermissionDenied, "ro.qcow2: opened read-only"));
  EXPECT_THAT(Image::Open(path, {.format = "vmdk"}),
              StatusIs(StatusCode::kInvalidArgument,
                       "Unknown file format 'vmdk'; there are raw, qcow, qcow2"));
}

}  // namespace
}  // namespace atl::block
