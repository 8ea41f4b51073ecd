// SPDX-License-Identifier: Apache-2.0
// Storages for tests: one that remembers what was done to it, one that fails.
#ifndef LIB_BLOCK_TESTING_STORAGES_H_
#define LIB_BLOCK_TESTING_STORAGES_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/mutex.h"
#include "lib/block/storage.h"

namespace atl::block {

// A change of a storage.
struct StorageOp {
  enum class Kind { kWrite, kTruncate, kPunch, kFlush };
  Kind kind;
  uint64_t offset = 0;  // kTruncate: the size
  uint64_t length = 0;
  std::vector<uint8_t> bytes;

  absl::Status Apply(Storage& to) const {
    switch (kind) {
      case Kind::kWrite:
        return to.Write(offset, bytes);
      case Kind::kTruncate:
        return to.Truncate(offset);
      case Kind::kPunch:
        return to.PunchHole(offset, length);
      case Kind::kFlush:
        return absl::OkStatus();
    }
    return absl::OkStatus();
  }
};

// What several storages of a test share.
class StorageLog {
 public:
  void Add(StorageOp op) {
    MutexLock lock(&mu_);
    ops_.push_back(std::move(op));
  }
  std::vector<StorageOp> Take() {
    MutexLock lock(&mu_);
    return std::exchange(ops_, {});
  }

 private:
  Mutex mu_;
  std::vector<StorageOp> ops_ ABSL_GUARDED_BY(mu_);
};

// Counts operations of some kinds, and fails them from the nth on.
struct FaultPlan {
  enum Kinds { kReads = 1, kWrites = 2, kFlushes = 4, kTruncates = 8 };
  int kinds = 0;
  std::atomic<int64_t> left{INT64_MAX};  // successes
  bool only_one = false;                 // later ones succeed again
  std::atomic<int64_t> failed{0};
};

// Forwards to `base`, which outlives it; writes to `log` and obeys `faults`
// where they are given.
class TestStorage final : public Storage {
 public:
  TestStorage(Storage* base, StorageLog* log, FaultPlan* faults)
      : base_(base), log_(log), faults_(faults) {}

  const std::string& name() const override { return base_->name(); }
  bool writable() const override { return base_->writable(); }
  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override {
    if (to.size() > largest_read_.load()) largest_read_.store(to.size());
    absl::Status status = MayFail(FaultPlan::kReads, "read");
    return status.ok() ? base_->Read(offset, to) : status;
  }
  absl::Status Write(uint64_t offset, std::span<const uint8_t> from) override {
    absl::Status status = MayFail(FaultPlan::kWrites, "write");
    if (!status.ok()) return status;
    if (log_ != nullptr) {
      log_->Add({.kind = StorageOp::Kind::kWrite,
                 .offset = offset,
                 .bytes = std::vector<uint8_t>(from.begin(), from.end())});
    }
    return base_->Write(offset, from);
  }
  absl::Status Flush() override {
    absl::Status status = MayFail(FaultPlan::kFlushes, "flush");
    if (!status.ok()) return status;
    if (log_ != nullptr) log_->Add({.kind = StorageOp::Kind::kFlush});
    return base_->Flush();
  }
  absl::StatusOr<uint64_t> Size() override { return base_->Size(); }
  absl::Status Truncate(uint64_t size) override {
    absl::Status status = MayFail(FaultPlan::kTruncates, "truncate");
    if (!status.ok()) return status;
    if (log_ != nullptr) log_->Add({.kind = StorageOp::Kind::kTruncate, .offset = size});
    return base_->Truncate(size);
  }
  absl::Status PunchHole(uint64_t offset, uint64_t length) override {
    if (log_ != nullptr) {
      log_->Add({.kind = StorageOp::Kind::kPunch, .offset = offset, .length = length});
    }
    return base_->PunchHole(offset, length);
  }
  absl::Status Allocate(uint64_t offset, uint64_t length) override {
    return base_->Allocate(offset, length);
  }
  absl::StatusOr<StorageExtent> ExtentAt(uint64_t offset) override {
    return base_->ExtentAt(offset);
  }
  absl::StatusOr<uint64_t> AllocatedBytes() override { return base_->AllocatedBytes(); }

  // The most bytes that one Read() asked for; of one thread.
  uint64_t largest_read() const { return largest_read_.load(); }

 private:
  absl::Status MayFail(int kind, const char* what) {
    if (faults_ == nullptr || (faults_->kinds & kind) == 0) return absl::OkStatus();
    int64_t left = faults_->left.fetch_sub(1);
    if (left > 0 || (faults_->only_one && left < 0)) return absl::OkStatus();
    faults_->failed.fetch_add(1);
    return absl::ResourceExhaustedError(
        absl::StrCat(name(), ": ", what, ": No space left on device"));
  }

  std::atomic<uint64_t> largest_read_{0};
  Storage* const base_;
  StorageLog* const log_;
  FaultPlan* const faults_;
};

}  // namespace atl::block

#endif  // LIB_BLOCK_TESTING_STORAGES_H_
