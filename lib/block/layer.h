// SPDX-License-Identifier: Apache-2.0
// One file of a chain of images, opened in its format. Image (image.h) stacks
// layers; formats implement them.
//
// Thread rule: Read, Write, WriteZeroes, Discard, Flush, PlaceOf, ExtentAt, Compress and
// WriteCompressed from any thread, any number at once. Everything else only
// while no other call runs.
#ifndef LIB_BLOCK_LAYER_H_
#define LIB_BLOCK_LAYER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/block/disk.h"
#include "lib/block/storage.h"

namespace atl::block {

// A run of a layer's guest bytes in one state, looking at this layer only.
struct LayerExtent {
  enum class Kind {
    kUnallocated,    // what lies below shows through; zeroes where nothing does
    kZero,           // reads as zeroes, no space in the file
    kZeroAllocated,  // reads as zeroes, with space kept at host_offset
    kData,           // at host_offset, contiguous
    kCompressed,     // packed; no byte of it stands at an offset of its own
  };
  uint64_t length = 0;  // > 0; the next run may be in the same state
  Kind kind = Kind::kUnallocated;
  uint64_t host_offset = 0;  // of the first byte: kData and kZeroAllocated
};

struct SnapshotInfo {
  std::string id;
  std::string name;
  uint64_t vm_state_size = 0;
  uint64_t date_sec = 0;
  uint32_t date_nsec = 0;
  uint64_t vm_clock_nsec = 0;
  std::optional<uint64_t> icount;
  uint64_t disk_size = 0;
};

struct BitmapInfo {
  std::string name;
  uint64_t granularity = 0;  // bytes
  bool in_use = false;
  bool automatic = false;
};

struct Qcow2Info {
  std::string compat;            // "0.10" (version 2) or "1.1" (version 3)
  std::string compression_type;  // "zlib" or "zstd"
  bool lazy_refcounts = false;
  int refcount_bits = 16;
  bool corrupt = false;
  bool extended_l2 = false;
  std::string data_file;  // empty: none
  bool data_file_raw = false;
  std::vector<BitmapInfo> bitmaps;
};

// What `info` shows of one layer.
struct ImageInfo {
  std::string file;
  std::string format;
  uint64_t virtual_size = 0;
  uint64_t disk_size = 0;     // bytes taken on the medium
  uint64_t file_length = 0;   // bytes up to the end of the file
  uint64_t cluster_size = 0;  // 0: the format has none
  bool encrypted = false;
  bool compressed = false;  // some cluster is (known for qcow and qcow2 only after Check)
  bool dirty = false;       // the dirty bit is set: refcounts may be stale
  // The name as the image says it, its format (empty: not said), and the path
  // it stands for, taken from the image's folder.
  std::string backing_file;
  std::string backing_format;
  std::string full_backing_file;
  std::vector<SnapshotInfo> snapshots;
  std::optional<Qcow2Info> qcow2;
};

enum class CheckRepair { kNone, kLeaks, kAll };

// Numbers as `qemu-img check` counts them.
struct CheckResult {
  uint64_t check_errors = 0;  // what could not be checked
  uint64_t corruptions = 0;   // left in the image
  uint64_t leaks = 0;         // left in the image, in clusters
  uint64_t corruptions_fixed = 0;
  uint64_t leaks_fixed = 0;
  uint64_t image_end_offset = 0;
  uint64_t total_clusters = 0;
  uint64_t allocated_clusters = 0;
  uint64_t fragmented_clusters = 0;
  uint64_t compressed_clusters = 0;
  // One line a finding, the first kMaxMessages of them.
  static constexpr size_t kMaxMessages = 1000;
  std::vector<std::string> messages;
};

enum class Preallocation { kOff, kMetadata, kFalloc, kFull };

class Layer {
 public:
  virtual ~Layer() = default;

  virtual const char* format_name() const = 0;
  virtual Storage& storage() = 0;
  virtual uint64_t size() const = 0;          // guest bytes, a multiple of 512
  virtual uint64_t cluster_size() const = 0;  // 0: none
  virtual bool read_only() const = 0;

  // Where unallocated bytes come from; null for zeroes. Set before the first
  // read; the layer below outlives this one. It may be shorter or longer.
  virtual void SetBacking(Layer* below) = 0;

  // As Disk's (disk.h); ranges lie within size().
  virtual absl::Status Read(uint64_t offset, std::span<uint8_t> to) = 0;
  virtual absl::Status Write(uint64_t offset, std::span<const uint8_t> from) = 0;
  virtual absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool unmap) = 0;
  virtual absl::Status Discard(uint64_t offset, uint64_t length) = 0;
  virtual absl::Status Flush() = 0;
  // As Disk's.
  virtual std::optional<Disk::Place> PlaceOf(uint64_t /*offset*/, uint64_t /*length*/,
                                             bool /*write*/) {
    return std::nullopt;
  }
  // Flushes, and gives back what was kept for later writes. Nothing may be
  // written after it.
  virtual absl::Status Close() { return Flush(); }

  // The run at `offset` < size(), no longer than `max_length`.
  virtual absl::StatusOr<LayerExtent> ExtentAt(uint64_t offset, uint64_t max_length) = 0;

  // Data may be holes of the file, as preallocation leaves them: worth asking the
  // storage before reading.
  virtual bool data_has_holes() { return false; }

  // `cluster` is cluster_size() bytes. The packed form, or nothing where that
  // would not be smaller than the cluster. Unimplemented in formats without.
  virtual absl::StatusOr<std::optional<std::vector<uint8_t>>> Compress(
      std::span<const uint8_t> cluster) = 0;
  // Stores what Compress() made of the cluster at `offset`, a multiple of
  // cluster_size(). The order of calls is the order in the file.
  virtual absl::Status WriteCompressed(uint64_t offset, std::span<const uint8_t> packed) = 0;

  // Grows or shrinks. Shrinking drops the bytes behind; internal snapshots
  // forbid it.
  virtual absl::Status Resize(uint64_t size, Preallocation preallocation) = 0;
  // Unimplemented in formats that have nothing to check (raw).
  virtual absl::StatusOr<CheckResult> Check(CheckRepair repair) = 0;
  // Fills in all but full_backing_file.
  virtual absl::Status Describe(ImageInfo* info) = 0;

  // The backing file's name and format as the image says them; empty: none.
  virtual std::string backing_file() const = 0;
  virtual std::string backing_format() const = 0;
};

}  // namespace atl::block

#endif  // LIB_BLOCK_LAYER_H_
