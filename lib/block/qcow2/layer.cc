// SPDX-License-Identifier: Apache-2.0
#include "lib/block/qcow2/layer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"

namespace atl::block::qcow2 {
namespace {

constexpr uint64_t kOffsetMask = 0x00fffffffffffe00;
constexpr uint64_t kCopied = uint64_t{1} << 63;
constexpr uint64_t kCompressed = uint64_t{1} << 62;
constexpr uint64_t kZero = 1;

}  // namespace

ClusterLayer::Geometry Qcow2Layer::GeometryOf(const Header& h) {
  return {.cluster_bits = h.cluster_bits,
          .l2_bits = h.cluster_bits - 3,
          .l1_entries = h.l1_size,
          .l1_offset = h.l1_table_offset,
          .size = RoundUp(h.size, 512)};
}

Qcow2Layer::Qcow2Layer(std::unique_ptr<Storage> storage, const Header& header,
                       const LayerOptions& options)
    : ClusterLayer(std::move(storage), GeometryOf(header), options.writable, options.no_flush,
                   header.compression),
      header_(header),
      metadata_(header.cluster_bits) {}

std::unique_ptr<Refcounts> Qcow2Layer::NewRefcounts() {
  Refcounts::Io io{
      .storage = storage_.get(),
      .write = [this](uint64_t at, std::span<const uint8_t> b) { return WriteStorage(at, b); },
      .sync = [this] { return SyncStorage(); },
      .no_flush = no_flush_};
  return std::make_unique<Refcounts>(header_, std::move(io), &metadata_);
}

absl::StatusOr<std::unique_ptr<Layer>> Qcow2Layer::Open(std::unique_ptr<Storage> storage,
                                                        const LayerOptions& options) {
  ASSIGN_OR_RETURN(Header header, ReadHeader(*storage));
  if (!options.describe_only) RETURN_IF_ERROR(CheckReadable(header, storage->name()));
  std::unique_ptr<Qcow2Layer> layer(new Qcow2Layer(std::move(storage), header, options));
  RETURN_IF_ERROR(layer->Load(options));
  return layer;
}

absl::Status Qcow2Layer::Load(const LayerOptions& options) {
  if (options.describe_only || options.for_check) return absl::OkStatus();
  RETURN_IF_ERROR(LoadL1());
  if (!options.writable) return absl::OkStatus();
  if ((header_.incompatible & kCorrupt) != 0) {
    return absl::DataLossError(absl::StrCat(
        where(), ": qcow2: Image is corrupt; cannot be opened read/write (see img check -r all)"));
  }
  if ((header_.incompatible & kDirty) != 0) {
    // Its writer put off the refcounts and did not come back to it.
    absl::StatusOr<CheckResult> result = CheckFile(*storage_, CheckRepair::kAll);
    if (result.ok() && (result->corruptions != 0 || result->check_errors != 0)) {
      result = absl::DataLossError(absl::StrCat(result->corruptions, " errors are left"));
    }
    RETURN_IF_ERROR(
        Annotate(result.status(), absl::StrCat(where(), ": qcow2: Could not repair dirty image")));
    ASSIGN_OR_RETURN(Header repaired, ReadHeader(*storage_));
    header_ = repaired;
    RETURN_IF_ERROR(LoadL1());
  }
  refcounts_ = NewRefcounts();
  return refcounts_->Load();
}

absl::StatusOr<ClusterLayer::TableRef> Qcow2Layer::DecodeL1(uint64_t entry) const {
  uint64_t offset = entry & kOffsetMask;
  if (offset % cluster_size_ != 0) {
    return absl::DataLossError(absl::StrFormat("L2 table offset 0x%x is not aligned", offset));
  }
  return TableRef{.offset = offset, .in_place = offset != 0 && (entry & kCopied) != 0};
}

absl::StatusOr<ClusterLayer::Mapping> Qcow2Layer::DecodeL2(uint64_t entry) const {
  if ((entry & kCompressed) != 0) {
    const unsigned shift = 62 - (cluster_bits_ - 8);
    const uint64_t host = entry & ((uint64_t{1} << shift) - 1);
    const uint64_t sectors = (entry & (kCompressed - 1)) >> shift;
    return Mapping{.kind = LayerExtent::Kind::kCompressed,
                   .host = host,
                   .packed_bytes = (sectors + 1) * 512 - host % 512};
  }
  const uint64_t host = entry & kOffsetMask;
  if (host % cluster_size_ != 0) {
    return absl::DataLossError(absl::StrFormat("cluster offset 0x%x is not aligned", host));
  }
  const bool in_place = host != 0 && (entry & kCopied) != 0;
  if ((entry & kZero) != 0) {
    if (header_.version < 3) {
      return absl::DataLossError("zero cluster in a version 2 image");
    }
    if (host == 0) return Mapping{.kind = LayerExtent::Kind::kZero};
    return Mapping{.kind = LayerExtent::Kind::kZeroAllocated, .host = host, .in_place = in_place};
  }
  if (host == 0) return Mapping{};
  return Mapping{.kind = LayerExtent::Kind::kData, .host = host, .in_place = in_place};
}

uint64_t Qcow2Layer::EncodeL1(uint64_t table) const { return table | kCopied; }

uint64_t Qcow2Layer::EncodeL2(const Mapping& m) const {
  switch (m.kind) {
    case LayerExtent::Kind::kUnallocated:
      return 0;
    case LayerExtent::Kind::kZero:
      return kZero;
    case LayerExtent::Kind::kZeroAllocated:
      return m.host | kCopied | kZero;
    case LayerExtent::Kind::kData:
      return m.host | kCopied;
    case LayerExtent::Kind::kCompressed: {
      const unsigned shift = 62 - (cluster_bits_ - 8);
      const uint64_t sectors = (m.host + m.packed_bytes - 1) / 512 - m.host / 512;
      return m.host | sectors << shift | kCompressed;
    }
  }
  return 0;
}

absl::StatusOr<ClusterLayer::HostRun> Qcow2Layer::AllocateClusters(uint64_t max) {
  absl::StatusOr<Refcounts::Run> run = refcounts_->Allocate(max, /*exactly=*/false);
  if (absl::IsDataLoss(run.status())) return FoundCorrupt(run.status());
  RETURN_IF_ERROR(run.status());
  return HostRun{.offset = run->offset, .clusters = run->clusters, .zeroed = run->zeroed};
}

absl::StatusOr<ClusterLayer::HostRun> Qcow2Layer::AllocateTable() {
  ASSIGN_OR_RETURN(HostRun run, AllocateClusters(1));
  absl::Status status = metadata_.Add("active L2 table", run.offset, cluster_size_);
  if (!status.ok()) return FoundCorrupt(Annotate(status, where() + ": qcow2"));
  return run;
}

absl::StatusOr<uint64_t> Qcow2Layer::AllocatePacked(uint64_t bytes) {
  absl::StatusOr<uint64_t> at = refcounts_->AllocatePacked(bytes);
  if (absl::IsDataLoss(at.status())) return FoundCorrupt(at.status());
  // Offsets of compressed clusters have fewer bits than others'.
  if (at.ok() && *at + bytes >= uint64_t{1} << (62 - (cluster_bits_ - 8))) {
    return absl::ResourceExhaustedError(
        absl::StrCat(where(), ": the file is too large for compressed clusters"));
  }
  return at;
}

absl::Status Qcow2Layer::CheckDataWrite(uint64_t offset, uint64_t length) {
  const char* what = metadata_.Find(offset, length);
  if (what == nullptr) return absl::OkStatus();
  return FoundCorrupt(absl::DataLossError(
      absl::StrFormat("%s: qcow2: preventing invalid write on metadata (overlaps with %s) at 0x%x",
                      where(), what, offset)));
}

absl::Status Qcow2Layer::FoundCorrupt(const absl::Status& what) {
  MutexLock lock(&corrupt_mu_);
  Stop(what);
  if (marked_corrupt_ || header_.version < 3) return what;
  marked_corrupt_ = true;
  uint8_t field[8];
  StoreBe<uint64_t>(field, header_.incompatible | kCorrupt);
  // The image is refused now in any case; the mark is for the next opening.
  WriteStorage(offsetof(RawHeader, incompatible_features), field).IgnoreError();
  storage_->Flush().IgnoreError();
  return what;
}

absl::Status Qcow2Layer::WriteReferences(bool sync) {
  return refcounts_ == nullptr ? absl::OkStatus() : refcounts_->Write(sync);
}

absl::Status Qcow2Layer::Reclaim(const std::vector<Dropped>& dropped) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  ranges.reserve(dropped.size());
  for (const Dropped& d : dropped) {
    // A shared table stays a table; this image's own goes.
    if (d.table) metadata_.Remove(d.offset, d.length);
    ranges.emplace_back(d.offset, d.length);
  }
  absl::Status status = refcounts_->Lower(ranges);
  if (absl::IsDataLoss(status)) return FoundCorrupt(status);
  return status;
}

absl::Status Qcow2Layer::WriteHeaderField(uint64_t offset, std::span<const uint8_t> bytes,
                                          bool sync) {
  RETURN_IF_ERROR(WriteStorage(offset, bytes));
  if (sync && !no_flush_) return SyncStorage();
  return absl::OkStatus();
}

absl::Status Qcow2Layer::SetFeatures(uint64_t incompatible, uint64_t autoclear) {
  header_.incompatible = incompatible;
  header_.autoclear = autoclear;
  uint8_t field[8];
  StoreBe<uint64_t>(field, incompatible);
  RETURN_IF_ERROR(WriteHeaderField(offsetof(RawHeader, incompatible_features), field, false));
  StoreBe<uint64_t>(field, autoclear);
  return WriteHeaderField(offsetof(RawHeader, autoclear_features), field, true);
}

absl::Status Qcow2Layer::PrepareFirstWrite() {
  absl::Status status = AddMetadata();
  if (absl::IsDataLoss(status)) return FoundCorrupt(status);
  RETURN_IF_ERROR(status);
  // Bitmaps, and what else we do not keep up, are void from the first change on.
  if (header_.version >= 3 && header_.autoclear != 0) {
    RETURN_IF_ERROR(SetFeatures(header_.incompatible, 0));
  }
  return absl::OkStatus();
}

absl::Status Qcow2Layer::AddMetadata() {
  auto add = [this](const char* what, uint64_t offset, uint64_t length) {
    return Annotate(metadata_.Add(what, offset, length), where() + ": qcow2");
  };
  RETURN_IF_ERROR(add("qcow2 header", 0, cluster_size_));
  RETURN_IF_ERROR(add("active L1 table", l1_offset(), l1_entries() * 8));
  RETURN_IF_ERROR(refcounts_->AddMetadata());
  for (uint64_t i = 0; i < l1_entries(); ++i) {
    uint64_t table = L1Entry(i) & kOffsetMask;
    if (table != 0) RETURN_IF_ERROR(add("active L2 table", table, cluster_size_));
  }
  ASSIGN_OR_RETURN(SnapshotTable table, ReadSnapshots(*storage_, header_));
  RETURN_IF_ERROR(add("snapshot table", header_.snapshots_offset, table.bytes));
  for (const Snapshot& s : table.snapshots) {
    RETURN_IF_ERROR(add("inactive L1 table", s.l1_offset, uint64_t{s.l1_size} * 8));
  }
  if (header_.bitmaps.has_value() && (header_.autoclear & kBitmaps) != 0) {
    RETURN_IF_ERROR(ReadBitmaps(*storage_, header_).status());
    RETURN_IF_ERROR(add("bitmap directory", header_.bitmaps->directory_offset,
                        header_.bitmaps->directory_size));
  }
  return absl::OkStatus();
}

absl::Status Qcow2Layer::Describe(ImageInfo* info) {
  info->file = where();
  info->format = format_name();
  info->virtual_size = size();
  info->cluster_size = cluster_size_;
  info->encrypted = header_.crypt_method != 0;
  info->dirty = (header_.incompatible & kDirty) != 0;
  info->backing_file = header_.backing_file;
  info->backing_format = header_.backing_format;
  ASSIGN_OR_RETURN(info->disk_size, storage_->AllocatedBytes());
  ASSIGN_OR_RETURN(info->file_length, storage_->Size());
  Qcow2Info q;
  q.compat = header_.version == 2 ? "0.10" : "1.1";
  q.compression_type = header_.compression == Compression::kZstd ? "zstd" : "zlib";
  q.lazy_refcounts = (header_.compatible & kLazyRefcounts) != 0;
  q.refcount_bits = 1 << header_.refcount_order;
  q.corrupt = (header_.incompatible & kCorrupt) != 0;
  q.extended_l2 = (header_.incompatible & kExtendedL2) != 0;
  if ((header_.incompatible & kDataFile) != 0) q.data_file = header_.data_file;
  q.data_file_raw = (header_.autoclear & kDataFileRaw) != 0;
  ASSIGN_OR_RETURN(std::vector<Bitmap> bitmaps, ReadBitmaps(*storage_, header_));
  for (Bitmap& b : bitmaps) q.bitmaps.push_back(std::move(b.info));
  info->qcow2 = std::move(q);
  ASSIGN_OR_RETURN(SnapshotTable table, ReadSnapshots(*storage_, header_));
  for (Snapshot& s : table.snapshots) info->snapshots.push_back(std::move(s.info));
  return absl::OkStatus();
}

absl::Status Qcow2Layer::Close() {
  if (!writable_ || refcounts_ == nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(Commit(!no_flush_));
  // What that freed is lowered in memory; write it too.
  RETURN_IF_ERROR(refcounts_->Write(false));
  return refcounts_->TrimFile();
}

bool Qcow2Layer::data_has_holes() {
  MutexLock lock(&holes_mu_);
  // Not to know costs time when reading, nothing else.
  if (!has_holes_.has_value()) has_holes_ = LooksPreallocated().value_or(false);
  return *has_holes_;
}

// As qemu decides it, so that both map the same: more clusters are in use than
// the file has space for.
absl::StatusOr<bool> Qcow2Layer::LooksPreallocated() {
  ASSIGN_OR_RETURN(uint64_t length, storage_->Size());
  ASSIGN_OR_RETURN(uint64_t allocated, storage_->AllocatedBytes());
  const uint64_t real = allocated / cluster_size_;
  const uint64_t threshold = std::max(real * 10 / 9, real + 2);
  const uint64_t clusters = DivRoundUp(length, cluster_size_);
  if (clusters < threshold) return false;
  if (refcounts_ != nullptr) {
    ASSIGN_OR_RETURN(uint64_t used, refcounts_->CountUsed(clusters, threshold));
    return used >= threshold;
  }
  std::unique_ptr<Refcounts> refcounts = NewRefcounts();
  RETURN_IF_ERROR(refcounts->Load());
  ASSIGN_OR_RETURN(uint64_t used, refcounts->CountUsed(clusters, threshold));
  return used >= threshold;
}

absl::Status Qcow2Layer::GrowL1(uint64_t entries) {
  if (entries * 8 > kMaxL1Bytes) {
    return absl::OutOfRangeError(absl::StrCat(
        where(), ": qcow2: the disk is too large for clusters of ", cluster_size_, " bytes"));
  }
  RETURN_IF_ERROR(Commit(!no_flush_));
  const uint64_t old_offset = l1_offset(), old_bytes = l1_entries() * 8;
  ASSIGN_OR_RETURN(Refcounts::Run run,
                   refcounts_->Allocate(DivRoundUp(entries * 8, cluster_size_), true));
  std::vector<uint8_t> bytes(run.clusters * cluster_size_);
  for (uint64_t i = 0; i < l1_entries(); ++i) StoreBe(bytes.data() + 8 * i, L1Entry(i));
  RETURN_IF_ERROR(WriteStorage(run.offset, bytes));
  RETURN_IF_ERROR(refcounts_->Write(!no_flush_));
  if (!no_flush_) RETURN_IF_ERROR(SyncStorage());
  uint8_t field[12];
  StoreBe<uint32_t>(field, static_cast<uint32_t>(entries));
  StoreBe<uint64_t>(field + 4, run.offset);
  RETURN_IF_ERROR(WriteHeaderField(offsetof(RawHeader, l1_size), field, true));
  ReplaceL1(run.offset, entries);
  header_.l1_size = static_cast<uint32_t>(entries);
  header_.l1_table_offset = run.offset;
  metadata_.Remove(old_offset, old_bytes);
  RETURN_IF_ERROR(metadata_.Add("active L1 table", run.offset, entries * 8));
  // An image of no size may have an L1 table of no entries, nowhere.
  if (old_bytes == 0) return absl::OkStatus();
  return refcounts_->Lower({{old_offset, old_bytes}});
}

absl::Status Qcow2Layer::Resize(uint64_t new_size, Preallocation preallocation) {
  RETURN_IF_ERROR(AboutToWrite());
  if (new_size % 512 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(where(), ": The new size must be a multiple of 512"));
  }
  const uint64_t old_size = size();
  if (new_size == old_size) return absl::OkStatus();
  if (new_size < old_size) {
    if (preallocation != Preallocation::kOff) {
      return absl::InvalidArgumentError(
          absl::StrCat(where(), ": Preallocation can't be used for shrinking an image"));
    }
    if (header_.nb_snapshots > 0) {
      return absl::UnimplementedError(
          absl::StrCat(where(), ": qcow2: Can't resize an image which has snapshots"));
    }
    // What is left of the last cluster must not come back when the disk grows.
    uint64_t tail = std::min(RoundUp(new_size, cluster_size_), old_size);
    RETURN_IF_ERROR(WriteZeroes(new_size, tail - new_size, false));
    RETURN_IF_ERROR(DropFrom(RoundUp(new_size, cluster_size_)));
    RETURN_IF_ERROR(Commit(!no_flush_));
  } else {
    Header grown = header_;
    grown.size = new_size;
    if (new_size > INT64_MAX - cluster_size_) {
      return absl::OutOfRangeError(absl::StrCat(where(), ": qcow2: the disk is too large"));
    }
    if (grown.l1_needed() > l1_entries()) RETURN_IF_ERROR(GrowL1(grown.l1_needed()));
  }
  uint8_t field[8];
  StoreBe<uint64_t>(field, new_size);
  RETURN_IF_ERROR(WriteHeaderField(offsetof(RawHeader, size), field, true));
  header_.size = new_size;
  SetSize(new_size);
  if (new_size < old_size) return absl::OkStatus();
  // A longer backing file must not shine through where the disk had ended.
  if (below() != nullptr && below()->size() > old_size) {
    uint64_t end = std::min(below()->size(), new_size);
    RETURN_IF_ERROR(WriteZeroes(old_size, end - old_size, true));
  }
  RETURN_IF_ERROR(Preallocate(old_size, preallocation));
  return Commit(!no_flush_);
}

absl::Status Qcow2Layer::Preallocate(uint64_t from, Preallocation how) {
  if (how == Preallocation::kOff) return absl::OkStatus();
  RETURN_IF_ERROR(AboutToWrite());
  const uint64_t before = refcounts_->end();
  for (uint64_t at = RoundDown(from, cluster_size_); at < size();) {
    ASSIGN_OR_RETURN(uint64_t n, AllocateMetadata(at, size() - at));
    at += n;
  }
  const uint64_t after = refcounts_->end();
  if (how == Preallocation::kMetadata || after <= before) return absl::OkStatus();
  if (how == Preallocation::kFalloc) return storage_->Allocate(before, after - before);
  RETURN_IF_ERROR(Commit(!no_flush_));
  std::vector<uint8_t> zeroes(1 << 20);
  for (uint64_t at = from; at < size(); at += zeroes.size()) {
    RETURN_IF_ERROR(
        Write(at, std::span(zeroes).first(std::min<uint64_t>(zeroes.size(), size() - at))));
  }
  return absl::OkStatus();
}

absl::StatusOr<CheckResult> Qcow2Layer::Check(CheckRepair repair) {
  if (repair != CheckRepair::kNone && !writable_) {
    return absl::PermissionDeniedError(absl::StrCat(where(), ": opened read-only"));
  }
  if (refcounts_ != nullptr) RETURN_IF_ERROR(Commit(!no_flush_));
  if (refcounts_ != nullptr && repair != CheckRepair::kNone) {
    return absl::FailedPreconditionError(
        absl::StrCat(where(), ": an image is repaired when opened for a check only"));
  }
  return CheckFile(*storage_, repair);
}

}  // namespace atl::block::qcow2
