// SPDX-License-Identifier: Apache-2.0
// The core under qcow and qcow2: guest clusters found through two levels of
// tables, allocated on first write, copied from below where a write covers a
// part. A format adds how entries are written and where space comes from.
//
// Theory of operation
//
// Data. L1 is in memory as a whole, L2 tables are in a cache of slices
// (TableCache). Both hold raw entries in atomics: a lookup takes no lock but its
// shard's of the cache, for a moment, and none while it reads or writes data.
//
// A request passes the gate (RequestGate) on its way in. A write to a cluster
// that may be overwritten in place needs nothing more. Any other one takes its
// guest clusters in the table of requests in flight (RangeLock), looks again,
// allocates, writes the whole of the new cluster (old bytes around the new
// ones), and only then publishes: stores the L2 entry, under publish_mu_. The
// table, not the cluster on disk, is what others see, so they see all or nothing.
//
// What is published is in memory only. Commit() carries it to the file in an
// order that leaves every moment's file consistent or leaking:
//
//   1. one copy of all dirty L1 blocks and slices, made under publish_mu_: a
//      moment of the tables. Their data is in the file already.
//   2. references (WriteReferences(), qcow2's refcounts), raised for all that
//      the copies refer to when it was allocated. Flush.
//   3. the L2 slices, then the L1 blocks. Flush.
//   4. what was dropped before that moment may be lowered and given to others,
//      once the requests that may still use it are gone (Reclaim()).
//
// A new L2 table is zeroed, or copied, in the file before L1 refers to it in
// memory, so step 2's flush covers it. Without flushes (no_flush) the order of
// the writes alone makes a killed process leave the same states.
//
// An allocation whose write then fails is never given back: that is a leak,
// which check finds. A flush that failed makes every later one fail: what the
// kernel dropped cannot be known.
//
// Locks, outermost first: commit_mu_, a RangeLock hold, table_mu_, publish_mu_,
// the format's own. Only commit_mu_, the holds and table_mu_ are held across I/O.
#ifndef LIB_BLOCK_CLUSTER_LAYER_H_
#define LIB_BLOCK_CLUSTER_LAYER_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/mutex.h"
#include "lib/block/compress.h"
#include "lib/block/layer.h"
#include "lib/block/range_lock.h"
#include "lib/block/request_gate.h"
#include "lib/block/storage.h"
#include "lib/block/table_cache.h"

namespace atl::block {

class ClusterLayer : public Layer {
 public:
  Storage& storage() override { return *storage_; }
  uint64_t size() const override { return size_.load(); }
  uint64_t cluster_size() const override { return cluster_size_; }
  bool read_only() const override { return !writable_; }
  void SetBacking(Layer* below) override { below_ = below; }

  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override;
  absl::Status Write(uint64_t offset, std::span<const uint8_t> from) override;
  absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool unmap) override;
  absl::Status Discard(uint64_t offset, uint64_t length) override;
  absl::Status Flush() override;
  std::optional<Disk::Place> PlaceOf(uint64_t offset, uint64_t length, bool write) override;
  absl::StatusOr<LayerExtent> ExtentAt(uint64_t offset, uint64_t max_length) override;
  absl::StatusOr<std::optional<std::vector<uint8_t>>> Compress(
      std::span<const uint8_t> cluster) override;
  absl::Status WriteCompressed(uint64_t offset, std::span<const uint8_t> packed) override;

 protected:
  // What an L2 entry says.
  struct Mapping {
    LayerExtent::Kind kind = LayerExtent::Kind::kUnallocated;
    uint64_t host = 0;          // of the cluster, or of the packed bytes
    uint64_t packed_bytes = 0;  // kCompressed: at most so many
    bool in_place = false;      // nobody else refers to `host`: writes may go there
    bool has_host() const {
      return kind != LayerExtent::Kind::kUnallocated && kind != LayerExtent::Kind::kZero;
    }
  };
  // What an L1 entry says; offset 0: there is no table.
  struct TableRef {
    uint64_t offset = 0;
    bool in_place = false;
  };
  // Clusters side by side in the file.
  struct HostRun {
    uint64_t offset = 0;
    uint64_t clusters = 0;
    bool zeroed = false;  // reads as zeroes
  };
  // Space whose last reference was dropped.
  struct Dropped {
    uint64_t offset = 0;
    uint64_t length = 0;
    bool table = false;
  };

  struct Geometry {
    uint32_t cluster_bits = 0;
    uint32_t l2_bits = 0;  // log2 of the entries of an L2 table
    uint64_t l1_entries = 0;
    uint64_t l1_offset = 0;
    uint64_t size = 0;
  };

  ClusterLayer(std::unique_ptr<Storage> storage, const Geometry& geometry, bool writable,
               bool no_flush, Compression compression);

  // The format's part. Entries are in the host's byte order.

  // Decode errors say what is wrong, not where; the caller adds that.
  virtual absl::StatusOr<TableRef> DecodeL1(uint64_t entry) const = 0;
  virtual absl::StatusOr<Mapping> DecodeL2(uint64_t entry) const = 0;
  virtual uint64_t EncodeL1(uint64_t table) const = 0;
  virtual uint64_t EncodeL2(const Mapping& mapping) const = 0;
  // The format has L2 entries for zero clusters.
  virtual bool has_zero_clusters() const = 0;
  // Any thread. At least one cluster, at most `max`.
  virtual absl::StatusOr<HostRun> AllocateClusters(uint64_t max) = 0;
  virtual absl::StatusOr<HostRun> AllocateTable() = 0;
  virtual absl::StatusOr<uint64_t> AllocatePacked(uint64_t bytes) = 0;
  // Errors where data written at `offset` would hit metadata.
  virtual absl::Status CheckDataWrite(uint64_t offset, uint64_t length) = 0;
  // Makes durable-to-be (the caller flushes) that all allocated so far is in
  // use. commit_mu_ is held.
  virtual absl::Status WriteReferences(bool sync) = 0;
  // Nothing refers to these places in the file any more, nobody uses them.
  virtual absl::Status Reclaim(const std::vector<Dropped>& dropped) = 0;
  // Before the first change of an open image.
  virtual absl::Status PrepareFirstWrite() = 0;

  // For the format's other operations, with no request running.

  // Where things stand in messages: "disk.img: qcow2".
  const std::string& where() const { return where_; }
  absl::Status Commit(bool sync) ABSL_LOCKS_EXCLUDED(commit_mu_);
  // Writes to the storage, and remembers that the next flush has work.
  absl::Status WriteStorage(uint64_t offset, std::span<const uint8_t> from);
  absl::Status SyncStorage();
  // Everything that changes fails from now on with `why`.
  void Stop(const absl::Status& why) ABSL_LOCKS_EXCLUDED(stop_mu_);
  absl::Status Stopped() const ABSL_LOCKS_EXCLUDED(stop_mu_);
  // Before anything is changed; cheap after the first time.
  absl::Status AboutToWrite();
  // The L1 entries move to another place or number; the new ones are in the file.
  void ReplaceL1(uint64_t offset, uint64_t entries);
  uint64_t l1_entries() const { return l1_entries_; }
  uint64_t l1_offset() const { return l1_offset_; }
  uint64_t L1Entry(uint64_t i) const { return l1_[i].load(); }
  // Before anything that reads or writes the disk.
  absl::Status LoadL1();
  void SetSize(uint64_t size) { size_.store(size); }
  // Makes [offset, end of the tables) unallocated; offset is a multiple of the
  // cluster size. Whole tables go too.
  absl::Status DropFrom(uint64_t offset);
  // Fills the L2 table that covers `offset` so that [offset, offset + length)
  // maps to fresh clusters, in the table's reach; returns the bytes done.
  absl::StatusOr<uint64_t> AllocateMetadata(uint64_t offset, uint64_t length);
  Layer* below() const { return below_; }
  void DropTable(uint64_t offset) ABSL_LOCKS_EXCLUDED(publish_mu_);

  const std::unique_ptr<Storage> storage_;
  const uint32_t cluster_bits_;
  const uint64_t cluster_size_;
  const uint32_t l2_bits_;
  const uint64_t table_bytes_;
  const bool no_flush_;
  bool writable_;

 private:
  using Kind = LayerExtent::Kind;
  // A run of clusters of one L2 slice that are in one state and, where they
  // have a place, side by side.
  struct Run {
    Mapping first;        // of the cluster that holds the offset asked for
    uint64_t length = 0;  // guest bytes from that offset on
  };
  using Slice = std::shared_ptr<TableSlice>;

  uint64_t L1Index(uint64_t offset) const { return offset >> (cluster_bits_ + l2_bits_); }
  uint32_t L2Index(uint64_t offset) const {
    return static_cast<uint32_t>(offset >> cluster_bits_) & ((1u << l2_bits_) - 1);
  }
  absl::Status CheckRange(uint64_t offset, uint64_t length) const;
  absl::Status CheckLoaded() const;
  absl::StatusOr<TableRef> Table(uint64_t l1_index) const;
  absl::StatusOr<Slice> GetSlice(uint64_t table, uint32_t l2_index);
  absl::StatusOr<Mapping> Decode(const TableSlice& slice, uint32_t l2_index, uint64_t entry,
                                 uint64_t guest_offset) const;
  uint32_t InSlice(uint32_t l2_index) const { return l2_index & (slice_entries_ - 1); }
  absl::StatusOr<Run> Lookup(uint64_t offset, uint64_t max_length);
  // `slice` is the one of `offset`.
  absl::StatusOr<Run> LookupIn(const TableSlice& slice, uint64_t offset, uint64_t max_length) const;

  // Bytes of clusters of one run; `first` maps the cluster at `begin`.
  absl::Status ReadMapped(const Mapping& first, uint64_t begin, uint64_t offset,
                          std::span<uint8_t> to);
  absl::Status ReadInside(uint64_t offset, std::span<uint8_t> to);
  absl::Status ReadBelow(uint64_t offset, std::span<uint8_t> to);
  absl::StatusOr<size_t> ReadCompressed(uint64_t offset, std::span<uint8_t> to);
  absl::StatusOr<std::shared_ptr<const std::vector<uint8_t>>> UnpackCached(const Mapping& mapping);
  absl::Status UnpackTo(const Mapping& mapping, std::span<const uint8_t> packed,
                        std::span<uint8_t> to);
  bool BelowIsZero(uint64_t offset) const;
  bool ReadsZero(const Mapping& mapping, uint64_t offset) const;

  absl::Status WriteInside(uint64_t offset, std::span<const uint8_t> from);
  absl::StatusOr<size_t> WriteAllocating(uint64_t offset, std::span<const uint8_t> from);
  // Writes the clusters `to`, which stand for guest bytes from `begin` on:
  // `from` at `offset`, and what `old` maps around it.
  absl::Status WriteAround(const Mapping& old, const HostRun& to, uint64_t begin, uint64_t offset,
                           std::span<const uint8_t> from);
  absl::Status WriteZeroesBytes(uint64_t offset, uint64_t length);
  // Drops clusters of one slice's reach: `length` bytes at most.
  enum class DropMode { kZeroKeep, kZeroFree, kDiscard, kUnmap };
  absl::StatusOr<uint64_t> DropClusters(uint64_t offset, uint64_t length, DropMode mode);
  absl::Status EachRange(uint64_t offset, uint64_t length, DropMode mode);

  // The L2 table of an L1 entry, made or copied where it may not be written.
  absl::StatusOr<uint64_t> WritableTable(uint64_t l1_index);
  void Publish(const Slice& slice, uint32_t l2_index, uint64_t entry, const Mapping& old)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(publish_mu_);
  absl::Status CommitLocked(bool sync) ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mu_);
  absl::Status MaybeCommit();
  absl::Status TryReclaim() ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mu_);

  const std::string where_;
  const Compression compression_;
  const uint32_t slice_entries_;  // a power of two
  std::atomic<uint64_t> size_;
  Layer* below_ = nullptr;
  TableCache cache_;
  RequestGate gate_;
  RangeLock in_flight_;

  uint64_t l1_offset_;
  uint64_t l1_entries_;
  std::unique_ptr<std::atomic<uint64_t>[]> l1_;  // null until LoadL1()

  std::atomic<bool> prepared_{false};
  Mutex prepare_mu_;
  Mutex table_mu_;

  Mutex publish_mu_;
  std::vector<Slice> dirty_slices_ ABSL_GUARDED_BY(publish_mu_);
  absl::btree_set<uint64_t> dirty_l1_ ABSL_GUARDED_BY(publish_mu_);  // 512-byte blocks
  std::vector<Dropped> dropped_ ABSL_GUARDED_BY(publish_mu_);
  std::atomic<size_t> pending_{0};  // dirty slices and dropped places

  Mutex commit_mu_;
  struct Waiting {
    uint64_t when;
    std::vector<Dropped> dropped;
  };
  std::deque<Waiting> waiting_ ABSL_GUARDED_BY(commit_mu_);
  std::atomic<bool> is_stopped_{false};
  mutable Mutex stop_mu_;
  absl::Status stopped_ ABSL_GUARDED_BY(stop_mu_);
  std::atomic<bool> unsynced_{false};
  // Counts reclaims: what was unpacked before may be another cluster's now.
  std::atomic<uint64_t> generation_{0};

  struct Unpacked {
    uint64_t host = 0;
    uint64_t generation = 0;
    std::shared_ptr<const std::vector<uint8_t>> bytes;
  };
  Mutex unpacked_mu_;
  std::deque<Unpacked> unpacked_ ABSL_GUARDED_BY(unpacked_mu_);
};

}  // namespace atl::block

#endif  // LIB_BLOCK_CLUSTER_LAYER_H_
