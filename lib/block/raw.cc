// SPDX-License-Identifier: Apache-2.0
// Raw images: the file is the disk. A file whose length is no multiple of 512
// reads as if zeroes followed up to one.
#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/block/format.h"
#include "lib/block/formats.h"

namespace atl::block {
namespace {

constexpr uint64_t kChunk = 1 << 20;

class RawLayer final : public Layer {
 public:
  RawLayer(std::unique_ptr<Storage> storage, uint64_t size, const LayerOptions& options)
      : storage_(std::move(storage)), file_size_(size), options_(options) {}

  const char* format_name() const override { return "raw"; }
  Storage& storage() override { return *storage_; }
  uint64_t size() const override { return RoundUp(file_size_.load(), 512); }
  uint64_t cluster_size() const override { return 0; }
  bool read_only() const override { return !options_.writable; }
  void SetBacking(Layer*) override {}

  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override {
    RETURN_IF_ERROR(CheckRange(offset, to.size()));
    return ReadPadded(*storage_, offset, to);
  }

  absl::Status Write(uint64_t offset, std::span<const uint8_t> from) override {
    RETURN_IF_ERROR(CheckRange(offset, from.size()));
    RETURN_IF_ERROR(CheckWritable());
    RETURN_IF_ERROR(GuardFirstSector(offset, from));
    absl::Status status = storage_->Write(offset, from);
    unsynced_.store(true);
    return status;
  }

  std::optional<Disk::Place> PlaceOf(uint64_t offset, uint64_t length, bool write) override {
    if (storage_->fd() < 0 || !RangeFits(offset, length, file_size_.load())) return std::nullopt;
    if (!write) return Disk::Place{storage_->fd(), offset, nullptr};
    if (!options_.writable || (options_.probed && offset < kProbed)) return std::nullopt;
    const auto written = [this](const void*) { unsynced_.store(true); };
    return Disk::Place{storage_->fd(), offset, std::shared_ptr<const void>(this, written)};
  }

  absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool unmap) override {
    RETURN_IF_ERROR(CheckRange(offset, length));
    RETURN_IF_ERROR(CheckWritable());
    if (unmap && storage_->PunchHole(offset, length).ok()) {
      unsynced_.store(true);
      return absl::OkStatus();
    }
    std::vector<uint8_t> zeroes(std::min(length, kChunk));
    while (length > 0) {
      uint64_t n = std::min(length, kChunk);
      RETURN_IF_ERROR(storage_->Write(offset, std::span(zeroes).first(n)));
      unsynced_.store(true);
      offset += n;
      length -= n;
    }
    return absl::OkStatus();
  }

  absl::Status Discard(uint64_t offset, uint64_t length) override {
    RETURN_IF_ERROR(CheckRange(offset, length));
    RETURN_IF_ERROR(CheckWritable());
    absl::Status status = storage_->PunchHole(offset, length);
    if (absl::IsUnimplemented(status)) return absl::OkStatus();
    unsynced_.store(true);
    return status;
  }

  absl::Status Flush() override {
    if (options_.no_flush || !unsynced_.exchange(false)) return absl::OkStatus();
    return storage_->Flush();
  }

  absl::StatusOr<LayerExtent> ExtentAt(uint64_t offset, uint64_t max_length) override {
    RETURN_IF_ERROR(CheckRange(offset, 1));
    uint64_t file = file_size_.load();
    // The padding counts with what it pads.
    uint64_t probe = std::min(offset, file - 1);
    ASSIGN_OR_RETURN(StorageExtent e, storage_->ExtentAt(probe));
    uint64_t end = probe + e.length;
    if (end >= file) end = size();
    return LayerExtent{
        .length = std::min(end - offset, max_length),
        .kind = e.data ? LayerExtent::Kind::kData : LayerExtent::Kind::kZeroAllocated,
        .host_offset = offset};
  }

  absl::StatusOr<std::optional<std::vector<uint8_t>>> Compress(std::span<const uint8_t>) override {
    return Unsupported("compression");
  }
  absl::Status WriteCompressed(uint64_t, std::span<const uint8_t>) override {
    return Unsupported("compression");
  }

  absl::Status Resize(uint64_t size, Preallocation preallocation) override {
    RETURN_IF_ERROR(CheckWritable());
    const uint64_t old = file_size_.load();
    if (preallocation == Preallocation::kMetadata) return Unsupported("preallocation=metadata");
    if (size < old && preallocation != Preallocation::kOff) {
      return absl::InvalidArgumentError(
          absl::StrCat(storage_->name(), ": Preallocation can't be used for shrinking an image"));
    }
    RETURN_IF_ERROR(storage_->Truncate(size));
    file_size_.store(size);
    unsynced_.store(true);
    if (size <= old) return absl::OkStatus();
    if (preallocation == Preallocation::kFalloc) return storage_->Allocate(old, size - old);
    if (preallocation == Preallocation::kFull) return WriteZeroes(old, size - old, false);
    return absl::OkStatus();
  }

  absl::StatusOr<CheckResult> Check(CheckRepair) override { return Unsupported("checks"); }

  absl::Status Describe(ImageInfo* info) override {
    info->file = storage_->name();
    info->format = format_name();
    info->virtual_size = size();
    info->file_length = file_size_.load();
    ASSIGN_OR_RETURN(info->disk_size, storage_->AllocatedBytes());
    return absl::OkStatus();
  }

  std::string backing_file() const override { return ""; }
  std::string backing_format() const override { return ""; }

 private:
  absl::Status CheckRange(uint64_t offset, uint64_t length) const {
    if (RangeFits(offset, length, size())) return absl::OkStatus();
    return absl::OutOfRangeError(absl::StrFormat("%s: %d bytes at 0x%x pass the end of the disk",
                                                 storage_->name(), length, offset));
  }
  absl::Status CheckWritable() const {
    if (options_.writable) return absl::OkStatus();
    return absl::PermissionDeniedError(absl::StrCat(storage_->name(), ": opened read-only"));
  }
  absl::Status Unsupported(const char* what) const {
    return absl::UnimplementedError(
        absl::StrCat(storage_->name(), ": This image format does not support ", what));
  }

  // The attack: a guest that was given a raw disk, found to be raw by its
  // contents, writes an image header there that names a backing file of the
  // host; the next start finds that format and opens the file for the guest.
  absl::Status GuardFirstSector(uint64_t offset, std::span<const uint8_t> from) {
    if (!options_.probed || offset >= kProbed || from.empty()) return absl::OkStatus();
    std::vector<uint8_t> head(std::min<uint64_t>(size(), kProbed));
    RETURN_IF_ERROR(ReadPadded(*storage_, 0, head));
    std::copy_n(from.begin(), std::min<size_t>(from.size(), head.size() - offset),
                head.begin() + static_cast<ptrdiff_t>(offset));
    const Format& format = ProbeFormat(head);
    if (&format == &kRaw) return absl::OkStatus();
    return absl::PermissionDeniedError(
        absl::StrCat(storage_->name(), ": write would turn this raw disk into a ", format.name,
                     " image for whoever guesses its format; name the format (raw) to allow it"));
  }

  static constexpr uint64_t kProbed = 2048;

  const std::unique_ptr<Storage> storage_;
  std::atomic<uint64_t> file_size_;
  const LayerOptions options_;
  std::atomic<bool> unsynced_{false};
};

int Probe(std::span<const uint8_t>) { return 1; }

absl::StatusOr<std::unique_ptr<Layer>> Open(std::unique_ptr<Storage> storage,
                                            const LayerOptions& options) {
  ASSIGN_OR_RETURN(uint64_t size, storage->Size());
  return std::make_unique<RawLayer>(std::move(storage), size, options);
}

absl::Status Create(Storage& storage, uint64_t size, const FormatOptions& options) {
  size = RoundUp(size, 512);
  RETURN_IF_ERROR(storage.Truncate(size));
  switch (PreallocationOption(options)) {
    case Preallocation::kFalloc:
      return storage.Allocate(0, size);
    case Preallocation::kFull:
      return RawLayer(Borrow(&storage), size, {.writable = true}).WriteZeroes(0, size, false);
    default:
      return absl::OkStatus();
  }
}

constexpr FormatOption kOptions[] = {
    {"preallocation", FormatOption::Type::kChoice, "off",
     "Preallocation mode (allowed values: off, falloc, full)", "off|falloc|full"},
};

}  // namespace

extern const Format kRaw = {
    .name = "raw",
    .probe = Probe,
    .open = Open,
    .create = Create,
    .options = kOptions,
};

}  // namespace atl::block
