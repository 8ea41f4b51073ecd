// SPDX-License-Identifier: Apache-2.0
// Writes, zeroes, discards.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/block/cluster_layer.h"

namespace atl::block {
namespace {

// New clusters up to so much are put together in memory and written at once.
constexpr uint64_t kGatherBytes = 256 << 10;
constexpr size_t kZeroChunk = 1 << 20;

}  // namespace

absl::Status ClusterLayer::AboutToWrite() {
  if (is_stopped_.load()) return Stopped();
  if (prepared_.load(std::memory_order_acquire)) return absl::OkStatus();
  MutexLock lock(&prepare_mu_);
  if (prepared_.load()) return absl::OkStatus();
  if (!writable_) {
    return absl::PermissionDeniedError(absl::StrCat(where_, ": opened read-only"));
  }
  RETURN_IF_ERROR(CheckLoaded());
  RETURN_IF_ERROR(PrepareFirstWrite());
  prepared_.store(true, std::memory_order_release);
  return absl::OkStatus();
}

void ClusterLayer::Stop(const absl::Status& why) {
  MutexLock lock(&stop_mu_);
  if (stopped_.ok()) stopped_ = why;
  is_stopped_.store(true);
}

absl::Status ClusterLayer::Stopped() const {
  MutexLock lock(&stop_mu_);
  return stopped_;
}

absl::Status ClusterLayer::WriteStorage(uint64_t offset, std::span<const uint8_t> from) {
  absl::Status status = storage_->Write(offset, from);
  // After the write: a flush that clears the mark before it may have missed it.
  unsynced_.store(true);
  return status;
}

absl::Status ClusterLayer::Write(uint64_t offset, std::span<const uint8_t> from) {
  RETURN_IF_ERROR(CheckRange(offset, from.size()));
  RETURN_IF_ERROR(AboutToWrite());
  RETURN_IF_ERROR(MaybeCommit());
  RequestGate::Pass pass(&gate_);
  return WriteInside(offset, from);
}

absl::Status ClusterLayer::WriteInside(uint64_t offset, std::span<const uint8_t> from) {
  while (!from.empty()) {
    ASSIGN_OR_RETURN(Run run, Lookup(offset, from.size()));
    size_t n = run.length;
    if (run.first.kind == Kind::kData && run.first.in_place) {
      uint64_t host = run.first.host + (offset & (cluster_size_ - 1));
      RETURN_IF_ERROR(CheckDataWrite(host, n));
      RETURN_IF_ERROR(WriteStorage(host, from.first(n)));
    } else {
      ASSIGN_OR_RETURN(n, WriteAllocating(offset, from));
    }
    // 0: another request allocated it meanwhile; look again.
    offset += n;
    from = from.subspan(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ClusterLayer::WritableTable(uint64_t l1_index) {
  ASSIGN_OR_RETURN(TableRef table, Table(l1_index));
  if (table.in_place) return table.offset;
  MutexLock lock(&table_mu_);
  ASSIGN_OR_RETURN(table, Table(l1_index));
  if (table.in_place) return table.offset;
  ASSIGN_OR_RETURN(HostRun to, AllocateTable());
  // The place may have been another table once.
  cache_.Forget(to.offset, to.offset + table_bytes_);
  std::vector<uint8_t> bytes(table_bytes_);
  if (table.offset != 0) {
    // Shared with a snapshot; such a table is never dirty in memory.
    RETURN_IF_ERROR(storage_->Read(table.offset, bytes));
  }
  if (table.offset != 0 || !to.zeroed) RETURN_IF_ERROR(WriteStorage(to.offset, bytes));
  MutexLock publish(&publish_mu_);
  l1_[l1_index].store(EncodeL1(to.offset));
  dirty_l1_.insert(l1_index / 64);
  if (table.offset != 0) {
    dropped_.push_back({.offset = table.offset, .length = table_bytes_, .table = true});
  }
  return to.offset;
}

void ClusterLayer::DropTable(uint64_t offset) {
  MutexLock lock(&publish_mu_);
  dropped_.push_back({.offset = offset, .length = table_bytes_, .table = true});
}

void ClusterLayer::Publish(const Slice& slice, uint32_t l2_index, uint64_t entry,
                           const Mapping& old) {
  slice->Store(InSlice(l2_index), entry);
  if (!slice->dirty) {
    slice->dirty = true;
    dirty_slices_.push_back(slice);
  }
  if (old.has_host()) {
    uint64_t length = old.kind == Kind::kCompressed ? old.packed_bytes : cluster_size_;
    dropped_.push_back({.offset = old.host, .length = length, .table = false});
  }
  pending_.store(dirty_slices_.size() + dropped_.size());
}

absl::StatusOr<size_t> ClusterLayer::WriteAllocating(uint64_t offset,
                                                     std::span<const uint8_t> from) {
  const uint64_t begin = RoundDown(offset, cluster_size_);
  const uint64_t reach = slice_entries_ * cluster_size_;
  const uint64_t end =
      std::min(RoundUp(offset + from.size(), cluster_size_), RoundDown(offset, reach) + reach);
  RangeLock::Hold hold(&in_flight_, begin, end);
  ASSIGN_OR_RETURN(uint64_t table, WritableTable(L1Index(offset)));
  const uint32_t index = L2Index(offset);
  ASSIGN_OR_RETURN(Slice slice, GetSlice(table, index));
  ASSIGN_OR_RETURN(Run run, LookupIn(*slice, begin, end - begin));
  if (run.first.kind == Kind::kData && run.first.in_place) return 0;

  const uint64_t wanted = run.length / cluster_size_;
  HostRun to{.offset = run.first.host, .clusters = wanted, .zeroed = false};
  const bool reuse = run.first.kind == Kind::kZeroAllocated && run.first.in_place;
  if (!reuse) {
    ASSIGN_OR_RETURN(to, AllocateClusters(wanted));
  }
  // What was just allocated has been looked at.
  if (reuse) RETURN_IF_ERROR(CheckDataWrite(to.offset, to.clusters * cluster_size_));
  size_t n = std::min<uint64_t>(from.size(), begin + to.clusters * cluster_size_ - offset);
  RETURN_IF_ERROR(WriteAround(run.first, to, begin, offset, from.first(n)));

  MutexLock lock(&publish_mu_);
  Mapping old = run.first;
  for (uint64_t i = 0; i < to.clusters; ++i) {
    Mapping now{.kind = Kind::kData, .host = to.offset + i * cluster_size_, .in_place = true};
    Publish(slice, index + static_cast<uint32_t>(i), EncodeL2(now), reuse ? Mapping{} : old);
    old.host += cluster_size_;  // compressed ones come alone
  }
  return n;
}

absl::Status ClusterLayer::WriteAround(const Mapping& old, const HostRun& to, uint64_t begin,
                                       uint64_t offset, std::span<const uint8_t> from) {
  const uint64_t end = begin + to.clusters * cluster_size_;
  const uint64_t head = offset - begin, tail = end - offset - from.size();
  if ((head == 0 && tail == 0) || (to.zeroed && ReadsZero(old, begin))) {
    return WriteStorage(to.offset + head, from);
  }
  if (end - begin <= kGatherBytes) {
    std::vector<uint8_t> all(end - begin);
    std::span<uint8_t> bytes(all);
    RETURN_IF_ERROR(ReadMapped(old, begin, begin, bytes.first(head)));
    RETURN_IF_ERROR(ReadMapped(old, begin, offset + from.size(), bytes.last(tail)));
    std::memcpy(all.data() + head, from.data(), from.size());
    return WriteStorage(to.offset, all);
  }
  std::vector<uint8_t> piece(head);
  RETURN_IF_ERROR(ReadMapped(old, begin, begin, piece));
  if (head > 0) RETURN_IF_ERROR(WriteStorage(to.offset, piece));
  RETURN_IF_ERROR(WriteStorage(to.offset + head, from));
  piece.resize(tail);
  RETURN_IF_ERROR(ReadMapped(old, begin, offset + from.size(), piece));
  if (tail > 0) RETURN_IF_ERROR(WriteStorage(to.offset + head + from.size(), piece));
  return absl::OkStatus();
}

absl::Status ClusterLayer::WriteCompressed(uint64_t offset, std::span<const uint8_t> packed) {
  RETURN_IF_ERROR(CheckRange(offset, 1));
  if (offset % cluster_size_ != 0 || packed.empty() || packed.size() >= cluster_size_) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: %d packed bytes for the cluster at 0x%x",
                                                      where_, packed.size(), offset));
  }
  RETURN_IF_ERROR(AboutToWrite());
  RETURN_IF_ERROR(MaybeCommit());
  RequestGate::Pass pass(&gate_);
  RangeLock::Hold hold(&in_flight_, offset, offset + cluster_size_);
  ASSIGN_OR_RETURN(uint64_t table, WritableTable(L1Index(offset)));
  const uint32_t index = L2Index(offset);
  ASSIGN_OR_RETURN(Slice slice, GetSlice(table, index));
  ASSIGN_OR_RETURN(Mapping old, Decode(*slice, index, slice->Load(InSlice(index)), offset));
  ASSIGN_OR_RETURN(uint64_t host, AllocatePacked(packed.size()));
  RETURN_IF_ERROR(WriteStorage(host, packed));
  Mapping now{.kind = Kind::kCompressed, .host = host, .packed_bytes = packed.size()};
  MutexLock lock(&publish_mu_);
  Publish(slice, index, EncodeL2(now), old);
  return absl::OkStatus();
}

absl::Status ClusterLayer::WriteZeroesBytes(uint64_t offset, uint64_t length) {
  static const std::vector<uint8_t>* const zeroes = new std::vector<uint8_t>(kZeroChunk);
  while (length > 0) {
    // Where it reads as zeroes already, nothing needs space.
    ASSIGN_OR_RETURN(Run run, Lookup(offset, length));
    uint64_t n = run.length;
    if (run.first.kind == Kind::kUnallocated && !BelowIsZero(offset)) {
      n = std::min(n, below_->size() - offset);
    }
    if (!ReadsZero(run.first, offset)) {
      n = std::min<uint64_t>(n, kZeroChunk);
      RETURN_IF_ERROR(WriteInside(offset, std::span(*zeroes).first(n)));
    }
    offset += n;
    length -= n;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ClusterLayer::DropClusters(uint64_t offset, uint64_t length,
                                                    DropMode mode) {
  const uint64_t reach = slice_entries_ * cluster_size_;
  length = std::min(length, RoundDown(offset, reach) + reach - offset);
  RangeLock::Hold hold(&in_flight_, offset, offset + length);
  const uint64_t l1_index = L1Index(offset);
  ASSIGN_OR_RETURN(TableRef ref, Table(l1_index));
  const bool shows_below =
      (mode == DropMode::kZeroKeep || mode == DropMode::kZeroFree) && !BelowIsZero(offset);
  if (ref.offset == 0 && !shows_below) {
    // Nothing is allocated here.
    uint64_t table_reach = uint64_t{1} << (cluster_bits_ + l2_bits_);
    return std::min(length, RoundDown(offset, table_reach) + table_reach - offset);
  }
  ASSIGN_OR_RETURN(uint64_t table, WritableTable(l1_index));
  ASSIGN_OR_RETURN(Slice slice, GetSlice(table, L2Index(offset)));
  for (uint64_t at = offset; at < offset + length; at += cluster_size_) {
    const uint32_t index = L2Index(at);
    ASSIGN_OR_RETURN(Mapping old, Decode(*slice, index, slice->Load(InSlice(index)), at));
    Mapping now{.kind = Kind::kZero};
    Mapping dropped = old;
    if (mode == DropMode::kUnmap) {
      if (old.kind == Kind::kUnallocated) continue;
      now.kind = Kind::kUnallocated;
    } else if (mode == DropMode::kDiscard) {
      if (old.kind == Kind::kUnallocated || old.kind == Kind::kZero) continue;
    } else {
      if (old.kind == Kind::kZero || (old.kind == Kind::kUnallocated && BelowIsZero(at))) continue;
      if (mode == DropMode::kZeroKeep && old.in_place) {
        if (old.kind == Kind::kZeroAllocated) continue;
        if (old.kind == Kind::kData) {
          now = {.kind = Kind::kZeroAllocated, .host = old.host, .in_place = true};
          dropped = {};
        }
      }
    }
    MutexLock lock(&publish_mu_);
    Publish(slice, index, EncodeL2(now), dropped);
  }
  return length;
}

absl::Status ClusterLayer::EachRange(uint64_t offset, uint64_t length, DropMode mode) {
  while (length > 0) {
    RETURN_IF_ERROR(MaybeCommit());
    RequestGate::Pass pass(&gate_);
    ASSIGN_OR_RETURN(uint64_t n, DropClusters(offset, length, mode));
    n = std::min(n, length);
    offset += n;
    length -= n;
  }
  return absl::OkStatus();
}

absl::Status ClusterLayer::WriteZeroes(uint64_t offset, uint64_t length, bool unmap) {
  RETURN_IF_ERROR(CheckRange(offset, length));
  RETURN_IF_ERROR(AboutToWrite());
  RETURN_IF_ERROR(MaybeCommit());
  const uint64_t end = offset + length;
  // The last cluster may reach past the disk's end; then it counts as whole.
  uint64_t first = RoundUp(offset, cluster_size_);
  uint64_t last = end == size() ? RoundUp(end, cluster_size_) : RoundDown(end, cluster_size_);
  const bool bytes_only = !has_zero_clusters() && (!unmap || !BelowIsZero(offset));
  if (bytes_only || first >= last) {
    RequestGate::Pass pass(&gate_);
    return WriteZeroesBytes(offset, length);
  }
  {
    RequestGate::Pass pass(&gate_);
    if (offset < first) RETURN_IF_ERROR(WriteZeroesBytes(offset, first - offset));
    if (last < end) RETURN_IF_ERROR(WriteZeroesBytes(last, end - last));
  }
  DropMode mode = unmap ? DropMode::kZeroFree : DropMode::kZeroKeep;
  if (!has_zero_clusters()) mode = DropMode::kUnmap;
  return EachRange(first, last - first, mode);
}

absl::Status ClusterLayer::Discard(uint64_t offset, uint64_t length) {
  RETURN_IF_ERROR(CheckRange(offset, length));
  RETURN_IF_ERROR(AboutToWrite());
  const uint64_t end = offset + length;
  uint64_t first = RoundUp(offset, cluster_size_);
  uint64_t last = end == size() ? RoundUp(end, cluster_size_) : RoundDown(end, cluster_size_);
  if (first >= last) return absl::OkStatus();
  if (!has_zero_clusters()) {
    // Old data from below would show.
    if (!BelowIsZero(first)) return absl::OkStatus();
    return EachRange(first, last - first, DropMode::kUnmap);
  }
  return EachRange(first, last - first, DropMode::kDiscard);
}

absl::Status ClusterLayer::DropFrom(uint64_t offset) {
  const uint64_t table_reach = uint64_t{1} << (cluster_bits_ + l2_bits_);
  const uint64_t end = l1_entries_ * table_reach;
  for (uint64_t at = offset; at < end;) {
    uint64_t i = L1Index(at);
    uint64_t next = RoundDown(at, table_reach) + table_reach;
    if (l1_[i].load() != 0) {
      RETURN_IF_ERROR(EachRange(at, next - at, DropMode::kUnmap));
      if (at % table_reach == 0) {
        ASSIGN_OR_RETURN(TableRef table, Table(i));
        // Its slices go first, or they would be written to a place that may
        // have a new owner.
        RETURN_IF_ERROR(Commit(!no_flush_));
        {
          MutexLock lock(&publish_mu_);
          l1_[i].store(0);
          dirty_l1_.insert(i / 64);
        }
        DropTable(table.offset);
      }
    }
    at = next;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ClusterLayer::AllocateMetadata(uint64_t offset, uint64_t length) {
  RETURN_IF_ERROR(MaybeCommit());
  const uint64_t reach = slice_entries_ * cluster_size_;
  const uint64_t end =
      std::min(RoundUp(offset + length, cluster_size_), RoundDown(offset, reach) + reach);
  ASSIGN_OR_RETURN(uint64_t table, WritableTable(L1Index(offset)));
  const uint32_t index = L2Index(offset);
  ASSIGN_OR_RETURN(Slice slice, GetSlice(table, index));
  ASSIGN_OR_RETURN(Run run, LookupIn(*slice, offset, end - offset));
  if (run.first.kind != Kind::kUnallocated) return run.length;
  ASSIGN_OR_RETURN(HostRun to, AllocateClusters(run.length / cluster_size_));
  if (!to.zeroed) {
    std::vector<uint8_t> zeroes(cluster_size_);
    for (uint64_t i = 0; i < to.clusters; ++i) {
      RETURN_IF_ERROR(WriteStorage(to.offset + i * cluster_size_, zeroes));
    }
  }
  MutexLock lock(&publish_mu_);
  for (uint64_t i = 0; i < to.clusters; ++i) {
    Mapping now{.kind = Kind::kData, .host = to.offset + i * cluster_size_, .in_place = true};
    Publish(slice, index + static_cast<uint32_t>(i), EncodeL2(now), {});
  }
  return to.clusters * cluster_size_;
}

}  // namespace atl::block
