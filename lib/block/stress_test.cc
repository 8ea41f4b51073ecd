// SPDX-License-Identifier: Apache-2.0
// Eight threads on one image: each owns stripes of the disk and knows what is
// in them; clusters are larger than stripes, so the threads meet in every
// allocation. Made for ThreadSanitizer as much as for what it compares.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/block/image.h"
#include "lib/block/testing/qemu.h"

namespace atl::block {
namespace {

struct Kind {
  const char* name;
  const char* format;
  FormatOptions options;
  bool backing;
};

void PrintTo(const Kind& k, std::ostream* os) { *os << k.name; }

class StressTest : public testing::TestWithParam<Kind> {};

constexpr int kThreads = 8;
constexpr uint64_t kStripe = 1024;
constexpr uint64_t kSize = 8 << 20;

// The thread's bytes of the disk: every kThreads-th stripe.
class Owner {
 public:
  Owner(Image* image, int number, uint8_t initial)
      : image_(image), number_(number), rng_(static_cast<uint64_t>(number)) {
    bytes_.resize(kSize / kStripe / kThreads * kStripe, initial);
  }

  void Run(int ops) {
    for (int i = 0; i < ops && error_.empty(); ++i) {
      const uint64_t stripe = rng_() % (kSize / kStripe / kThreads);
      const uint64_t in = rng_() % (kStripe - 512), n = 512;
      const uint64_t at = (stripe * kThreads + static_cast<uint64_t>(number_)) * kStripe + in;
      uint8_t* mine = bytes_.data() + stripe * kStripe + in;
      switch (rng_() % 16) {
        case 0:
          Check(image_->WriteZeroes(at, n, rng_() % 2 == 0), "zeroes");
          std::fill_n(mine, n, uint8_t{0});
          break;
        case 1:
          if (rng_() % 16 == 0) Check(image_->Flush(), "flush");
          break;
        case 2:
        case 3:
        case 4:
        case 5:
        case 6: {
          uint8_t now[512];
          Check(image_->Read(at, now), "read");
          if (!std::equal(now, now + n, mine)) Check(absl::DataLossError("differs"), "read");
          break;
        }
        default: {
          uint8_t data[512];
          for (uint8_t& b : data) b = static_cast<uint8_t>(rng_());
          Check(image_->Write(at, data), "write");
          std::copy(data, data + n, mine);
        }
      }
    }
  }

  void CheckAll() {
    std::vector<uint8_t> now(kStripe);
    for (uint64_t stripe = 0; stripe < kSize / kStripe / kThreads; ++stripe) {
      const uint64_t at = (stripe * kThreads + static_cast<uint64_t>(number_)) * kStripe;
      ASSERT_OK(image_->Read(at, now));
      ASSERT_TRUE(std::equal(now.begin(), now.end(), bytes_.data() + stripe * kStripe))
          << "stripe at " << at;
    }
  }
  const std::string& error() const { return error_; }
  void Attach(Image* image) { image_ = image; }

 private:
  void Check(const absl::Status& status, const char* what) {
    if (!status.ok()) error_ = std::string(what) + ": " + status.ToString();
  }

  Image* image_;
  const int number_;
  std::mt19937_64 rng_;
  std::vector<uint8_t> bytes_;
  std::string error_;
};

TEST_P(StressTest, EightThreads) {
  const Kind& k = GetParam();
  const std::string path = TestPath(std::string("stress_") + k.name);
  CreateRequest request{.path = path, .format = k.format, .size = kSize, .options = k.options};
  if (k.backing) {
    CreateRequest base{.path = path + ".base", .format = "qcow2", .size = kSize};
    ASSERT_OK(CreateImage(base));
    ASSERT_OK_AND_ASSIGN(auto image, Image::Open(base.path, {.format = "qcow2", .writable = true}));
    std::vector<uint8_t> ones(kSize, 1);
    ASSERT_OK(image->Write(0, ones));
    ASSERT_OK(image->Close());
    request.options.emplace_back("backing_file", base.path);
    request.options.emplace_back("backing_fmt", "qcow2");
  }
  ASSERT_OK(CreateImage(request));
  ASSERT_OK_AND_ASSIGN(auto image, Image::Open(path, {.format = k.format, .writable = true}));

  std::vector<Owner> owners;
  for (int i = 0; i < kThreads; ++i) owners.emplace_back(image.get(), i, k.backing ? 1 : 0);
  std::atomic<bool> done{false};
  // One more looks at the tables all the time.
  std::vector<std::thread> threads;
  for (Owner& o : owners) threads.emplace_back([&o] { o.Run(3000); });
  threads.emplace_back([&] {
    while (!done.load()) {
      for (uint64_t at = 0; at < kSize && !done.load(); at += 65536) {
        EXPECT_OK(image->MapAt(at, 65536));
      }
    }
  });
  for (int i = 0; i < kThreads; ++i) threads[static_cast<size_t>(i)].join();
  done.store(true);
  threads.back().join();
  for (Owner& o : owners) {
    EXPECT_EQ(o.error(), "");
    o.CheckAll();
  }
  ASSERT_OK(image->Close());
  image.reset();
  if (std::string(k.format) == "qcow2") {
    CommandResult check = RunCommand("qemu-img check -f qcow2 " + path);
    EXPECT_EQ(check.exit, 0) << check.output;
  }
  ASSERT_OK_AND_ASSIGN(image, Image::Open(path, {.format = k.format}));
  for (Owner& o : owners) {
    o.Attach(image.get());
    o.CheckAll();
  }
}

// Clusters are dropped and taken again by all threads at once, while others
// still read and write where they lay: nobody may see another's bytes.
TEST_P(StressTest, DroppedClustersGetNoNewOwnerTooEarly) {
  const Kind& k = GetParam();
  const std::string path = TestPath(std::string("drop_") + k.name);
  ASSERT_OK(CreateImage({.path = path, .format = k.format, .size = kSize, .options = k.options}));
  ASSERT_OK_AND_ASSIGN(auto image,
                       Image::Open(path, {.format = k.format, .writable = true, .no_flush = true}));
  std::vector<std::thread> threads;
  std::atomic<bool> bad{false};
  const uint64_t region = kSize / kThreads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    // Two threads share a region and write the region's byte only: what a third
    // one's byte does there got in by a stale lookup.
    threads.emplace_back([&, t] {
      std::mt19937_64 rng(t);
      const uint64_t mine = t / 2;
      std::vector<uint8_t> data(8192, static_cast<uint8_t>(mine + 1)), now(8192);
      for (int i = 0; i < 1500; ++i) {
        const uint64_t at = mine * region + rng() % (region - 8192) / 512 * 512;
        absl::Status status;
        switch (rng() % 6) {
          case 0:
            status = image->Discard(at / 65536 * 65536, 65536);
            break;
          case 1:
            if (i % 8 == 0) status = image->Flush();
            break;
          case 2:
          case 3:
            status = image->Read(at, now);
            for (uint8_t b : now) {
              if (b != 0 && b != mine + 1) bad.store(true);
            }
            break;
          default:
            status = image->Write(at, data);
        }
        if (!status.ok()) bad.store(true);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_FALSE(bad.load());
  std::vector<uint8_t> all(region);
  for (uint64_t r = 0; r < kThreads / 2; ++r) {
    ASSERT_OK(image->Read(r * region, all));
    for (uint8_t b : all) ASSERT_TRUE(b == 0 || b == r + 1);
  }
  ASSERT_OK(image->Close());
  image.reset();
  if (std::string(k.format) == "qcow2") {
    CommandResult check = RunCommand("qemu-img check -f qcow2 " + path);
    EXPECT_EQ(check.exit, 0) << check.output;
  }
}

// More tables than the cache holds and than may wait for a commit: slices are
// written early, thrown out, and read again.
TEST(Tables, MoreThanMemoryKeeps) {
  const std::string path = TestPath("tables.qcow2");
  constexpr uint64_t kReach = 512 / 8 * 512;  // of one L2 table
  constexpr uint64_t kTables = 80000;
  ASSERT_OK(CreateImage({.path = path,
                         .format = "qcow2",
                         .size = kTables * kReach,
                         .options = {{"cluster_size", "512"}}}));
  ASSERT_OK_AND_ASSIGN(auto image,
                       Image::Open(path, {.format = "qcow2", .writable = true, .no_flush = true}));
  auto sector = [](uint64_t i) {
    std::vector<uint8_t> data(512);
    std::memcpy(data.data(), &i, sizeof i);
    return data;
  };
  auto place = [](uint64_t i) { return i * kReach + i % 64 * 512; };
  auto write = [&](uint64_t thread) {
    for (uint64_t i = thread; i < kTables; i += 2) {
      EXPECT_OK(image->Write(place(i), sector(i)));
    }
  };
  std::thread other(write, 1);
  write(0);
  other.join();
  std::vector<uint8_t> now(512);
  for (uint64_t i = 0; i < kTables; ++i) {
    ASSERT_OK(image->Read(place(i), now));
    ASSERT_TRUE(now == sector(i)) << i;
  }
  ASSERT_OK(image->Close());
  image.reset();
  CommandResult check = RunCommand("qemu-img check -f qcow2 " + path);
  EXPECT_EQ(check.exit, 0) << check.output;
}

const Kind kKinds[] = {
    {"qcow", "qcow", {}, false},
    {"v2_4k", "qcow2", {{"compat", "v2"}, {"cluster_size", "4k"}}, false},
    {"v3_4k", "qcow2", {{"cluster_size", "4k"}}, false},
    {"v3_64k_backing", "qcow2", {}, true},
};

INSTANTIATE_TEST_SUITE_P(All, StressTest, testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace atl::block
