// SPDX-License-Identifier: Apache-2.0
// qcow, the first version: two levels of tables and no refcounts, so space is
// only ever taken at the end of the file and none is used again. Format: the
// structures at the head of QEMU's block/qcow.c, of which there is no document.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/mutex.h"
#include "lib/base/status_macros.h"
#include "lib/block/cluster_layer.h"
#include "lib/block/format.h"
#include "lib/block/formats.h"
#include "lib/block/metadata_map.h"

namespace atl::block {
namespace {

constexpr uint32_t kMagic = 0x514649fb;
constexpr uint64_t kMaxL1Bytes = 32 << 20;
constexpr uint32_t kMaxBackingName = 1023;
constexpr uint64_t kCompressed = uint64_t{1} << 63;
constexpr uint64_t kGrowBytes = 8 << 20;

struct RawHeader {
  be32 magic;
  be32 version;
  be64 backing_file_offset;
  be32 backing_file_size;
  be32 mtime;
  be64 size;
  uint8_t cluster_bits;
  uint8_t l2_bits;
  be16 padding;
  be32 crypt_method;
  be64 l1_table_offset;
};
static_assert(sizeof(RawHeader) == 48 && offsetof(RawHeader, l1_table_offset) == 40);

struct Header {
  uint32_t cluster_bits = 12;
  uint32_t l2_bits = 9;
  uint64_t size = 0;
  uint64_t l1_offset = 0;
  uint64_t l1_entries = 0;
  uint32_t crypt_method = 0;
  std::string backing_file;
};

absl::StatusOr<Header> ReadHeader(Storage& storage) {
  auto bad = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat(storage.name(), ": qcow: ", what));
  };
  std::vector<uint8_t> bytes(sizeof(RawHeader));
  absl::Status status = storage.Read(0, bytes);
  if (absl::IsOutOfRange(status)) return bad("the file is too short for a header");
  RETURN_IF_ERROR(status);
  RawHeader raw;
  std::memcpy(&raw, bytes.data(), sizeof raw);
  if (raw.magic != kMagic) return bad("not a qcow image");
  if (raw.version != 1)
    return bad(absl::StrCat("version ", uint32_t{raw.version}, " is not qcow's"));
  Header h;
  h.size = raw.size;
  h.cluster_bits = raw.cluster_bits;
  h.l2_bits = raw.l2_bits;
  h.l1_offset = raw.l1_table_offset;
  h.crypt_method = raw.crypt_method;
  if (h.size <= 1) return bad("Image size is too small (must be at least 2 bytes)");
  if (h.cluster_bits < 9 || h.cluster_bits > 16)
    return bad("Cluster size must be between 512 and 64k");
  if (h.l2_bits < 6 || h.l2_bits > 13) return bad("L2 table size must be between 512 and 64k");
  if (h.crypt_method > 1) return bad("invalid encryption method in qcow header");
  const unsigned shift = h.cluster_bits + h.l2_bits;
  if (h.size > INT64_MAX - (uint64_t{1} << shift)) return bad("Image too large");
  h.l1_entries = DivRoundUp(h.size, uint64_t{1} << shift);
  if (h.l1_entries * 8 > kMaxL1Bytes) {
    return bad(absl::StrCat("Image too large: L1 table of ", h.l1_entries, " entries"));
  }
  if (raw.backing_file_offset != 0) {
    const uint32_t n = raw.backing_file_size;
    if (n > kMaxBackingName) return bad("Backing file name too long");
    std::string name(n, '\0');
    status = storage.Read(raw.backing_file_offset,
                          std::span(reinterpret_cast<uint8_t*>(name.data()), n));
    if (absl::IsOutOfRange(status)) return bad("backing file name lies past the end of the file");
    RETURN_IF_ERROR(status);
    name.resize(strnlen(name.data(), n));
    h.backing_file = name;
  }
  return h;
}

class QcowLayer final : public ClusterLayer {
 public:
  static absl::StatusOr<std::unique_ptr<Layer>> Open(std::unique_ptr<Storage> storage,
                                                     const LayerOptions& options) {
    ASSIGN_OR_RETURN(Header header, ReadHeader(*storage));
    if (header.crypt_method != 0 && !options.describe_only) {
      return absl::UnimplementedError(absl::StrCat(
          storage->name(), ": qcow: the image is encrypted (AES), which is not supported"));
    }
    std::unique_ptr<QcowLayer> layer(new QcowLayer(std::move(storage), header, options));
    if (options.describe_only) return layer;
    RETURN_IF_ERROR(layer->LoadL1());
    RETURN_IF_ERROR(layer->LoadEnd());
    return layer;
  }

  const char* format_name() const override { return "qcow"; }
  std::string backing_file() const override { return header_.backing_file; }
  std::string backing_format() const override { return ""; }

  absl::Status Resize(uint64_t, Preallocation) override {
    return absl::UnimplementedError(
        absl::StrCat(where(), ": Image format driver does not support resize"));
  }
  absl::StatusOr<CheckResult> Check(CheckRepair) override {
    return absl::UnimplementedError(
        absl::StrCat(where(), ": This image format does not support checks"));
  }
  absl::Status Describe(ImageInfo* info) override {
    info->file = where();
    info->format = format_name();
    info->virtual_size = size();
    info->cluster_size = cluster_size_;
    info->encrypted = header_.crypt_method != 0;
    info->backing_file = header_.backing_file;
    ASSIGN_OR_RETURN(info->disk_size, storage_->AllocatedBytes());
    ASSIGN_OR_RETURN(info->file_length, storage_->Size());
    return absl::OkStatus();
  }
  absl::Status Close() override {
    if (!writable_) return absl::OkStatus();
    RETURN_IF_ERROR(Commit(!no_flush_));
    MutexLock lock(&mu_);
    if (end_ >= file_size_ || !storage_->grows_zeroed()) return absl::OkStatus();
    return storage_->Truncate(end_);
  }

 protected:
  absl::StatusOr<TableRef> DecodeL1(uint64_t entry) const override {
    if (entry > INT64_MAX) {
      return absl::DataLossError(absl::StrFormat("L2 table offset 0x%x is out of range", entry));
    }
    return TableRef{.offset = entry, .in_place = entry != 0};
  }
  absl::StatusOr<Mapping> DecodeL2(uint64_t entry) const override {
    if (entry == 0) return Mapping{};
    const unsigned shift = 63 - cluster_bits_;
    if ((entry & kCompressed) != 0) {
      const uint64_t bytes = entry >> shift & (cluster_size_ - 1);
      return Mapping{.kind = LayerExtent::Kind::kCompressed,
                     .host = entry & ((uint64_t{1} << shift) - 1),
                     .packed_bytes = bytes};
    }
    if (entry % cluster_size_ != 0) {
      return absl::DataLossError(absl::StrFormat("cluster offset 0x%x is not aligned", entry));
    }
    return Mapping{.kind = LayerExtent::Kind::kData, .host = entry, .in_place = true};
  }
  uint64_t EncodeL1(uint64_t table) const override { return table; }
  uint64_t EncodeL2(const Mapping& m) const override {
    switch (m.kind) {
      case LayerExtent::Kind::kData:
        return m.host;
      case LayerExtent::Kind::kCompressed:
        return kCompressed | m.packed_bytes << (63 - cluster_bits_) | m.host;
      default:
        return 0;
    }
  }
  bool has_zero_clusters() const override { return false; }

  absl::StatusOr<HostRun> AllocateClusters(uint64_t max) override {
    ASSIGN_OR_RETURN(uint64_t at, Take(max * cluster_size_, cluster_size_));
    return HostRun{.offset = at, .clusters = max, .zeroed = storage_->grows_zeroed()};
  }
  absl::StatusOr<HostRun> AllocateTable() override {
    ASSIGN_OR_RETURN(uint64_t at, Take(table_bytes_, cluster_size_));
    RETURN_IF_ERROR(AddTable(at));
    return HostRun{.offset = at, .zeroed = storage_->grows_zeroed()};
  }
  absl::StatusOr<uint64_t> AllocatePacked(uint64_t bytes) override {
    ASSIGN_OR_RETURN(uint64_t at, Take(bytes, 1));
    if (at + bytes < uint64_t{1} << (63 - cluster_bits_)) return at;
    return absl::ResourceExhaustedError(
        absl::StrCat(where(), ": the file is too large for compressed clusters"));
  }
  absl::Status CheckDataWrite(uint64_t offset, uint64_t length) override {
    const char* what = metadata_.Find(offset, length);
    if (what == nullptr) return absl::OkStatus();
    absl::Status status = absl::DataLossError(
        absl::StrFormat("%s: qcow: preventing invalid write on metadata (overlaps with %s) at 0x%x",
                        where(), what, offset));
    Stop(status);
    return status;
  }
  absl::Status WriteReferences(bool) override { return absl::OkStatus(); }
  absl::Status Reclaim(const std::vector<Dropped>& dropped) override {
    for (const Dropped& d : dropped) {
      // Space that stays taken is no error. Packed data may share its pages.
      if (d.length >= cluster_size_) storage_->PunchHole(d.offset, d.length).IgnoreError();
    }
    return absl::OkStatus();
  }
  absl::Status PrepareFirstWrite() override {
    RETURN_IF_ERROR(Annotate(metadata_.Add("header", 0, 1), where() + ": qcow"));
    // The L1 table begins behind the header, in the first cluster.
    uint64_t l1_end = l1_offset() + l1_entries() * 8;
    uint64_t l1_begin = std::max(l1_offset(), cluster_size_);
    if (l1_end > l1_begin) {
      RETURN_IF_ERROR(
          Annotate(metadata_.Add("L1 table", l1_begin, l1_end - l1_begin), where() + ": qcow"));
    }
    for (uint64_t i = 0; i < l1_entries(); ++i) {
      if (L1Entry(i) != 0) RETURN_IF_ERROR(AddTable(L1Entry(i)));
    }
    return absl::OkStatus();
  }

 private:
  QcowLayer(std::unique_ptr<Storage> storage, const Header& h, const LayerOptions& options)
      : ClusterLayer(std::move(storage),
                     {.cluster_bits = h.cluster_bits,
                      .l2_bits = h.l2_bits,
                      .l1_entries = h.l1_entries,
                      .l1_offset = h.l1_offset,
                      .size = RoundUp(h.size, 512)},
                     options.writable, options.no_flush, Compression::kDeflate),
        header_(h),
        metadata_(h.cluster_bits) {}

  absl::Status LoadEnd() {
    MutexLock lock(&mu_);
    ASSIGN_OR_RETURN(end_, storage_->Size());
    file_size_ = end_;
    return absl::OkStatus();
  }
  absl::Status AddTable(uint64_t offset) {
    return Annotate(metadata_.Add("L2 table", offset, table_bytes_), where() + ": qcow");
  }
  absl::StatusOr<uint64_t> Take(uint64_t bytes, uint64_t align) {
    MutexLock lock(&mu_);
    const uint64_t at = RoundUp(end_, align), end = at + bytes;
    if (end > file_size_) {
      const uint64_t size = storage_->grows_zeroed() ? RoundUp(end, kGrowBytes) : end;
      RETURN_IF_ERROR(storage_->Truncate(size));
      file_size_ = size;
    }
    end_ = end;
    return at;
  }

  const Header header_;
  MetadataMap metadata_;
  Mutex mu_;
  uint64_t end_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t file_size_ ABSL_GUARDED_BY(mu_) = 0;
};

int Probe(std::span<const uint8_t> header) {
  if (header.size() < 8 || LoadBe<uint32_t>(header.data()) != kMagic) return 0;
  return LoadBe<uint32_t>(header.data() + 4) == 1 ? 100 : 0;
}

absl::Status Create(Storage& storage, uint64_t size, const FormatOptions& options) {
  size = RoundUp(size, 512);
  if (BoolOption(options, "encryption")) {
    return absl::UnimplementedError("qcow: encryption is not supported for new images");
  }
  if (size == 0) {
    return absl::InvalidArgumentError("Image size is too small, cannot be zero length");
  }
  std::string backing(OptionValue(options, "backing_file"));
  if (backing.size() > kMaxBackingName) {
    return absl::InvalidArgumentError("Backing file name too long");
  }
  RawHeader raw{};
  raw.magic = kMagic;
  raw.version = 1;
  raw.size = size;
  // As QEMU: over a backing file small clusters, so that little is copied.
  raw.cluster_bits = backing.empty() ? 12 : 9;
  raw.l2_bits = backing.empty() ? 9 : 12;
  const uint64_t reach = uint64_t{1} << (raw.cluster_bits + raw.l2_bits);
  if (size > kMaxL1Bytes / 8 * reach) {
    return absl::InvalidArgumentError(absl::StrCat("Image size too large for file format; ",
                                                   kMaxL1Bytes / 8 * reach, " bytes are the most"));
  }
  const uint64_t l1_offset = RoundUp(sizeof raw + backing.size(), 8);
  if (!backing.empty()) {
    raw.backing_file_offset = sizeof raw;
    raw.backing_file_size = static_cast<uint32_t>(backing.size());
  }
  raw.l1_table_offset = l1_offset;
  std::vector<uint8_t> bytes(RoundUp(l1_offset + DivRoundUp(size, reach) * 8, 512));
  std::memcpy(bytes.data(), &raw, sizeof raw);
  std::memcpy(bytes.data() + sizeof raw, backing.data(), backing.size());
  return storage.Write(0, bytes);
}

constexpr FormatOption kOptions[] = {
    {"backing_file", FormatOption::Type::kString, nullptr, "File name of a base image"},
    {"backing_fmt", FormatOption::Type::kString, nullptr, "Format of the backing image"},
    {"encryption", FormatOption::Type::kBool, "off", "Encrypt the image (only off)"},
};

}  // namespace

extern const Format kQcow = {
    .name = "qcow",
    .probe = Probe,
    .open = QcowLayer::Open,
    .create = Create,
    .options = kOptions,
    .supports_backing = true,
    .supports_compression = true,
};

}  // namespace atl::block
