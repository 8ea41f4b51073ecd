// SPDX-License-Identifier: Apache-2.0
// What a crash leaves. A log of everything that was written is replayed: every
// prefix of it (a killed process), and of the writes after each flush any
// subset, sector by sector (a power cut). Each of these images must check
// without corruption, leaks allowed, and hold what the guest had flushed.
// And what failing storage leaves, for the nth operation failing.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/block/image.h"
#include "lib/block/testing/storages.h"

namespace atl::block {
namespace {

struct Kind {
  const char* name;
  const char* format;
  FormatOptions options;
  uint64_t size;
  int ops = 160;
};

void PrintTo(const Kind& k, std::ostream* os) { *os << k.name; }

// A guest's disk, with what must be on it.
struct Guest {
  explicit Guest(uint64_t size) : bytes(size), vague(size, 0), touched(size, 0) {}

  std::vector<uint8_t> bytes;
  std::vector<uint8_t> vague;    // a write there failed, or a discard: any content
  std::vector<uint8_t> touched;  // since the last flush

  void Touch(uint64_t at, uint64_t n) { std::fill_n(touched.begin() + Index(at), n, uint8_t{1}); }
  static ptrdiff_t Index(uint64_t at) { return static_cast<ptrdiff_t>(at); }
};

// One random operation. Failures make the bytes vague.
void Step(Image& image, Guest& g, std::mt19937_64& rng, bool* flushed) {
  *flushed = false;
  uint64_t n = rng() % 3 == 0 ? rng() % 40000 : rng() % 6000;
  n = std::min<uint64_t>(n / 512 * 512 + 512, g.bytes.size());
  const uint64_t at = rng() % (g.bytes.size() - n + 1) / 512 * 512;
  auto put = [&](const absl::Status& status, const std::vector<uint8_t>& data, uint64_t where) {
    g.Touch(where, data.size());
    std::copy(data.begin(), data.end(), g.bytes.begin() + Guest::Index(where));
    std::fill_n(g.vague.begin() + Guest::Index(where), data.size(), status.ok() ? 0 : 1);
  };
  switch (rng() % 12) {
    case 0:
      put(image.WriteZeroes(at, n, rng() % 2 == 0), std::vector<uint8_t>(n), at);
      break;
    case 1:
      image.Discard(at, n).IgnoreError();
      g.Touch(at, n);
      std::fill_n(g.vague.begin() + Guest::Index(at), n, uint8_t{1});
      break;
    case 2:
    case 3: {
      const uint64_t c = image.cluster_size(), where = at / c * c;
      if (where + c > g.bytes.size()) break;
      std::vector<uint8_t> data(c, static_cast<uint8_t>(rng()));
      auto packed = image.Compress(data);
      if (!packed.ok() || !packed->has_value()) break;
      put(image.WriteCompressed(where, **packed), data, where);
      break;
    }
    case 4:
    case 5:
      *flushed = image.Flush().ok();
      break;
    default: {
      std::vector<uint8_t> data(n);
      for (size_t i = 0; i < n; i += 8) data[i] = static_cast<uint8_t>(rng());
      put(image.Write(at, data), data, at);
    }
  }
}

void ExpectSound(Storage& storage, const std::string& format, const std::string& when) {
  if (format != "qcow2") return;
  auto image = Image::Open(Borrow(&storage), {.format = format, .for_check = true});
  ASSERT_OK(image) << when;
  auto check = (*image)->Check(CheckRepair::kNone);
  ASSERT_OK(check) << when;
  ASSERT_EQ(check->corruptions + check->check_errors, 0u)
      << when << ": " << (check->messages.empty() ? "" : check->messages[0]);
}

// `ignore`: bytes that may be anything.
void ExpectHolds(Storage& storage, const std::string& format, const std::vector<uint8_t>& bytes,
                 const std::vector<uint8_t>& ignore, const std::string& when) {
  auto image = Image::Open(Borrow(&storage), {.format = format});
  ASSERT_OK(image) << when;
  std::vector<uint8_t> now(bytes.size());
  ASSERT_OK((*image)->Read(0, now)) << when;
  for (size_t i = 0; i < now.size(); ++i) {
    ASSERT_TRUE(now[i] == bytes[i] || ignore[i] != 0)
        << when << ": byte " << i << " is " << int{now[i]} << ", not " << int{bytes[i]};
  }
}

class CrashTest : public testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<Storage> NewImage() {
    const Kind& k = GetParam();
    auto storage = NewMemoryStorage("disk");
    const Format* format = FindFormat(k.format);
    auto options = CompleteOptions(*format, k.options);
    EXPECT_OK(options);
    EXPECT_OK(format->create(*storage, k.size, *options));
    return storage;
  }
  static std::unique_ptr<Storage> Copy(Storage& from) {
    std::vector<uint8_t> bytes(from.Size().value());
    EXPECT_OK(from.Read(0, bytes));
    return NewMemoryStorage(from.name(), bytes);
  }
};

// The guest's flush that ended at `log_end`, and what was touched after it.
struct Flushed {
  size_t log_end;
  std::vector<uint8_t> bytes, vague, touched_after;
};

struct Recording {
  std::unique_ptr<Storage> before;
  std::vector<StorageOp> log;
  std::vector<Flushed> flushes;
};

Recording Record(std::unique_ptr<Storage> start, std::unique_ptr<Storage> work, const Kind& k,
                 uint64_t seed) {
  Recording r{.before = std::move(start)};
  StorageLog log;
  auto image = Image::Open(std::make_unique<TestStorage>(work.get(), &log, nullptr),
                           {.format = k.format, .writable = true});
  EXPECT_OK(image);
  Guest guest(k.size);
  std::mt19937_64 rng(seed);
  r.flushes.push_back({0, guest.bytes, guest.vague, {}});
  auto take = [&] {
    for (StorageOp& op : log.Take()) r.log.push_back(std::move(op));
  };
  for (int i = 0; i < k.ops; ++i) {
    bool flushed = false;
    Step(**image, guest, rng, &flushed);
    take();
    if (!flushed) continue;
    r.flushes.back().touched_after = guest.touched;
    std::fill(guest.touched.begin(), guest.touched.end(), uint8_t{0});
    r.flushes.push_back({r.log.size(), guest.bytes, guest.vague, {}});
  }
  EXPECT_OK((*image)->Close());
  take();
  r.flushes.back().touched_after = guest.touched;
  return r;
}

// The state has all of log[0, durable) and nothing from log[end] on.
void ExpectSurvives(Storage& state, const Recording& r, size_t durable, size_t end, const Kind& k,
                    const std::string& when) {
  ExpectSound(state, k.format, when);
  size_t i = r.flushes.size() - 1;
  while (r.flushes[i].log_end > durable) --i;
  const Flushed& f = r.flushes[i];
  std::vector<uint8_t> ignore = f.vague;
  for (; i < r.flushes.size() && r.flushes[i].log_end <= end; ++i) {
    for (size_t j = 0; j < ignore.size(); ++j) ignore[j] |= r.flushes[i].touched_after[j];
  }
  ExpectHolds(state, k.format, f.bytes, ignore, when);
}

TEST_P(CrashTest, EveryPrefix) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    auto start = NewImage();
    auto work = Copy(*start);
    Recording r = Record(std::move(start), std::move(work), GetParam(), seed);
    auto state = Copy(*r.before);
    for (size_t i = 0; i < r.log.size(); ++i) {
      ASSERT_OK(r.log[i].Apply(*state));
      ExpectSurvives(*state, r, i + 1, i + 1, GetParam(), absl::StrCat("seed ", seed, " op ", i));
      ASSERT_FALSE(HasFatalFailure());
    }
  }
}

// `op` with every sector kept or lost at random.
void ApplyTorn(const StorageOp& op, Storage& state, std::mt19937_64& rng) {
  const unsigned keep = rng() % 3;  // all, none, some
  if (keep == 1) return;
  if (keep == 0 || op.kind != StorageOp::Kind::kWrite) return (void)op.Apply(state);
  for (size_t at = 0; at < op.bytes.size();) {
    size_t n = std::min<size_t>(512 - (op.offset + at) % 512, op.bytes.size() - at);
    if (rng() % 2 == 0) {
      EXPECT_OK(state.Write(op.offset + at, std::span(op.bytes).subspan(at, n)));
    }
    at += n;
  }
}

TEST_P(CrashTest, EveryEpochTorn) {
  std::mt19937_64 rng(99);
  for (uint64_t seed = 11; seed <= 13; ++seed) {
    auto start = NewImage();
    auto work = Copy(*start);
    Recording r = Record(std::move(start), std::move(work), GetParam(), seed);
    auto durable = Copy(*r.before);
    for (size_t begin = 0; begin < r.log.size();) {
      size_t end = begin;
      while (end < r.log.size() && r.log[end].kind != StorageOp::Kind::kFlush) ++end;
      for (int variant = 0; variant < 6; ++variant) {
        auto state = Copy(*durable);
        for (size_t i = begin; i < end; ++i) ApplyTorn(r.log[i], *state, rng);
        ExpectSurvives(*state, r, begin, end, GetParam(),
                       absl::StrCat("seed ", seed, " ops ", begin, "..", end));
        ASSERT_FALSE(HasFatalFailure());
      }
      for (size_t i = begin; i < end; ++i) ASSERT_OK(r.log[i].Apply(*durable));
      begin = end + 1;
    }
  }
}

void RunWithFault(std::unique_ptr<Storage> storage, const Kind& k, FaultPlan& plan,
                  const std::string& when) {
  Guest guest(k.size);
  bool closed = false;
  {
    auto image = Image::Open(std::make_unique<TestStorage>(storage.get(), nullptr, &plan),
                             {.format = k.format, .writable = true});
    if (!image.ok()) {
      ASSERT_GT(plan.failed.load(), 0) << image.status();
      return;
    }
    std::mt19937_64 rng(5);
    bool flushed;
    for (int i = 0; i < 60; ++i) Step(**image, guest, rng, &flushed);
    closed = (*image)->Close().ok();
    ASSERT_TRUE(closed || plan.failed.load() > 0) << when;
  }
  ExpectSound(*storage, k.format, when);
  if (closed) ExpectHolds(*storage, k.format, guest.bytes, guest.vague, when);
}

TEST_P(CrashTest, EveryFault) {
  const int kinds[] = {FaultPlan::kWrites, FaultPlan::kReads, FaultPlan::kFlushes,
                       FaultPlan::kTruncates};
  for (int kind : kinds) {
    for (bool only_one : {true, false}) {
      for (int64_t n = 0;; n += 1 + n / 40) {
        FaultPlan plan;
        plan.kinds = kind;
        plan.only_one = only_one;
        plan.left = n;
        RunWithFault(NewImage(), GetParam(), plan,
                     absl::StrCat("kind ", kind, only_one ? " once" : " for good", " after ", n));
        ASSERT_FALSE(HasFatalFailure());
        if (plan.failed.load() == 0) break;
      }
    }
  }
}

const Kind kKinds[] = {
    {"qcow", "qcow", {}, 300 << 10},
    {"v2_4k", "qcow2", {{"compat", "v2"}, {"cluster_size", "4k"}}, 300 << 10},
    {"v3_4k", "qcow2", {{"cluster_size", "4k"}}, 300 << 10},
    // Refcount blocks of 32 KiB of file, a refcount table that has to grow.
    {"v3_512_rc64", "qcow2", {{"cluster_size", "512"}, {"refcount_bits", "64"}}, 3 << 20, 130},
    {"v3_512_rc1", "qcow2", {{"cluster_size", "512"}, {"refcount_bits", "1"}}, 300 << 10},
    {"v3_64k", "qcow2", {}, 1 << 20},
};

INSTANTIATE_TEST_SUITE_P(All, CrashTest, testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace atl::block
