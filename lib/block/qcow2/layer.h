// SPDX-License-Identifier: Apache-2.0
// An open qcow2 file.
#ifndef LIB_BLOCK_QCOW2_LAYER_H_
#define LIB_BLOCK_QCOW2_LAYER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/mutex.h"
#include "lib/block/cluster_layer.h"
#include "lib/block/format.h"
#include "lib/block/qcow2/header.h"
#include "lib/block/qcow2/refcounts.h"

namespace atl::block::qcow2 {

class Qcow2Layer final : public ClusterLayer {
 public:
  static absl::StatusOr<std::unique_ptr<Layer>> Open(std::unique_ptr<Storage> storage,
                                                     const LayerOptions& options);

  const char* format_name() const override { return "qcow2"; }
  absl::Status Resize(uint64_t size, Preallocation preallocation) override;
  absl::StatusOr<CheckResult> Check(CheckRepair repair) override;
  absl::Status Describe(ImageInfo* info) override;
  absl::Status Close() override;
  bool data_has_holes() override;
  std::string backing_file() const override { return header_.backing_file; }
  std::string backing_format() const override { return header_.backing_format; }

  // Maps [from, size()) to clusters of the file, with what `how` wants of them.
  absl::Status Preallocate(uint64_t from, Preallocation how);

 protected:
  absl::StatusOr<TableRef> DecodeL1(uint64_t entry) const override;
  absl::StatusOr<Mapping> DecodeL2(uint64_t entry) const override;
  uint64_t EncodeL1(uint64_t table) const override;
  uint64_t EncodeL2(const Mapping& mapping) const override;
  bool has_zero_clusters() const override { return header_.version >= 3; }
  absl::StatusOr<HostRun> AllocateClusters(uint64_t max) override;
  absl::StatusOr<HostRun> AllocateTable() override;
  absl::StatusOr<uint64_t> AllocatePacked(uint64_t bytes) override;
  absl::Status CheckDataWrite(uint64_t offset, uint64_t length) override;
  absl::Status WriteReferences(bool sync) override;
  absl::Status Reclaim(const std::vector<Dropped>& dropped) override;
  absl::Status PrepareFirstWrite() override;

 private:
  Qcow2Layer(std::unique_ptr<Storage> storage, const Header& header, const LayerOptions& options);

  static Geometry GeometryOf(const Header& header);
  absl::Status Load(const LayerOptions& options);
  absl::Status AddMetadata();
  absl::Status GrowL1(uint64_t entries);
  absl::Status WriteHeaderField(uint64_t offset, std::span<const uint8_t> bytes, bool sync);
  absl::Status SetFeatures(uint64_t incompatible, uint64_t autoclear);
  // Marks the image corrupt, where it can be, and stops all writing.
  absl::Status FoundCorrupt(const absl::Status& what);
  std::unique_ptr<Refcounts> NewRefcounts();

  absl::StatusOr<bool> LooksPreallocated();

  Header header_;
  MetadataMap metadata_;
  std::unique_ptr<Refcounts> refcounts_;
  Mutex holes_mu_;
  std::optional<bool> has_holes_ ABSL_GUARDED_BY(holes_mu_);
  Mutex corrupt_mu_;
  bool marked_corrupt_ ABSL_GUARDED_BY(corrupt_mu_) = false;
};

// check.cc: the file as it stands in `storage`, no cache before it. Repairs in
// the file if told to.
absl::StatusOr<CheckResult> CheckFile(Storage& storage, CheckRepair repair);

// create.cc
absl::Status Create(Storage& storage, uint64_t size, const FormatOptions& options);

}  // namespace atl::block::qcow2

#endif  // LIB_BLOCK_QCOW2_LAYER_H_
