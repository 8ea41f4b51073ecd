// SPDX-License-Identifier: Apache-2.0
// Random operations on images of every kind, against an array of bytes and
// against qemu: what we write, qemu-img finds sound and equal; what qemu-io
// writes into the same image, we read.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
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
  uint64_t size;
  bool backing = false;
};

void PrintTo(const Kind& k, std::ostream* os) { *os << k.name; }

class ImageQemuTest : public testing::TestWithParam<Kind> {
 protected:
  std::string Path(const char* suffix) {
    return TestPath(absl::StrCat(GetParam().name, ".", suffix));
  }
  void Qemu(const std::string& command) {
    CommandResult r = RunCommand(command);
    ASSERT_EQ(r.exit, 0) << command << "\n" << r.output;
  }

  void SetUp() override {
    const Kind& k = GetParam();
    image_ = Path(k.format);
    model_.resize(k.size);
    CreateRequest request{.path = image_, .format = k.format, .size = k.size, .options = k.options};
    if (k.backing) {
      // Shorter than the image, so that its end shows.
      std::vector<uint8_t> base(k.size * 3 / 4 / 512 * 512);
      for (size_t i = 0; i < base.size(); ++i) base[i] = static_cast<uint8_t>(i / 4096 + 1);
      std::copy(base.begin(), base.end(), model_.begin());
      std::string base_path = Path("base");
      std::ofstream(base_path, std::ios::binary)
          .write(reinterpret_cast<const char*>(base.data()),
                 static_cast<std::streamsize>(base.size()));
      request.options.emplace_back("backing_file", absl::StrCat(k.name, ".base"));
      request.options.emplace_back("backing_fmt", "raw");
    }
    ASSERT_OK(CreateImage(request));
  }

  void Open() {
    ASSERT_OK_AND_ASSIGN(open_,
                         Image::Open(image_, {.format = GetParam().format, .writable = true}));
    ASSERT_EQ(open_->size(), model_.size());
  }

  std::vector<uint8_t> Bytes(size_t n) {
    std::vector<uint8_t> b(n);
    // Runs of one byte and noise, so that some clusters pack and some do not.
    if (rng_() % 2 == 0) {
      std::fill(b.begin(), b.end(), static_cast<uint8_t>(rng_()));
    } else {
      for (uint8_t& x : b) x = static_cast<uint8_t>(rng_());
    }
    return b;
  }

  void RandomOps(int count) {
    const uint64_t cs = std::max<uint64_t>(open_->cluster_size(), 4096);
    for (int i = 0; i < count; ++i) {
      uint64_t n = rng_() % 4 == 0 ? rng_() % (6 * cs) : rng_() % 8192;
      n = std::min<uint64_t>(n, model_.size());
      uint64_t at = rng_() % (model_.size() - n + 1);
      if (rng_() % 2 == 0)
        at = at / 512 * 512, n = std::min((n + 511) / 512 * 512, model_.size() - at);
      auto begin = model_.begin() + static_cast<ptrdiff_t>(at);
      switch (rng_() % 10) {
        case 0: {
          ASSERT_OK(open_->WriteZeroes(at, n, rng_() % 2 == 0));
          std::fill_n(begin, n, uint8_t{0});
          break;
        }
        case 1: {
          ASSERT_OK(open_->Discard(at, n));
          std::vector<uint8_t> now(n);
          ASSERT_OK(open_->Read(at, now));
          for (size_t j = 0; j < n; ++j) {
            ASSERT_TRUE(now[j] == 0 || now[j] == begin[static_cast<ptrdiff_t>(j)])
                << "byte " << at + j << " after a discard of " << n << " at " << at;
          }
          std::copy(now.begin(), now.end(), begin);
          break;
        }
        case 2: {
          if (!open_->format().supports_compression) break;
          const uint64_t c = open_->cluster_size();
          at = at / c * c;
          if (at + c > model_.size()) break;
          std::vector<uint8_t> bytes = Bytes(c);
          ASSERT_OK_AND_ASSIGN(auto packed, open_->Compress(bytes));
          if (packed.has_value()) {
            ASSERT_OK(open_->WriteCompressed(at, *packed));
          } else {
            ASSERT_OK(open_->Write(at, bytes));
          }
          std::copy(bytes.begin(), bytes.end(), model_.begin() + static_cast<ptrdiff_t>(at));
          break;
        }
        case 3:
          ASSERT_OK(open_->Flush());
          break;
        case 4:
        case 5: {
          std::vector<uint8_t> now(n);
          ASSERT_OK(open_->Read(at, now));
          ASSERT_TRUE(std::equal(now.begin(), now.end(), begin)) << n << " bytes at " << at;
          break;
        }
        default: {
          std::vector<uint8_t> bytes = Bytes(n);
          ASSERT_OK(open_->Write(at, bytes));
          std::copy(bytes.begin(), bytes.end(), begin);
        }
      }
    }
  }

  void ExpectEqualsModel() {
    std::vector<uint8_t> now(model_.size());
    ASSERT_OK(open_->Read(0, now));
    auto [a, b] = std::mismatch(now.begin(), now.end(), model_.begin());
    ASSERT_TRUE(a == now.end()) << "first difference at " << a - now.begin();
  }

  void QemuAgrees() {
    std::ofstream(Path("model"), std::ios::binary)
        .write(reinterpret_cast<const char*>(model_.data()),
               static_cast<std::streamsize>(model_.size()));
    std::string format = GetParam().format;
    if (format == "qcow2") {
      Qemu("qemu-img check -f qcow2 " + image_);
      OpenOptions options{.format = format, .for_check = true};
      ASSERT_OK_AND_ASSIGN(auto image, Image::Open(image_, options));
      ASSERT_OK_AND_ASSIGN(CheckResult check, image->Check(CheckRepair::kNone));
      EXPECT_THAT(check.messages, testing::IsEmpty());
      EXPECT_EQ(check.corruptions + check.leaks + check.check_errors, 0u);
      std::string json = RunCommand("qemu-img check --output=json -f qcow2 " + image_).output;
      auto number = [&](const char* key) -> uint64_t {
        size_t at = json.find(absl::StrCat("\"", key, "\": "));
        if (at == std::string::npos) return 0;
        return strtoull(json.c_str() + json.find(':', at) + 1, nullptr, 10);
      };
      EXPECT_EQ(check.image_end_offset, number("image-end-offset"));
      EXPECT_EQ(check.total_clusters, number("total-clusters"));
      EXPECT_EQ(check.allocated_clusters, number("allocated-clusters"));
      EXPECT_EQ(check.fragmented_clusters, number("fragmented-clusters"));
      EXPECT_EQ(check.compressed_clusters, number("compressed-clusters"));
    }
    Qemu(absl::StrCat("qemu-img compare -f ", format, " -F raw ", image_, " ", Path("model")));
  }

  // Lets qemu-io write into the image, and the model follow.
  void QemuWrites(int count) {
    std::string command = absl::StrCat("qemu-io -f ", GetParam().format);
    for (int i = 0; i < count; ++i) {
      uint64_t n = (rng_() % 64 + 1) * 512;
      uint64_t at = rng_() % (model_.size() / 512) * 512;
      n = std::min(n, model_.size() - at);
      auto begin = model_.begin() + static_cast<ptrdiff_t>(at);
      uint8_t byte = static_cast<uint8_t>(rng_());
      if (rng_() % 4 == 0) {
        absl::StrAppend(&command, " -c 'write -q -z ", at, " ", n, "'");
        byte = 0;
      } else {
        absl::StrAppend(&command, " -c 'write -q -P ", int{byte}, " ", at, " ", n, "'");
      }
      std::fill_n(begin, n, byte);
    }
    Qemu(command + " " + image_);
  }

  std::mt19937_64 rng_{4711};
  std::string image_;
  std::vector<uint8_t> model_;
  std::unique_ptr<Image> open_;
};

TEST_P(ImageQemuTest, RandomOperations) {
  for (int round = 0; round < 4; ++round) {
    Open();
    ASSERT_FALSE(HasFatalFailure());
    RandomOps(150);
    ASSERT_FALSE(HasFatalFailure()) << "round " << round;
    ExpectEqualsModel();
    ASSERT_OK(open_->Close());
    open_.reset();
    ASSERT_FALSE(HasFatalFailure()) << "round " << round;
    QemuAgrees();
    ASSERT_FALSE(HasFailure()) << "round " << round;
    QemuWrites(30);
    Open();
    ASSERT_FALSE(HasFatalFailure());
    ExpectEqualsModel();
    open_.reset();
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
}

constexpr uint64_t kMi = 1 << 20;
const Kind kKinds[] = {
    {"raw", "raw", {}, 4 * kMi},
    {"qcow", "qcow", {}, 8 * kMi + 512},
    {"qcow_backing", "qcow", {}, 8 * kMi, true},
    {"v2", "qcow2", {{"compat", "0.10"}}, 16 * kMi + 512},
    {"v2_backing", "qcow2", {{"compat", "0.10"}, {"cluster_size", "4096"}}, 8 * kMi, true},
    {"v3", "qcow2", {}, 16 * kMi + 1536},
    {"v3_backing", "qcow2", {}, 16 * kMi + 512, true},
    {"v3_512", "qcow2", {{"cluster_size", "512"}}, 4 * kMi},
    {"v3_512_rc64", "qcow2", {{"cluster_size", "512"}, {"refcount_bits", "64"}}, 4 * kMi},
    {"v3_4k_backing", "qcow2", {{"cluster_size", "4k"}}, 8 * kMi, true},
    {"v3_2M", "qcow2", {{"cluster_size", "2M"}}, 48 * kMi},
    {"v3_rc1", "qcow2", {{"cluster_size", "4k"}, {"refcount_bits", "1"}}, 8 * kMi},
    {"v3_rc2", "qcow2", {{"cluster_size", "4k"}, {"refcount_bits", "2"}}, 8 * kMi},
    {"v3_rc4", "qcow2", {{"cluster_size", "1k"}, {"refcount_bits", "4"}}, 8 * kMi},
    {"v3_rc8", "qcow2", {{"cluster_size", "16k"}, {"refcount_bits", "8"}}, 8 * kMi, true},
    {"v3_rc32", "qcow2", {{"cluster_size", "8k"}, {"refcount_bits", "32"}}, 8 * kMi},
    {"v3_zstd", "qcow2", {{"compression_type", "zstd"}}, 16 * kMi},
    {"v3_zstd_backing",
     "qcow2",
     {{"compression_type", "zstd"}, {"cluster_size", "4k"}},
     8 * kMi,
     true},
    {"v3_lazy", "qcow2", {{"lazy_refcounts", "on"}}, 16 * kMi},
    {"v3_prealloc", "qcow2", {{"preallocation", "metadata"}}, 16 * kMi},
    {"v3_falloc", "qcow2", {{"preallocation", "falloc"}}, 16 * kMi},
    {"v3_full", "qcow2", {{"preallocation", "full"}}, 8 * kMi},
};

INSTANTIATE_TEST_SUITE_P(All, ImageQemuTest, testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace atl::block
