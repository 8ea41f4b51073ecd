// SPDX-License-Identifier: Apache-2.0
// Copies of every kind between images in memory, with sources that fail.
#include "cmd/img/copy.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "cmd/img/zero.h"
#include "gtest/gtest.h"
#include "lib/base/status_macros.h"
#include "lib/base/status_matchers.h"
#include "lib/base/units.h"
#include "lib/block/format.h"
#include "lib/block/image.h"
#include "lib/block/storage.h"

namespace atl::img {
namespace {

using block::Image;
using block::Storage;

std::vector<uint8_t> Mixed(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes;
  while (bytes.size() < size) {
    const size_t n = std::min<size_t>(512 * (1 + random() % 300), size - bytes.size());
    const bool zero = random() % 2 == 0;
    for (size_t i = 0; i < n; ++i) bytes.push_back(zero ? 0 : static_cast<uint8_t>(random()));
  }
  return bytes;
}

std::unique_ptr<Image> Raw(const std::vector<uint8_t>& bytes) {
  block::OpenOptions options;
  options.format = "raw";
  auto image = Image::Open(block::NewMemoryStorage("source", bytes), options);
  EXPECT_OK(image);
  return *std::move(image);
}

std::unique_ptr<Image> New(const char* format, uint64_t size, block::FormatOptions given = {}) {
  std::unique_ptr<Storage> storage = block::NewMemoryStorage("target");
  const block::Format* f = block::FindFormat(format);
  auto complete = block::CompleteOptions(*f, given);
  EXPECT_OK(complete);
  EXPECT_OK(f->create(*storage, size, *complete));
  block::OpenOptions options;
  options.format = format;
  options.writable = true;
  auto image = Image::Open(std::move(storage), options);
  EXPECT_OK(image);
  return *std::move(image);
}

std::vector<uint8_t> Contents(Image* image) {
  std::vector<uint8_t> bytes(image->size());
  EXPECT_OK(image->Read(0, bytes));
  return bytes;
}

TEST(AllZero, FindsEveryByte) {
  std::vector<uint8_t> bytes(200);
  for (size_t n = 0; n <= bytes.size(); ++n) {
    EXPECT_TRUE(AllZero(std::span(bytes).first(n)));
    for (size_t i = 0; i < n; ++i) {
      bytes[i] = 1;
      EXPECT_FALSE(AllZero(std::span(bytes).first(n))) << i << " of " << n;
      bytes[i] = 0;
    }
  }
}

TEST(Copy, AllKindsOfTargets) {
  const std::vector<uint8_t> data = Mixed(5 * kMiB + 1536, 1);
  for (const char* format : {"raw", "qcow", "qcow2"}) {
    for (bool compress : {false, true}) {
      for (uint64_t sparse : {uint64_t{0}, uint64_t{512}, uint64_t{4096}, 64 * kKiB}) {
        for (int workers : {1, 4}) {
          if (compress && std::string(format) == "raw") continue;
          std::unique_ptr<Image> source = Raw(data);
          std::unique_ptr<Image> target = New(format, data.size());
          CopyJob job;
          job.sources = {{source.get(), 0, data.size()}};
          job.target = target.get();
          job.workers = workers;
          job.compress = compress;
          job.sparse = sparse;
          job.out_of_order = workers > 1;
          job.target_is_zero = true;
          std::atomic<uint64_t> last{0};
          job.progress = [&](uint64_t done, uint64_t total) {
            EXPECT_LE(done, total);
            last = std::max(last.load(), done);
          };
          ASSERT_OK(Copy(job));
          EXPECT_EQ(last.load(), data.size());
          EXPECT_TRUE(Contents(target.get()) == data) << format << compress << sparse << workers;
        }
      }
    }
  }
}

TEST(Copy, TinyAndHugeClusters) {
  const std::vector<uint8_t> data = Mixed(3 * kMiB + 512, 2);
  for (const char* cluster : {"512", "4096", "2097152"}) {
    for (bool compress : {false, true}) {
      std::unique_ptr<Image> source = Raw(data);
      std::unique_ptr<Image> target = New("qcow2", data.size(), {{"cluster_size", cluster}});
      CopyJob job;
      job.sources = {{source.get(), 0, data.size()}};
      job.target = target.get();
      job.workers = 3;
      job.compress = compress;
      job.target_is_zero = true;
      ASSERT_OK(Copy(job));
      EXPECT_TRUE(Contents(target.get()) == data) << cluster << compress;
    }
  }
}

TEST(Copy, SeveralSourcesAndParts) {
  const std::vector<uint8_t> a = Mixed(kMiB + 512, 3);
  const std::vector<uint8_t> b = Mixed(2 * kMiB, 4);
  std::unique_ptr<Image> first = Raw(a);
  std::unique_ptr<Image> second = Raw(b);
  std::vector<uint8_t> expected(a.begin() + 1024, a.end());
  expected.insert(expected.end(), b.begin(), b.begin() + 700 * 1024);
  std::unique_ptr<Image> target = New("qcow2", expected.size());
  CopyJob job;
  job.sources = {{first.get(), 1024, a.size() - 1024}, {second.get(), 0, 700 * 1024}};
  job.target = target.get();
  job.target_is_zero = true;
  ASSERT_OK(Copy(job));
  EXPECT_TRUE(Contents(target.get()) == expected);
}

TEST(Copy, OverOldContents) {
  const std::vector<uint8_t> data = Mixed(3 * kMiB, 5);
  for (const char* format : {"raw", "qcow2"}) {
    std::unique_ptr<Image> target = New(format, data.size());
    ASSERT_OK(target->Write(0, std::vector<uint8_t>(data.size(), 0xff)));
    std::unique_ptr<Image> source = Raw(data);
    CopyJob job;
    job.sources = {{source.get(), 0, data.size()}};
    job.target = target.get();
    job.workers = 2;
    ASSERT_OK(Copy(job));
    EXPECT_TRUE(Contents(target.get()) == data) << format;
  }
}

// A storage whose bytes from `bad` on for a sector cannot be read.
class BadSector : public Storage {
 public:
  BadSector(std::unique_ptr<Storage> inner, uint64_t bad) : inner_(std::move(inner)), bad_(bad) {}
  const std::string& name() const override { return inner_->name(); }
  bool writable() const override { return false; }
  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override {
    if (offset < bad_ + 512 && offset + to.size() > bad_) {
      return absl::DataLossError("source: read: Input/output error");
    }
    return inner_->Read(offset, to);
  }
  absl::Status Write(uint64_t, std::span<const uint8_t>) override {
    return absl::PermissionDeniedError("source");
  }
  absl::Status Flush() override { return absl::OkStatus(); }
  absl::StatusOr<uint64_t> Size() override { return inner_->Size(); }
  absl::Status Truncate(uint64_t) override { return absl::PermissionDeniedError("source"); }
  absl::Status PunchHole(uint64_t, uint64_t) override { return absl::UnimplementedError("source"); }
  absl::Status Allocate(uint64_t, uint64_t) override { return absl::UnimplementedError("source"); }
  absl::StatusOr<block::StorageExtent> ExtentAt(uint64_t offset) override {
    return inner_->ExtentAt(offset);
  }
  absl::StatusOr<uint64_t> AllocatedBytes() override { return inner_->AllocatedBytes(); }

 private:
  std::unique_ptr<Storage> inner_;
  const uint64_t bad_;
};

TEST(Copy, UnreadableSourceIsAnErrorThatSaysWhere) {
  std::vector<uint8_t> data(9 * kMiB, 7);
  for (int workers : {1, 4}) {
    block::OpenOptions options;
    options.format = "raw";
    auto source = Image::Open(
        std::make_unique<BadSector>(block::NewMemoryStorage("source", data), 5 * kMiB + 1024),
        options);
    ASSERT_OK(source);
    std::unique_ptr<Image> target = New("qcow2", data.size());
    CopyJob job;
    job.sources = {{source->get(), 0, data.size()}};
    job.target = target.get();
    job.workers = workers;
    job.target_is_zero = true;
    EXPECT_THAT(Copy(job),
                StatusIs(absl::StatusCode::kDataLoss, "error while reading at byte 4194304: "));
  }
}

TEST(Copy, SalvageLosesTheSectorOnly) {
  std::vector<uint8_t> data(5 * kMiB, 7);
  block::OpenOptions options;
  options.format = "raw";
  const uint64_t bad = 3 * kMiB + 1024;
  auto source = Image::Open(
      std::make_unique<BadSector>(block::NewMemoryStorage("source", data), bad), options);
  ASSERT_OK(source);
  std::unique_ptr<Image> target = New("qcow2", data.size());
  CopyJob job;
  job.sources = {{source->get(), 0, data.size()}};
  job.target = target.get();
  job.target_is_zero = true;
  job.salvage = true;
  int told = 0;
  job.unreadable = [&](const absl::Status&) { ++told; };
  ASSERT_OK(Copy(job));
  EXPECT_EQ(told, 1);
  std::fill_n(data.begin() + static_cast<ptrdiff_t>(bad), 512, uint8_t{0});
  EXPECT_TRUE(Contents(target.get()) == data);
}

}  // namespace
}  // namespace atl::img
