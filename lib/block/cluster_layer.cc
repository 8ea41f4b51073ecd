// SPDX-License-Identifier: Apache-2.0
// Lookups and reads; cluster_write.cc and cluster_commit.cc have the rest.
#include "lib/block/cluster_layer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"

namespace atl::block {
namespace {

constexpr uint32_t kSliceBytes = 4096;
constexpr uint64_t kCacheBytes = 32 << 20;
// Packed clusters that lie side by side are read at once, up to so much.
constexpr uint64_t kPackedReadBytes = 1 << 20;
constexpr size_t kUnpackedKept = 8;

}  // namespace

ClusterLayer::ClusterLayer(std::unique_ptr<Storage> storage, const Geometry& geometry,
                           bool writable, bool no_flush, Compression compression)
    : storage_(std::move(storage)),
      cluster_bits_(geometry.cluster_bits),
      cluster_size_(uint64_t{1} << geometry.cluster_bits),
      l2_bits_(geometry.l2_bits),
      table_bytes_(uint64_t{8} << geometry.l2_bits),
      no_flush_(no_flush),
      writable_(writable),
      where_(storage_->name()),
      compression_(compression),
      slice_entries_(static_cast<uint32_t>(std::min<uint64_t>(table_bytes_, kSliceBytes) / 8)),
      size_(geometry.size),
      cache_(storage_.get(), slice_entries_ * 8, kCacheBytes),
      l1_offset_(geometry.l1_offset),
      l1_entries_(geometry.l1_entries) {}

absl::Status ClusterLayer::LoadL1() {
  absl::StatusOr<std::vector<uint8_t>> bytes = ReadVector(*storage_, l1_offset_, l1_entries_ * 8);
  if (absl::IsOutOfRange(bytes.status())) {
    return absl::DataLossError(
        absl::StrFormat("%s: %s: L1 table at 0x%x lies past the end of the file", where_,
                        format_name(), l1_offset_));
  }
  RETURN_IF_ERROR(bytes.status());
  l1_.reset(new std::atomic<uint64_t>[l1_entries_]);
  for (uint64_t i = 0; i < l1_entries_; ++i) {
    l1_[i].store(LoadBe<uint64_t>(bytes->data() + 8 * i), std::memory_order_relaxed);
  }
  return absl::OkStatus();
}

void ClusterLayer::ReplaceL1(uint64_t offset, uint64_t entries) {
  auto l1 = std::make_unique<std::atomic<uint64_t>[]>(entries);
  for (uint64_t i = 0; i < entries; ++i) l1[i].store(i < l1_entries_ ? l1_[i].load() : 0);
  l1_ = std::move(l1);
  l1_entries_ = entries;
  l1_offset_ = offset;
}

absl::Status ClusterLayer::CheckRange(uint64_t offset, uint64_t length) const {
  if (RangeFits(offset, length, size())) return absl::OkStatus();
  return absl::OutOfRangeError(
      absl::StrFormat("%s: %d bytes at 0x%x pass the end of the disk", where_, length, offset));
}

absl::Status ClusterLayer::CheckLoaded() const {
  if (l1_ != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(where_, ": was opened to be described or checked, not for its data"));
}

absl::StatusOr<ClusterLayer::TableRef> ClusterLayer::Table(uint64_t l1_index) const {
  RETURN_IF_ERROR(CheckLoaded());
  absl::StatusOr<TableRef> ref = DecodeL1(l1_[l1_index].load());
  if (ref.ok()) return ref;
  return Annotate(ref.status(),
                  absl::StrFormat("%s: %s: L1 entry %d at 0x%x", where_, format_name(), l1_index,
                                  l1_offset_ + 8 * l1_index));
}

absl::StatusOr<ClusterLayer::Slice> ClusterLayer::GetSlice(uint64_t table, uint32_t l2_index) {
  uint64_t at = table + uint64_t{8} * (l2_index & ~(slice_entries_ - 1));
  absl::StatusOr<Slice> slice = cache_.Get(at);
  if (slice.ok()) return slice;
  if (absl::IsOutOfRange(slice.status())) {
    return absl::DataLossError(absl::StrFormat(
        "%s: %s: L2 table at 0x%x lies past the end of the file", where_, format_name(), table));
  }
  return Annotate(slice.status(),
                  absl::StrFormat("%s: %s: L2 table at 0x%x", where_, format_name(), table));
}

absl::StatusOr<ClusterLayer::Mapping> ClusterLayer::Decode(const TableSlice& slice,
                                                           uint32_t l2_index, uint64_t entry,
                                                           uint64_t guest_offset) const {
  absl::StatusOr<Mapping> mapping = DecodeL2(entry);
  if (mapping.ok()) return mapping;
  return Annotate(
      mapping.status(),
      absl::StrFormat("%s: %s: L2 entry at 0x%x, of the disk's 0x%x", where_, format_name(),
                      slice.offset + 8 * InSlice(l2_index), guest_offset));
}

absl::StatusOr<ClusterLayer::Run> ClusterLayer::LookupIn(const TableSlice& slice, uint64_t offset,
                                                         uint64_t max_length) const {
  uint32_t index = L2Index(offset);
  uint32_t first = InSlice(index);
  uint64_t raw = slice.Load(first);
  Run run;
  ASSIGN_OR_RETURN(run.first, Decode(slice, index, raw, offset));
  uint64_t in_cluster = offset & (cluster_size_ - 1);
  run.length = cluster_size_ - in_cluster;
  if (run.first.kind != Kind::kCompressed) {
    uint64_t step = run.first.has_host() ? cluster_size_ : 0;
    for (uint32_t i = first + 1; i < slice.count && run.length < max_length; ++i) {
      raw += step;
      if (slice.Load(i) != raw) break;
      run.length += cluster_size_;
    }
  }
  run.length = std::min(run.length, max_length);
  return run;
}

absl::StatusOr<ClusterLayer::Run> ClusterLayer::Lookup(uint64_t offset, uint64_t max_length) {
  uint64_t l1_index = L1Index(offset);
  ASSIGN_OR_RETURN(TableRef table, Table(l1_index));
  if (table.offset == 0) {
    uint64_t reach = uint64_t{1} << (cluster_bits_ + l2_bits_);
    uint64_t end = offset - offset % reach + reach;
    while (end - offset < max_length && ++l1_index < l1_entries_ && l1_[l1_index].load() == 0) {
      end += reach;
    }
    return Run{.first = {}, .length = std::min(end - offset, max_length)};
  }
  ASSIGN_OR_RETURN(Slice slice, GetSlice(table.offset, L2Index(offset)));
  return LookupIn(*slice, offset, max_length);
}

// Whoever asks holds a lock: what is not in memory is left to Read() and Write(). So is an
// image's first write, and each that allocates.
std::optional<Disk::Place> ClusterLayer::PlaceOf(uint64_t offset, uint64_t length, bool write) {
  struct Held {
    explicit Held(ClusterLayer* l, bool w) : layer(l), write(w), pass(&l->gate_) {}
    ~Held() {
      if (write) layer->unsynced_.store(true);
    }
    ClusterLayer* const layer;
    const bool write;
    const RequestGate::Pass pass;
  };
  const int fd = storage_->fd();
  if (fd < 0 || length == 0 || !CheckRange(offset, length).ok()) return std::nullopt;
  if (write && (is_stopped_.load() || !prepared_.load(std::memory_order_acquire))) {
    return std::nullopt;
  }
  auto held = std::make_shared<Held>(this, write);
  const absl::StatusOr<TableRef> table = Table(L1Index(offset));
  if (!table.ok() || table->offset == 0) return std::nullopt;
  const uint32_t index = L2Index(offset);
  const std::shared_ptr<TableSlice> slice =
      cache_.Peek(table->offset + uint64_t{8} * (index & ~(slice_entries_ - 1)));
  if (slice == nullptr) return std::nullopt;
  const absl::StatusOr<Run> run = LookupIn(*slice, offset, length);
  if (!run.ok() || run->length < length || run->first.kind != Kind::kData) return std::nullopt;
  const uint64_t host = run->first.host + (offset & (cluster_size_ - 1));
  if (write && (!run->first.in_place || !CheckDataWrite(host, length).ok())) return std::nullopt;
  return Disk::Place{fd, host, std::move(held)};
}

absl::StatusOr<LayerExtent> ClusterLayer::ExtentAt(uint64_t offset, uint64_t max_length) {
  RETURN_IF_ERROR(CheckRange(offset, 1));
  RequestGate::Pass pass(&gate_);
  ASSIGN_OR_RETURN(Run run, Lookup(offset, std::min(max_length, size() - offset)));
  LayerExtent extent{.length = run.length, .kind = run.first.kind};
  if (extent.kind == Kind::kData || extent.kind == Kind::kZeroAllocated) {
    extent.host_offset = run.first.host + (offset & (cluster_size_ - 1));
  }
  return extent;
}

bool ClusterLayer::BelowIsZero(uint64_t offset) const {
  return below_ == nullptr || offset >= below_->size();
}

bool ClusterLayer::ReadsZero(const Mapping& mapping, uint64_t offset) const {
  switch (mapping.kind) {
    case Kind::kUnallocated:
      return BelowIsZero(offset);
    case Kind::kZero:
    case Kind::kZeroAllocated:
      return true;
    case Kind::kData:
    case Kind::kCompressed:
      return false;
  }
  return false;
}

absl::Status ClusterLayer::ReadBelow(uint64_t offset, std::span<uint8_t> to) {
  uint64_t end = below_ == nullptr ? 0 : std::min(below_->size(), size());
  size_t have = offset < end ? std::min<uint64_t>(end - offset, to.size()) : 0;
  if (have > 0) RETURN_IF_ERROR(below_->Read(offset, to.first(have)));
  std::fill(to.begin() + static_cast<ptrdiff_t>(have), to.end(), uint8_t{0});
  return absl::OkStatus();
}

absl::Status ClusterLayer::UnpackTo(const Mapping& mapping, std::span<const uint8_t> packed,
                                    std::span<uint8_t> to) {
  absl::Status status = Unpack(compression_, packed, to);
  if (status.ok()) return status;
  return Annotate(status, absl::StrFormat("%s: %s: compressed cluster at 0x%x", where_,
                                          format_name(), mapping.host));
}

absl::StatusOr<std::shared_ptr<const std::vector<uint8_t>>> ClusterLayer::UnpackCached(
    const Mapping& mapping) {
  uint64_t generation = generation_.load();
  {
    MutexLock lock(&unpacked_mu_);
    for (const Unpacked& u : unpacked_) {
      if (u.host == mapping.host && u.generation == generation) return u.bytes;
    }
  }
  std::vector<uint8_t> packed(mapping.packed_bytes);
  RETURN_IF_ERROR(ReadPadded(*storage_, mapping.host, packed));
  auto bytes = std::make_shared<std::vector<uint8_t>>(cluster_size_);
  RETURN_IF_ERROR(UnpackTo(mapping, packed, *bytes));
  MutexLock lock(&unpacked_mu_);
  unpacked_.push_front({mapping.host, generation, bytes});
  if (unpacked_.size() > kUnpackedKept) unpacked_.pop_back();
  return bytes;
}

absl::Status ClusterLayer::ReadMapped(const Mapping& first, uint64_t begin, uint64_t offset,
                                      std::span<uint8_t> to) {
  if (to.empty()) return absl::OkStatus();  // the head or tail of an aligned write
  switch (first.kind) {
    case Kind::kUnallocated:
      return ReadBelow(offset, to);
    case Kind::kZero:
    case Kind::kZeroAllocated:
      std::fill(to.begin(), to.end(), uint8_t{0});
      return absl::OkStatus();
    case Kind::kData:
      return ReadPadded(*storage_, first.host + (offset - begin), to);
    case Kind::kCompressed: {
      ASSIGN_OR_RETURN(auto bytes, UnpackCached(first));
      std::memcpy(to.data(), bytes->data() + (offset - begin), to.size());
      return absl::OkStatus();
    }
  }
  return absl::InternalError("mapping kind");
}

absl::StatusOr<size_t> ClusterLayer::ReadCompressed(uint64_t offset, std::span<uint8_t> to) {
  ASSIGN_OR_RETURN(TableRef table, Table(L1Index(offset)));
  if (table.offset == 0) return 0;
  uint32_t index = L2Index(offset);
  ASSIGN_OR_RETURN(Slice slice, GetSlice(table.offset, index));
  std::vector<Mapping> run;
  for (size_t room = to.size(); room >= cluster_size_; room -= cluster_size_, ++index) {
    if (!run.empty() && InSlice(index) == 0) break;  // the next slice's
    ASSIGN_OR_RETURN(Mapping m, Decode(*slice, index, slice->Load(InSlice(index)),
                                       offset + run.size() * cluster_size_));
    if (m.kind != Kind::kCompressed) break;
    if (!run.empty() &&
        (m.host < run.back().host || m.host + m.packed_bytes - run[0].host > kPackedReadBytes)) {
      break;
    }
    run.push_back(m);
  }
  if (run.empty()) return 0;
  uint64_t end = 0;
  for (const Mapping& m : run) end = std::max(end, m.host + m.packed_bytes);
  std::vector<uint8_t> packed(end - run[0].host);
  RETURN_IF_ERROR(ReadPadded(*storage_, run[0].host, packed));
  for (size_t i = 0; i < run.size(); ++i) {
    RETURN_IF_ERROR(
        UnpackTo(run[i], std::span(packed).subspan(run[i].host - run[0].host, run[i].packed_bytes),
                 to.subspan(i * cluster_size_, cluster_size_)));
  }
  return run.size() * cluster_size_;
}

absl::Status ClusterLayer::ReadInside(uint64_t offset, std::span<uint8_t> to) {
  while (!to.empty()) {
    ASSIGN_OR_RETURN(Run run, Lookup(offset, to.size()));
    size_t n = run.length;
    uint64_t begin = RoundDown(offset, cluster_size_);
    if (run.first.kind == Kind::kCompressed && begin == offset && to.size() >= cluster_size_) {
      ASSIGN_OR_RETURN(n, ReadCompressed(offset, to));
    } else {
      RETURN_IF_ERROR(ReadMapped(run.first, begin, offset, to.first(n)));
    }
    // 0: a writer changed the entry between the two lookups.
    offset += n;
    to = to.subspan(n);
  }
  return absl::OkStatus();
}

absl::Status ClusterLayer::Read(uint64_t offset, std::span<uint8_t> to) {
  RETURN_IF_ERROR(CheckRange(offset, to.size()));
  RequestGate::Pass pass(&gate_);
  return ReadInside(offset, to);
}

absl::StatusOr<std::optional<std::vector<uint8_t>>> ClusterLayer::Compress(
    std::span<const uint8_t> cluster) {
  if (cluster.size() != cluster_size_) {
    return absl::InvalidArgumentError(absl::StrCat(
        where_, ": ", cluster.size(), " bytes to compress, not a cluster of ", cluster_size_));
  }
  return Pack(compression_, cluster);
}

}  // namespace atl::block
