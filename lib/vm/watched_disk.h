// SPDX-License-Identifier: Apache-2.0
// A disk that counts what a device asks of it and tells of what fails.
#ifndef LIB_VM_WATCHED_DISK_H_
#define LIB_VM_WATCHED_DISK_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/block/disk.h"
#include "lib/vm/control.h"

namespace atl::vm {

class WatchedDisk final : public block::Disk {
 public:
  // Called on the thread of the request that failed.
  using OnError = std::function<void(bool write, absl::string_view error)>;

  // `disk` outlives this object.
  explicit WatchedDisk(block::Disk& disk) : disk_(disk) {}
  // Before the first request.
  void SetErrorHandler(OnError on_error) { on_error_ = std::move(on_error); }

  void Count(DriveState* out) const {
    out->read_bytes = read_bytes_;
    out->read_requests = read_requests_;
    out->written_bytes = written_bytes_;
    out->write_requests = write_requests_;
    out->flush_requests = flush_requests_;
    out->failed_reads = failed_reads_;
    out->failed_writes = failed_writes_;
  }

  // Disk.
  uint64_t size() const override { return disk_.size(); }
  bool read_only() const override { return disk_.read_only(); }
  std::string name() const override { return disk_.name(); }
  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override {
    read_bytes_ += to.size();
    ++read_requests_;
    return Note(disk_.Read(offset, to), false);
  }
  absl::Status Write(uint64_t offset, std::span<const uint8_t> from) override {
    written_bytes_ += from.size();
    ++write_requests_;
    return Note(disk_.Write(offset, from), true);
  }
  absl::Status Flush() override {
    ++flush_requests_;
    return Note(disk_.Flush(), true);
  }
  absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool unmap) override {
    ++write_requests_;
    return Note(disk_.WriteZeroes(offset, length, unmap), true);
  }
  std::optional<Place> PlaceOf(uint64_t offset, uint64_t length, bool write) override {
    std::optional<Place> place = disk_.PlaceOf(offset, length, write);
    if (place.has_value()) {
      (write ? written_bytes_ : read_bytes_) += length;
      ++(write ? write_requests_ : read_requests_);
    }
    return place;
  }
  absl::Status Discard(uint64_t offset, uint64_t length) override {
    return Note(disk_.Discard(offset, length), true);
  }

 private:
  absl::Status Note(absl::Status status, bool write) {
    // A range past the end is the guest's mistake, not the disk's.
    if (!status.ok() && status.code() != absl::StatusCode::kOutOfRange) {
      ++(write ? failed_writes_ : failed_reads_);
      if (on_error_) on_error_(write, status.message());
    }
    return status;
  }

  block::Disk& disk_;
  OnError on_error_;
  std::atomic<uint64_t> read_bytes_{0}, read_requests_{0};
  std::atomic<uint64_t> written_bytes_{0}, write_requests_{0};
  std::atomic<uint64_t> flush_requests_{0};
  std::atomic<uint64_t> failed_reads_{0}, failed_writes_{0};
};

}  // namespace atl::vm

#endif  // LIB_VM_WATCHED_DISK_H_
