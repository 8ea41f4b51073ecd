// SPDX-License-Identifier: Apache-2.0
// Which clusters of a qcow2 file are in use, and how often: the refcount table,
// its blocks, and the allocator on top of them.
//
// The counts in memory are never below what the tables on disk refer to: they
// are raised when a cluster is handed out, and lowered only by Lower(), whose
// caller knows that the last reference is gone from the disk. So a block may be
// written at any moment. A new block is written before the refcount table that
// names it, a new refcount table before the header that does.
//
// Thread rule: any thread; one lock, held across reads of blocks.
#ifndef LIB_BLOCK_QCOW2_REFCOUNTS_H_
#define LIB_BLOCK_QCOW2_REFCOUNTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/mutex.h"
#include "lib/block/metadata_map.h"
#include "lib/block/qcow2/header.h"
#include "lib/block/storage.h"

namespace atl::block::qcow2 {

// The counts of a block, `order` as in the header.
uint64_t GetCount(std::span<const uint8_t> block, uint32_t order, uint64_t index);
void SetCount(std::span<uint8_t> block, uint32_t order, uint64_t index, uint64_t count);

class Refcounts {
 public:
  struct Io {
    Storage* storage;
    // Writes, and flushes what was written.
    std::function<absl::Status(uint64_t offset, std::span<const uint8_t>)> write;
    std::function<absl::Status()> sync;
    bool no_flush = false;
  };
  struct Run {
    uint64_t offset = 0;
    uint64_t clusters = 0;
    bool zeroed = false;  // the file reads as zeroes there
  };

  Refcounts(const Header& header, Io io, MetadataMap* metadata);

  // Reads the table. Before anything else.
  absl::Status Load() ABSL_LOCKS_EXCLUDED(mu_);
  // Enters the table and blocks into the map of metadata.
  absl::Status AddMetadata() ABSL_LOCKS_EXCLUDED(mu_);

  // Up to `max` clusters side by side, at least one; or exactly `max`.
  absl::StatusOr<Run> Allocate(uint64_t max, bool exactly) ABSL_LOCKS_EXCLUDED(mu_);
  // Room for `bytes`, less than a cluster, of packed data.
  absl::StatusOr<uint64_t> AllocatePacked(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes one reference from each cluster that [offset, offset + length)
  // touches. Space that nobody uses any more is given back to the file system.
  absl::Status Lower(const std::vector<std::pair<uint64_t, uint64_t>>& ranges)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Clusters of the first `clusters` that are in use, counted up to `enough`.
  absl::StatusOr<uint64_t> CountUsed(uint64_t clusters, uint64_t enough) ABSL_LOCKS_EXCLUDED(mu_);

  // Writes what changed. The caller flushes.
  absl::Status Write(bool sync) ABSL_LOCKS_EXCLUDED(mu_);

  // Where the file may end: behind all clusters in use.
  uint64_t end() const ABSL_LOCKS_EXCLUDED(mu_);
  // Cuts the file there if it has grown here.
  absl::Status TrimFile() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Block {
    std::vector<uint8_t> bytes;
    uint64_t dirty_begin = 0, dirty_end = 0;  // bytes; empty: clean
  };

  uint64_t block_entries() const { return uint64_t{1} << (cluster_bits_ + 3 - order_); }
  // Null where there is no block for these clusters.
  absl::StatusOr<Block*> GetBlock(uint64_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<uint64_t> Get(uint64_t cluster) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Set(Block* block, uint64_t cluster, uint64_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // A block for the clusters around `cluster`, which holds it from now on.
  absl::Status MakeBlock(uint64_t cluster) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status GrowTable(uint64_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status WriteBlocks() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status ReserveFile(uint64_t end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Run> AllocateLocked(uint64_t max, bool exactly) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What is free may not be in use by tables.
  absl::Status CheckPlaces(uint64_t first, uint64_t count) const;
  absl::Status Bad(const std::string& what) const;

  const std::string where_;
  const Io io_;
  const uint32_t cluster_bits_;
  const uint64_t cluster_size_;
  const uint32_t order_;
  MetadataMap* const metadata_;

  mutable Mutex mu_;
  uint64_t table_offset_ ABSL_GUARDED_BY(mu_);
  uint64_t table_clusters_ ABSL_GUARDED_BY(mu_);
  std::vector<uint64_t> table_ ABSL_GUARDED_BY(mu_);
  bool table_dirty_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;  // moving the table failed
  absl::flat_hash_map<uint64_t, std::unique_ptr<Block>> blocks_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<uint64_t> dirty_blocks_ ABSL_GUARDED_BY(mu_);
  uint64_t hint_ ABSL_GUARDED_BY(mu_) = 0;         // no free cluster below
  uint64_t packed_next_ ABSL_GUARDED_BY(mu_) = 0;  // where packed data goes on; 0: nowhere
  uint64_t used_end_ ABSL_GUARDED_BY(mu_) = 0;     // highest byte handed out or in the file
  uint64_t file_size_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t file_size_at_open_ ABSL_GUARDED_BY(mu_) = 0;
  bool grows_zeroed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace atl::block::qcow2

#endif  // LIB_BLOCK_QCOW2_REFCOUNTS_H_
