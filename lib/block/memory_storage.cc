// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/mutex.h"
#include "lib/block/storage.h"

namespace atl::block {
namespace {

constexpr uint64_t kPage = 4096;

class MemoryStorage final : public Storage {
 public:
  explicit MemoryStorage(absl::string_view name) : name_(name) {}

  const std::string& name() const override { return name_; }
  bool writable() const override { return true; }

  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override {
    MutexLock lock(&mu_);
    if (!RangeFits(offset, to.size(), size_)) {
      return absl::OutOfRangeError(absl::StrFormat(
          "%s: read of %d bytes at 0x%x passes the end of the file", name_, to.size(), offset));
    }
    for (size_t done = 0; done < to.size();) {
      uint64_t at = offset + done, in = at % kPage;
      size_t n = std::min<size_t>(kPage - in, to.size() - done);
      auto it = pages_.find(at / kPage);
      if (it == pages_.end()) {
        std::memset(to.data() + done, 0, n);
      } else {
        std::memcpy(to.data() + done, it->second->data() + in, n);
      }
      done += n;
    }
    return absl::OkStatus();
  }

  absl::Status Write(uint64_t offset, std::span<const uint8_t> from) override {
    MutexLock lock(&mu_);
    if (!RangeFits(offset, from.size(), INT64_MAX)) {
      return absl::OutOfRangeError(
          absl::StrFormat("%s: write of %d bytes at 0x%x: too large", name_, from.size(), offset));
    }
    for (size_t done = 0; done < from.size();) {
      uint64_t at = offset + done, in = at % kPage;
      size_t n = std::min<size_t>(kPage - in, from.size() - done);
      auto& page = pages_[at / kPage];
      if (page == nullptr) page = std::make_unique<Page>();
      std::memcpy(page->data() + in, from.data() + done, n);
      done += n;
    }
    if (!from.empty()) size_ = std::max(size_, offset + from.size());
    return absl::OkStatus();
  }

  absl::Status Flush() override { return absl::OkStatus(); }

  absl::StatusOr<uint64_t> Size() override {
    MutexLock lock(&mu_);
    return size_;
  }

  absl::Status Truncate(uint64_t size) override {
    MutexLock lock(&mu_);
    if (size < size_) Clear(size, size_ - size);
    size_ = size;
    return absl::OkStatus();
  }

  absl::Status PunchHole(uint64_t offset, uint64_t length) override {
    MutexLock lock(&mu_);
    if (offset < size_) Clear(offset, std::min(length, size_ - offset));
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t offset, uint64_t length) override {
    MutexLock lock(&mu_);
    if (!RangeFits(offset, length, INT64_MAX)) {
      return absl::OutOfRangeError(
          absl::StrFormat("%s: allocation of %d bytes at 0x%x: too large", name_, length, offset));
    }
    size_ = std::max(size_, offset + length);
    return absl::OkStatus();
  }

  absl::StatusOr<StorageExtent> ExtentAt(uint64_t offset) override {
    MutexLock lock(&mu_);
    if (offset >= size_) {
      return absl::OutOfRangeError(
          absl::StrFormat("%s: 0x%x lies past the end of the file", name_, offset));
    }
    auto it = pages_.lower_bound(offset / kPage);
    uint64_t end = size_;
    bool data = it != pages_.end() && it->first == offset / kPage;
    if (!data) {
      if (it != pages_.end()) end = std::min(end, it->first * kPage);
    } else {
      uint64_t next = it->first;
      while (it != pages_.end() && it->first == next) ++it, ++next;
      end = std::min(end, next * kPage);
    }
    return StorageExtent{.length = end - offset, .data = data};
  }

  absl::StatusOr<uint64_t> AllocatedBytes() override {
    MutexLock lock(&mu_);
    return pages_.size() * kPage;
  }

 private:
  using Page = std::array<uint8_t, kPage>;

  void Clear(uint64_t offset, uint64_t length) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    uint64_t end = offset + length;
    auto it = pages_.lower_bound(offset / kPage);
    while (it != pages_.end() && it->first * kPage < end) {
      uint64_t base = it->first * kPage;
      uint64_t from = std::max(base, offset) - base, to = std::min(base + kPage, end) - base;
      if (from == 0 && to == kPage) {
        it = pages_.erase(it);
      } else {
        std::memset(it->second->data() + from, 0, to - from);
        ++it;
      }
    }
  }

  const std::string name_;
  Mutex mu_;
  std::map<uint64_t, std::unique_ptr<Page>> pages_ ABSL_GUARDED_BY(mu_);
  uint64_t size_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace

std::unique_ptr<Storage> NewMemoryStorage(absl::string_view name,
                                          std::span<const uint8_t> contents) {
  auto storage = std::make_unique<MemoryStorage>(name);
  // Fits: it is in memory already.
  storage->Write(0, contents).IgnoreError();
  return storage;
}

}  // namespace atl::block
