// SPDX-License-Identifier: Apache-2.0
// The first cluster of a qcow2 file: header, extensions, backing file name.
// Format: docs/interop/qcow2.txt of QEMU, sections "Header" and "Header
// extensions".
#ifndef LIB_BLOCK_QCOW2_HEADER_H_
#define LIB_BLOCK_QCOW2_HEADER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/endian.h"
#include "lib/block/compress.h"
#include "lib/block/layer.h"
#include "lib/block/storage.h"

namespace atl::block::qcow2 {

inline constexpr uint32_t kMagic = 0x514649fb;
inline constexpr uint32_t kMinClusterBits = 9, kMaxClusterBits = 21;
inline constexpr uint64_t kMaxL1Bytes = 32 << 20;
inline constexpr uint64_t kMaxRefcountTableBytes = 8 << 20;
inline constexpr uint32_t kMaxSnapshots = 65536;
inline constexpr uint64_t kMaxSnapshotTableBytes = 64 << 20;
inline constexpr uint32_t kMaxBackingName = 1023;

// Incompatible features.
inline constexpr uint64_t kDirty = 1 << 0;
inline constexpr uint64_t kCorrupt = 1 << 1;
inline constexpr uint64_t kDataFile = 1 << 2;
inline constexpr uint64_t kCompressionType = 1 << 3;
inline constexpr uint64_t kExtendedL2 = 1 << 4;
// Compatible.
inline constexpr uint64_t kLazyRefcounts = 1 << 0;
// Autoclear.
inline constexpr uint64_t kBitmaps = 1 << 0;
inline constexpr uint64_t kDataFileRaw = 1 << 1;

struct RawHeader {
  be32 magic;
  be32 version;
  be64 backing_file_offset;
  be32 backing_file_size;
  be32 cluster_bits;
  be64 size;
  be32 crypt_method;
  be32 l1_size;
  be64 l1_table_offset;
  be64 refcount_table_offset;
  be32 refcount_table_clusters;
  be32 nb_snapshots;
  be64 snapshots_offset;
  // Version 3 only.
  be64 incompatible_features;
  be64 compatible_features;
  be64 autoclear_features;
  be32 refcount_order;
  be32 header_length;
  // From here on only as far as header_length says.
  uint8_t compression_type;
  uint8_t padding[7];
};
static_assert(sizeof(RawHeader) == 112);
static_assert(offsetof(RawHeader, l1_size) == 36 && offsetof(RawHeader, size) == 24);
static_assert(offsetof(RawHeader, refcount_table_offset) == 48);
static_assert(offsetof(RawHeader, incompatible_features) == 72);
inline constexpr uint32_t kV2Length = 72, kV3Length = 104;

enum Extension : uint32_t {
  kExtEnd = 0,
  kExtBackingFormat = 0xe2792aca,
  kExtFeatureTable = 0x6803f857,
  kExtBitmaps = 0x23852875,
  kExtDataFile = 0x44415441,
  kExtCrypto = 0x0537be77,
};

struct BitmapsExtension {
  uint32_t count = 0;
  uint64_t directory_size = 0;
  uint64_t directory_offset = 0;
};

struct Header {
  int version = 3;
  uint32_t cluster_bits = 16;
  uint64_t size = 0;
  uint32_t crypt_method = 0;
  uint32_t l1_size = 0;  // entries
  uint64_t l1_table_offset = 0;
  uint64_t refcount_table_offset = 0;
  uint32_t refcount_table_clusters = 0;
  uint32_t nb_snapshots = 0;
  uint64_t snapshots_offset = 0;
  uint64_t incompatible = 0, compatible = 0, autoclear = 0;
  uint32_t refcount_order = 4;
  uint32_t length = kV2Length;
  Compression compression = Compression::kDeflate;
  std::string backing_file;
  std::string backing_format;
  std::string data_file;
  std::optional<BitmapsExtension> bitmaps;
  // Names of the incompatible features that this reader does not know.
  std::vector<std::string> unknown_features;

  uint64_t cluster_size() const { return uint64_t{1} << cluster_bits; }
  uint64_t l1_needed() const;  // entries that `size` takes
};

// Reads and checks everything that does not need other clusters. Unknown
// features are no error here; see CheckReadable().
absl::StatusOr<Header> ReadHeader(Storage& storage);

// FailedPrecondition/Unimplemented where the data of the image cannot be used:
// encryption, an external data file, extended L2 entries, unknown features.
absl::Status CheckReadable(const Header& header, const std::string& where);

// The first cluster's bytes: header, feature table, backing format and name.
absl::StatusOr<std::vector<uint8_t>> EncodeHeader(const Header& header);

struct Snapshot {
  SnapshotInfo info;
  uint64_t l1_offset = 0;
  uint32_t l1_size = 0;
};
struct SnapshotTable {
  std::vector<Snapshot> snapshots;
  uint64_t bytes = 0;  // that the table takes in the file
};
absl::StatusOr<SnapshotTable> ReadSnapshots(Storage& storage, const Header& header);

struct Bitmap {
  BitmapInfo info;
  uint64_t table_offset = 0;
  uint32_t table_entries = 0;
};
absl::StatusOr<std::vector<Bitmap>> ReadBitmaps(Storage& storage, const Header& header);

}  // namespace atl::block::qcow2

#endif  // LIB_BLOCK_QCOW2_HEADER_H_
