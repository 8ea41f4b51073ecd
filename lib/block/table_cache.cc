// SPDX-License-Identifier: Apache-2.0
#include "lib/block/table_cache.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/base/endian.h"

namespace atl::block {

void TableSlice::Encode(std::span<uint8_t> to) const {
  for (uint32_t i = 0; i < count; ++i) StoreBe<uint64_t>(to.data() + 8 * i, Load(i));
}

TableCache::TableCache(Storage* storage, uint32_t slice_bytes, uint64_t max_bytes)
    : storage_(storage),
      slice_bytes_(slice_bytes),
      max_per_shard_(std::max<size_t>(max_bytes / slice_bytes / kShards, 4)) {}

absl::Status TableCache::Load(TableSlice* slice) {
  std::vector<uint8_t> bytes(slice_bytes_);
  absl::Status status = storage_->Read(slice->offset, bytes);
  if (!status.ok()) return status;
  for (uint32_t i = 0; i < slice->count; ++i) {
    slice->entries[i].store(LoadBe<uint64_t>(bytes.data() + 8 * i), std::memory_order_relaxed);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<TableSlice>> TableCache::Get(uint64_t offset) {
  Shard& shard = ShardOf(offset);
  std::shared_ptr<TableSlice> slice;
  {
    MutexLock lock(&shard.mu);
    for (;;) {
      auto it = shard.slots.find(offset);
      if (it == shard.slots.end()) break;
      if (it->second.ready) {
        it->second.used = true;
        return it->second.slice;
      }
      shard.loaded.Wait(&shard.mu);
    }
    if (shard.slots.size() >= max_per_shard_) Sweep(&shard);
    slice = std::make_shared<TableSlice>(offset, slice_bytes_ / 8);
    shard.slots[offset].slice = slice;
  }
  absl::Status status = Load(slice.get());
  MutexLock lock(&shard.mu);
  shard.loaded.NotifyAll();
  if (!status.ok()) {
    shard.slots.erase(offset);
    return status;
  }
  Slot& slot = shard.slots[offset];
  slot.ready = true;
  slot.used = true;
  return slice;
}

void TableCache::Sweep(Shard* shard) {
  // New holders come through the shard's lock, so a slice whose only holder is
  // the cache stays so while we look. Dirty ones are held by the list of dirty
  // ones. Two rounds: the first takes the marks away.
  size_t goal = max_per_shard_ - max_per_shard_ / 4;
  for (int round = 0; round < 2 && shard->slots.size() > goal; ++round) {
    for (auto it = shard->slots.begin(); it != shard->slots.end();) {
      auto at = it++;
      Slot& slot = at->second;
      if (!slot.ready || slot.slice.use_count() > 1) continue;
      if (std::exchange(slot.used, false)) continue;
      shard->slots.erase(at);
      if (shard->slots.size() <= goal) return;
    }
  }
}

std::shared_ptr<TableSlice> TableCache::Peek(uint64_t offset) {
  Shard& shard = ShardOf(offset);
  MutexLock lock(&shard.mu);
  const auto at = shard.slots.find(offset);
  if (at == shard.slots.end() || !at->second.ready) return nullptr;
  at->second.used = true;
  return at->second.slice;
}

void TableCache::Forget(uint64_t begin, uint64_t end) {
  for (uint64_t at = begin; at < end; at += slice_bytes_) {
    Shard& shard = ShardOf(at);
    MutexLock lock(&shard.mu);
    shard.slots.erase(at);
  }
}

}  // namespace atl::block
