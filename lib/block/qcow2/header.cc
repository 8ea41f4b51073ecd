// SPDX-License-Identifier: Apache-2.0
#include "lib/block/qcow2/header.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"

namespace atl::block::qcow2 {
namespace {

constexpr uint64_t kKnownIncompatible =
    kDirty | kCorrupt | kDataFile | kCompressionType | kExtendedL2;

struct Feature {
  uint8_t type;
  uint8_t bit;
  const char* name;
};
// As QEMU names them.
constexpr Feature kFeatures[] = {
    {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
    {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},          {2, 1, "raw external data"},
};
constexpr size_t kFeatureBytes = 48;

struct SnapshotEntry {
  be64 l1_table_offset;
  be32 l1_size;
  be16 id_size;
  be16 name_size;
  be32 date_sec;
  be32 date_nsec;
  be64 vm_clock_nsec;
  be32 vm_state_size;
  be32 extra_data_size;
};
static_assert(sizeof(SnapshotEntry) == 40);
constexpr uint32_t kMaxSnapshotExtra = 1024;

struct BitmapEntry {
  be64 table_offset;
  be32 table_size;
  be32 flags;
  uint8_t type;
  uint8_t granularity_bits;
  be16 name_size;
  be32 extra_data_size;
};
static_assert(sizeof(BitmapEntry) == 24);
constexpr uint32_t kMaxBitmaps = 65535;
constexpr uint64_t kMaxBitmapDirectory = 64 << 20;

class Parser {
 public:
  explicit Parser(Storage& storage) : storage_(storage), where_(storage.name() + ": qcow2: ") {}

  absl::StatusOr<Header> Parse() {
    ASSIGN_OR_RETURN(uint64_t file, storage_.Size());
    bytes_.resize(std::min<uint64_t>(file, uint64_t{1} << kMinClusterBits));
    RETURN_IF_ERROR(storage_.Read(0, bytes_));
    std::optional<RawHeader> raw = Fields();
    if (!raw.has_value() || raw->magic != kMagic) return Bad("not a qcow2 image");
    if (raw->version != 2 && raw->version != 3) {
      return absl::UnimplementedError(
          absl::StrCat(where_, "version ", uint32_t{raw->version}, " is not supported"));
    }
    Header h;
    h.version = static_cast<int>(uint32_t{raw->version});
    h.cluster_bits = raw->cluster_bits;
    if (h.cluster_bits < kMinClusterBits || h.cluster_bits > kMaxClusterBits) {
      return Bad(
          absl::StrCat("unsupported cluster size 2^", h.cluster_bits, "; 2^9 to 2^21 are valid"));
    }
    // Where the file ends earlier it reads as zeroes: what the header says must
    // not change when the file grows.
    bytes_.resize(h.cluster_size());
    RETURN_IF_ERROR(ReadPadded(storage_, 0, bytes_));
    RETURN_IF_ERROR(Version3(*raw, &h));
    RETURN_IF_ERROR(Tables(*raw, &h));
    RETURN_IF_ERROR(Extensions(*raw, &h));
    RETURN_IF_ERROR(BackingName(*raw, &h));
    return h;
  }

 private:
  absl::Status Bad(absl::string_view what) const {
    return absl::DataLossError(absl::StrCat(where_, what));
  }

  // Short files have short headers; what is missing reads as zero.
  std::optional<RawHeader> Fields() const {
    if (bytes_.size() < kV2Length) return std::nullopt;
    RawHeader raw{};
    std::memcpy(&raw, bytes_.data(), std::min(bytes_.size(), sizeof raw));
    return raw;
  }

  absl::Status Version3(const RawHeader& raw, Header* h) {
    if (h->version == 2) return absl::OkStatus();
    h->incompatible = raw.incompatible_features;
    h->compatible = raw.compatible_features;
    h->autoclear = raw.autoclear_features;
    h->refcount_order = raw.refcount_order;
    h->length = raw.header_length;
    if (h->length < kV3Length || h->length > h->cluster_size() || h->length > bytes_.size()) {
      return Bad(absl::StrCat("header length ", h->length, " is not within 104 and the cluster"));
    }
    if (h->refcount_order > 6) {
      return Bad(absl::StrCat("refcounts of 2^", h->refcount_order, " bits; 64 bits are the most"));
    }
    uint8_t type = h->length > kV3Length ? raw.compression_type : 0;
    if ((type != 0) != ((h->incompatible & kCompressionType) != 0)) {
      return Bad(absl::StrCat("compression type ", type, " does not match the feature bit"));
    }
    if (type > 1) return Bad(absl::StrCat("unknown compression type ", type));
    h->compression = static_cast<Compression>(type);
    return absl::OkStatus();
  }

  absl::Status Table(const char* what, uint64_t offset, uint64_t bytes, const Header& h) const {
    if (offset % h.cluster_size() != 0) {
      return Bad(
          absl::StrFormat("%s offset 0x%x is not a multiple of the cluster size", what, offset));
    }
    if (!RangeFits(offset, bytes, INT64_MAX)) {
      return Bad(absl::StrFormat("%s of %d bytes at 0x%x is out of range", what, bytes, offset));
    }
    return absl::OkStatus();
  }

  absl::Status Tables(const RawHeader& raw, Header* h) {
    h->size = raw.size;
    h->crypt_method = raw.crypt_method;
    h->l1_size = raw.l1_size;
    h->l1_table_offset = raw.l1_table_offset;
    h->refcount_table_offset = raw.refcount_table_offset;
    h->refcount_table_clusters = raw.refcount_table_clusters;
    h->nb_snapshots = raw.nb_snapshots;
    h->snapshots_offset = raw.snapshots_offset;
    if (h->size > INT64_MAX - h->cluster_size()) {
      return Bad(absl::StrCat("disk size ", h->size, " is out of range"));
    }
    if (h->l1_size > kMaxL1Bytes / 8) {
      return Bad(
          absl::StrCat("L1 table of ", h->l1_size, " entries; ", kMaxL1Bytes / 8, " are the most"));
    }
    uint64_t needed = h->l1_needed();
    if (needed > h->l1_size) {
      return Bad(absl::StrCat("L1 table of ", h->l1_size, " entries is too small: a disk of ",
                              h->size, " bytes needs ", needed));
    }
    RETURN_IF_ERROR(Table("L1 table", h->l1_table_offset, uint64_t{h->l1_size} * 8, *h));
    if (h->refcount_table_clusters > kMaxRefcountTableBytes / h->cluster_size()) {
      return Bad(absl::StrCat("refcount table of ", h->refcount_table_clusters,
                              " clusters; 8 MiB are the most"));
    }
    if (h->refcount_table_clusters == 0)
      return Bad("image does not contain a reference count table");
    RETURN_IF_ERROR(Table("refcount table", h->refcount_table_offset,
                          h->refcount_table_clusters * h->cluster_size(), *h));
    if (h->nb_snapshots > kMaxSnapshots) {
      return Bad(absl::StrCat(h->nb_snapshots, " snapshots; ", kMaxSnapshots, " are the most"));
    }
    if (h->nb_snapshots > 0) {
      RETURN_IF_ERROR(Table("snapshot table", h->snapshots_offset,
                            h->nb_snapshots * sizeof(SnapshotEntry), *h));
    }
    return absl::OkStatus();
  }

  absl::Status Extensions(const RawHeader& raw, Header* h) {
    uint64_t end =
        raw.backing_file_offset != 0 ? uint64_t{raw.backing_file_offset} : h->cluster_size();
    end = std::min<uint64_t>(end, bytes_.size());
    std::span<const uint8_t> head(bytes_.data(), end);
    BytesReader reader(head);
    std::span<const uint8_t> features;
    if (!reader.Seek(h->length)) return absl::OkStatus();
    for (;;) {
      uint64_t at = reader.offset();
      auto magic = reader.Read<be32>();
      auto length = reader.Read<be32>();
      if (!magic || !length || *magic == kExtEnd) break;
      uint32_t n = *length;
      auto data = reader.ReadSpan(n);
      if (!data) {
        return Bad(
            absl::StrFormat("header extension 0x%x at 0x%x is too large", uint32_t{*magic}, at));
      }
      reader.Skip(std::min<uint64_t>(RoundUp(n, 8) - n, reader.remaining()));
      std::string text(data->begin(), data->end());
      switch (uint32_t{*magic}) {
        case kExtBackingFormat:
          if (n > 15) return Bad("backing format name is too long; 15 bytes are the most");
          h->backing_format = text;
          break;
        case kExtDataFile:
          h->data_file = text;
          break;
        case kExtFeatureTable:
          features = *data;
          break;
        case kExtBitmaps: {
          if (n < 24) return Bad("bitmaps extension is too short");
          h->bitmaps =
              BitmapsExtension{LoadBe<uint32_t>(data->data()), LoadBe<uint64_t>(data->data() + 8),
                               LoadBe<uint64_t>(data->data() + 16)};
          break;
        }
        default:
          break;
      }
    }
    UnknownFeatures(features, h);
    return absl::OkStatus();
  }

  void UnknownFeatures(std::span<const uint8_t> table, Header* h) {
    uint64_t unknown = h->incompatible & ~kKnownIncompatible;
    for (unsigned bit = 0; bit < 64; ++bit) {
      if ((unknown >> bit & 1) == 0) continue;
      std::string name = absl::StrCat("bit ", bit);
      for (size_t at = 0; at + kFeatureBytes <= table.size(); at += kFeatureBytes) {
        if (table[at] != 0 || table[at + 1] != bit) continue;
        const char* text = reinterpret_cast<const char*>(table.data() + at + 2);
        name.assign(text, strnlen(text, kFeatureBytes - 2));
        break;
      }
      h->unknown_features.push_back(std::move(name));
    }
  }

  absl::Status BackingName(const RawHeader& raw, Header* h) {
    uint64_t offset = raw.backing_file_offset;
    uint32_t n = raw.backing_file_size;
    if (offset == 0) return absl::OkStatus();
    if (n > kMaxBackingName) {
      return Bad(absl::StrCat("backing file name of ", n, " bytes; 1023 are the most"));
    }
    if (!RangeFits(offset, n, bytes_.size())) {
      return Bad(
          absl::StrFormat("backing file name at 0x%x passes the end of the first cluster", offset));
    }
    h->backing_file.assign(reinterpret_cast<const char*>(bytes_.data() + offset), n);
    // What follows a NUL would be seen by us and not by whoever opens the file.
    h->backing_file.resize(strnlen(h->backing_file.data(), n));
    return absl::OkStatus();
  }

  Storage& storage_;
  const std::string where_;
  std::vector<uint8_t> bytes_;
};

}  // namespace

uint64_t Header::l1_needed() const {
  return DivRoundUp(size, uint64_t{1} << (2 * cluster_bits - 3));
}

absl::StatusOr<Header> ReadHeader(Storage& storage) { return Parser(storage).Parse(); }

absl::Status CheckReadable(const Header& h, const std::string& where) {
  if (!h.unknown_features.empty()) {
    return absl::UnimplementedError(absl::StrCat(
        where, ": qcow2: Unsupported feature(s): ", absl::StrJoin(h.unknown_features, ", ")));
  }
  if (h.crypt_method != 0) {
    return absl::UnimplementedError(absl::StrCat(where, ": qcow2: the image is encrypted (method ",
                                                 h.crypt_method, "), which is not supported"));
  }
  if ((h.incompatible & kDataFile) != 0) {
    return absl::UnimplementedError(
        absl::StrCat(where, ": qcow2: external data files are not supported"));
  }
  if ((h.incompatible & kExtendedL2) != 0) {
    return absl::UnimplementedError(
        absl::StrCat(where, ": qcow2: extended L2 entries are not supported"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint8_t>> EncodeHeader(const Header& h) {
  RawHeader raw{};
  raw.magic = kMagic;
  raw.version = static_cast<uint32_t>(h.version);
  raw.cluster_bits = h.cluster_bits;
  raw.size = h.size;
  raw.crypt_method = h.crypt_method;
  raw.l1_size = h.l1_size;
  raw.l1_table_offset = h.l1_table_offset;
  raw.refcount_table_offset = h.refcount_table_offset;
  raw.refcount_table_clusters = h.refcount_table_clusters;
  raw.nb_snapshots = h.nb_snapshots;
  raw.snapshots_offset = h.snapshots_offset;
  raw.incompatible_features = h.incompatible;
  raw.compatible_features = h.compatible;
  raw.autoclear_features = h.autoclear;
  raw.refcount_order = h.refcount_order;
  raw.compression_type = static_cast<uint8_t>(h.compression);
  const size_t length = h.version == 2 ? kV2Length : sizeof raw;
  raw.header_length = static_cast<uint32_t>(length);

  std::vector<uint8_t> out(length);
  auto extension = [&out](uint32_t magic, std::span<const uint8_t> data) {
    uint8_t head[8];
    StoreBe<uint32_t>(head, magic);
    StoreBe<uint32_t>(head + 4, static_cast<uint32_t>(data.size()));
    out.insert(out.end(), head, head + 8);
    out.insert(out.end(), data.begin(), data.end());
    out.resize(RoundUp(out.size(), 8));
  };
  auto bytes = [](const std::string& s) {
    return std::span(reinterpret_cast<const uint8_t*>(s.data()), s.size());
  };
  if (!h.backing_format.empty()) extension(kExtBackingFormat, bytes(h.backing_format));
  if (h.version >= 3) {
    std::string table;
    for (const Feature& f : kFeatures) {
      std::string entry(kFeatureBytes, '\0');
      entry[0] = static_cast<char>(f.type);
      entry[1] = static_cast<char>(f.bit);
      std::memcpy(entry.data() + 2, f.name, strlen(f.name));
      table += entry;
    }
    // The table is a courtesy, and may be left out where the cluster is small.
    if (out.size() + 8 + table.size() + 8 + h.backing_file.size() <= h.cluster_size()) {
      extension(kExtFeatureTable, bytes(table));
    }
  }
  extension(kExtEnd, {});
  if (!h.backing_file.empty()) {
    raw.backing_file_offset = out.size();
    raw.backing_file_size = static_cast<uint32_t>(h.backing_file.size());
    std::span<const uint8_t> name = bytes(h.backing_file);
    out.insert(out.end(), name.begin(), name.end());
  }
  if (out.size() > h.cluster_size() || h.backing_file.size() > kMaxBackingName) {
    return absl::InvalidArgumentError(
        absl::StrCat("backing file name of ", h.backing_file.size(), " bytes is too long"));
  }
  std::memcpy(out.data(), &raw, length);
  out.resize(h.cluster_size());
  return out;
}

absl::StatusOr<SnapshotTable> ReadSnapshots(Storage& storage, const Header& h) {
  SnapshotTable table;
  if (h.nb_snapshots == 0) return table;
  uint64_t at = h.snapshots_offset;
  auto bad = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrFormat("%s: qcow2: snapshot %d of the table at 0x%x: %s",
                                               storage.name(), table.snapshots.size() + 1,
                                               h.snapshots_offset, what));
  };
  for (uint32_t i = 0; i < h.nb_snapshots; ++i) {
    at = RoundUp(at, 8);
    std::vector<uint8_t> bytes(sizeof(SnapshotEntry));
    absl::Status status = storage.Read(at, bytes);
    if (absl::IsOutOfRange(status)) return bad("lies past the end of the file");
    RETURN_IF_ERROR(status);
    SnapshotEntry e;
    std::memcpy(&e, bytes.data(), sizeof e);
    at += sizeof e;
    if (e.extra_data_size > kMaxSnapshotExtra) return bad("too much extra data");
    bytes.resize(size_t{e.extra_data_size} + e.id_size + e.name_size);
    status = storage.Read(at, bytes);
    if (absl::IsOutOfRange(status)) return bad("lies past the end of the file");
    RETURN_IF_ERROR(status);
    at += bytes.size();
    if (at - h.snapshots_offset > kMaxSnapshotTableBytes) return bad("the table passes 64 MiB");
    if (e.l1_size > kMaxL1Bytes / 8) return bad("L1 table is too large");
    if (e.l1_table_offset % h.cluster_size() != 0) return bad("L1 table offset is not aligned");
    Snapshot s;
    s.l1_offset = e.l1_table_offset;
    s.l1_size = e.l1_size;
    s.info.vm_state_size = e.vm_state_size;
    s.info.date_sec = e.date_sec;
    s.info.date_nsec = e.date_nsec;
    s.info.vm_clock_nsec = e.vm_clock_nsec;
    s.info.disk_size = h.size;
    if (e.extra_data_size >= 8) s.info.vm_state_size = LoadBe<uint64_t>(bytes.data());
    if (e.extra_data_size >= 16) s.info.disk_size = LoadBe<uint64_t>(bytes.data() + 8);
    if (e.extra_data_size >= 24) {
      uint64_t icount = LoadBe<uint64_t>(bytes.data() + 16);
      if (icount != UINT64_MAX) s.info.icount = icount;
    }
    const char* text = reinterpret_cast<const char*>(bytes.data()) + e.extra_data_size;
    s.info.id.assign(text, e.id_size);
    s.info.name.assign(text + e.id_size, e.name_size);
    table.snapshots.push_back(std::move(s));
  }
  table.bytes = at - h.snapshots_offset;
  return table;
}

absl::StatusOr<std::vector<Bitmap>> ReadBitmaps(Storage& storage, const Header& h) {
  std::vector<Bitmap> out;
  // Without the autoclear bit somebody wrote who did not keep them up.
  if (!h.bitmaps.has_value() || (h.autoclear & kBitmaps) == 0) return out;
  auto bad = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrFormat("%s: qcow2: bitmap directory at 0x%x: %s",
                                               storage.name(), h.bitmaps->directory_offset, what));
  };
  if (h.bitmaps->count > kMaxBitmaps || h.bitmaps->directory_size > kMaxBitmapDirectory) {
    return bad("too large");
  }
  ASSIGN_OR_RETURN(uint64_t file, storage.Size());
  if (!RangeFits(h.bitmaps->directory_offset, h.bitmaps->directory_size, file)) {
    return bad("lies past the end of the file");
  }
  std::vector<uint8_t> bytes(h.bitmaps->directory_size);
  RETURN_IF_ERROR(storage.Read(h.bitmaps->directory_offset, bytes));
  BytesReader reader(bytes);
  for (uint32_t i = 0; i < h.bitmaps->count; ++i) {
    uint64_t start = reader.offset();
    auto e = reader.Read<BitmapEntry>();
    if (!e || !reader.Skip(e->extra_data_size)) return bad("an entry passes its end");
    auto name = reader.ReadSpan(e->name_size);
    if (!name) return bad("an entry passes its end");
    reader.Skip(std::min(RoundUp(reader.offset() - start, 8) - (reader.offset() - start),
                         reader.remaining()));
    if (e->granularity_bits < 9 || e->granularity_bits > 31) return bad("granularity out of range");
    Bitmap b;
    b.info.name.assign(name->begin(), name->end());
    b.info.granularity = uint64_t{1} << e->granularity_bits;
    b.info.in_use = (e->flags & 1) != 0;
    b.info.automatic = (e->flags & 2) != 0;
    b.table_offset = e->table_offset;
    b.table_entries = e->table_size;
    out.push_back(std::move(b));
  }
  return out;
}

}  // namespace atl::block::qcow2
