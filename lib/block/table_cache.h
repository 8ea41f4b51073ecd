// SPDX-License-Identifier: Apache-2.0
// A cache of pieces ("slices") of tables of big-endian 64-bit entries in a
// storage, the L2 tables of qcow and qcow2.
//
// Thread rule: any thread. A slice that somebody holds, or that is dirty, stays.
#ifndef LIB_BLOCK_TABLE_CACHE_H_
#define LIB_BLOCK_TABLE_CACHE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/mutex.h"
#include "lib/block/storage.h"

namespace atl::block {

struct TableSlice {
  TableSlice(uint64_t offset, uint32_t count)
      : offset(offset), count(count), entries(new std::atomic<uint64_t>[count]) {}

  uint64_t Load(uint32_t i) const { return entries[i].load(std::memory_order_acquire); }
  void Store(uint32_t i, uint64_t v) { entries[i].store(v, std::memory_order_release); }
  // The bytes as they stand in the storage; 8 * count of them.
  void Encode(std::span<uint8_t> to) const;

  const uint64_t offset;  // in the storage
  const uint32_t count;
  // In the host's byte order. Written under the owner's publishing lock.
  const std::unique_ptr<std::atomic<uint64_t>[]> entries;
  bool dirty = false;  // guarded by the owner's publishing lock
};

class TableCache {
 public:
  // Slices of `slice_bytes`, at most about `max_bytes` of clean ones.
  TableCache(Storage* storage, uint32_t slice_bytes, uint64_t max_bytes);

  // The slice at `offset`, read if it is not there.
  absl::StatusOr<std::shared_ptr<TableSlice>> Get(uint64_t offset);
  // The same, or null where it is not there yet: without waiting for the storage.
  std::shared_ptr<TableSlice> Peek(uint64_t offset);
  // What is known of [begin, end) is void: the place has new contents. Nobody
  // may hold slices of it.
  void Forget(uint64_t begin, uint64_t end);

 private:
  struct Slot {
    std::shared_ptr<TableSlice> slice;
    bool ready = false;
    bool used = false;  // since the sweep came by
  };
  struct Shard {
    Mutex mu;
    CondVar loaded;
    absl::flat_hash_map<uint64_t, Slot> slots ABSL_GUARDED_BY(mu);
  };
  static constexpr uint32_t kShards = 16;

  Shard& ShardOf(uint64_t offset) { return shards_[offset / slice_bytes_ % kShards]; }
  void Sweep(Shard* shard) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard->mu);
  absl::Status Load(TableSlice* slice);

  Storage* const storage_;
  const uint32_t slice_bytes_;
  const size_t max_per_shard_;
  std::array<Shard, kShards> shards_;
};

}  // namespace atl::block

#endif  // LIB_BLOCK_TABLE_CACHE_H_
