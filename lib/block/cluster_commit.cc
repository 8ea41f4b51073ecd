// SPDX-License-Identifier: Apache-2.0
// Carrying the tables from memory to the file; the order is explained at the
// head of cluster_layer.h.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/block/cluster_layer.h"

namespace atl::block {
namespace {

// 4096 slices are 16 MiB, and the tables of 128 GiB of guest data.
constexpr size_t kMaxPending = 4096;
constexpr uint64_t kL1Block = 512;  // what a disk writes all or nothing
constexpr size_t kMaxWrite = 1 << 20;

}  // namespace

absl::Status ClusterLayer::SyncStorage() {
  if (!unsynced_.exchange(false)) return absl::OkStatus();
  absl::Status status = storage_->Flush();
  // The kernel may have forgotten what it could not write: a second try that
  // succeeds would prove nothing.
  if (!status.ok()) Stop(Annotate(status, "an earlier flush failed"));
  return status;
}

absl::Status ClusterLayer::MaybeCommit() {
  if (pending_.load(std::memory_order_relaxed) < kMaxPending) return absl::OkStatus();
  MutexLock lock(&commit_mu_);
  if (pending_.load() < kMaxPending) return absl::OkStatus();
  return CommitLocked(!no_flush_);
}

absl::Status ClusterLayer::Commit(bool sync) {
  MutexLock lock(&commit_mu_);
  return CommitLocked(sync);
}

absl::Status ClusterLayer::Flush() {
  if (!writable_) return absl::OkStatus();
  return Commit(!no_flush_);
}

absl::Status ClusterLayer::CommitLocked(bool sync) {
  RETURN_IF_ERROR(Stopped());
  std::vector<Slice> slices;
  std::vector<uint8_t> slice_bytes;
  absl::btree_set<uint64_t> l1_blocks;
  std::vector<uint8_t> l1_bytes;
  std::vector<Dropped> dropped;
  const size_t bytes_each = slice_entries_ * 8;
  {
    MutexLock lock(&publish_mu_);
    slices.swap(dirty_slices_);
    l1_blocks.swap(dirty_l1_);
    dropped.swap(dropped_);
    pending_.store(0);
    std::sort(slices.begin(), slices.end(),
              [](const Slice& a, const Slice& b) { return a->offset < b->offset; });
    slice_bytes.resize(slices.size() * bytes_each);
    for (size_t i = 0; i < slices.size(); ++i) {
      slices[i]->dirty = false;
      slices[i]->Encode(std::span(slice_bytes).subspan(i * bytes_each, bytes_each));
    }
    l1_bytes.resize(l1_blocks.size() * kL1Block);
    size_t at = 0;
    for (uint64_t block : l1_blocks) {
      for (uint64_t i = 0; i < 64; ++i, at += 8) {
        uint64_t index = block * 64 + i;
        StoreBe<uint64_t>(l1_bytes.data() + at, index < l1_entries_ ? l1_[index].load() : 0);
      }
    }
  }

  auto write = [&]() -> absl::Status {
    RETURN_IF_ERROR(WriteReferences(sync));
    if (slices.empty() && l1_blocks.empty()) {
      if (sync) return SyncStorage();
      return absl::OkStatus();
    }
    if (sync) RETURN_IF_ERROR(SyncStorage());
    for (size_t i = 0; i < slices.size();) {
      size_t j = i + 1;
      while (j < slices.size() && (j - i) * bytes_each < kMaxWrite &&
             slices[j]->offset == slices[j - 1]->offset + bytes_each) {
        ++j;
      }
      RETURN_IF_ERROR(WriteStorage(
          slices[i]->offset, std::span(slice_bytes).subspan(i * bytes_each, (j - i) * bytes_each)));
      i = j;
    }
    size_t at = 0;
    for (uint64_t block : l1_blocks) {
      uint64_t n = std::min(kL1Block, (l1_entries_ - block * 64) * 8);
      RETURN_IF_ERROR(
          WriteStorage(l1_offset_ + block * kL1Block, std::span(l1_bytes).subspan(at, n)));
      at += kL1Block;
    }
    if (sync) return SyncStorage();
    return absl::OkStatus();
  };
  absl::Status status = write();
  if (!status.ok()) {
    // It is all still to be done. What was dropped stays in use until then.
    MutexLock lock(&publish_mu_);
    for (Slice& slice : slices) {
      if (std::exchange(slice->dirty, true)) continue;
      dirty_slices_.push_back(std::move(slice));
    }
    dirty_l1_.insert(l1_blocks.begin(), l1_blocks.end());
    dropped_.insert(dropped_.end(), dropped.begin(), dropped.end());
    return status;
  }
  if (!dropped.empty()) waiting_.push_back({gate_.Now(), std::move(dropped)});
  return TryReclaim();
}

absl::Status ClusterLayer::TryReclaim() {
  while (!waiting_.empty() && gate_.Passed(waiting_.front().when)) {
    std::vector<Dropped> dropped = std::move(waiting_.front().dropped);
    waiting_.pop_front();
    generation_.fetch_add(1);
    RETURN_IF_ERROR(Reclaim(dropped));
  }
  return absl::OkStatus();
}

}  // namespace atl::block
