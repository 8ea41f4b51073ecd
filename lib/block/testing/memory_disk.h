// SPDX-License-Identifier: Apache-2.0
// A disk in memory for tests of devices: counts calls, fails on demand, and can
// hold its callers back. Thread-safe as every Disk.
#ifndef LIB_BLOCK_TESTING_MEMORY_DISK_H_
#define LIB_BLOCK_TESTING_MEMORY_DISK_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/checked.h"
#include "lib/base/mutex.h"
#include "lib/block/disk.h"

namespace atl::block {

class MemoryDisk : public Disk {
 public:
  explicit MemoryDisk(uint64_t bytes, bool read_only = false)
      : bytes_(bytes), read_only_(read_only) {}

  uint64_t size() const override { return bytes_.size(); }
  bool read_only() const override { return read_only_; }
  std::string name() const override { return "memory.img"; }

  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override {
    MutexLock lock(&mutex_);
    if (absl::Status s = Enter(offset, to.size()); !s.ok()) return s;
    ++reads_;
    std::memcpy(to.data(), bytes_.data() + offset, to.size());
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t offset, std::span<const uint8_t> from) override {
    MutexLock lock(&mutex_);
    if (absl::Status s = Enter(offset, from.size()); !s.ok()) return s;
    ++writes_;
    std::memcpy(bytes_.data() + offset, from.data(), from.size());
    return absl::OkStatus();
  }
  absl::Status Flush() override {
    MutexLock lock(&mutex_);
    if (absl::Status s = Enter(0, 0); !s.ok()) return s;
    ++flushes_;
    return absl::OkStatus();
  }
  absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool) override {
    MutexLock lock(&mutex_);
    if (absl::Status s = Enter(offset, length); !s.ok()) return s;
    std::memset(bytes_.data() + offset, 0, length);
    return absl::OkStatus();
  }
  absl::Status Discard(uint64_t offset, uint64_t length) override {
    MutexLock lock(&mutex_);
    if (absl::Status s = Enter(offset, length); !s.ok()) return s;
    discarded_ += length;
    return absl::OkStatus();
  }

  // For the test's thread while no call is under way.
  std::vector<uint8_t>& bytes() ABSL_NO_THREAD_SAFETY_ANALYSIS { return bytes_; }
  void FailWith(absl::Status status) {
    MutexLock lock(&mutex_);
    error_ = std::move(status);
  }
  // While held, calls wait inside the disk.
  void Hold(bool held) {
    MutexLock lock(&mutex_);
    held_ = held;
    changed_.NotifyAll();
  }
  // Until `n` calls wait inside.
  void AwaitWaiting(unsigned n) {
    MutexLock lock(&mutex_);
    while (waiting_ < n) changed_.Wait(&mutex_);
  }
  unsigned reads() { return Get(reads_); }
  unsigned writes() { return Get(writes_); }
  unsigned flushes() { return Get(flushes_); }
  uint64_t discarded() { return Get(discarded_); }

 private:
  template <typename T>
  T Get(T& field) {
    MutexLock lock(&mutex_);
    return field;
  }
  absl::Status Enter(uint64_t offset, uint64_t length) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ++waiting_;
    changed_.NotifyAll();
    while (held_) changed_.Wait(&mutex_);
    --waiting_;
    if (!error_.ok()) return error_;
    if (!RangeFits(offset, length, bytes_.size())) return absl::OutOfRangeError("memory.img");
    return absl::OkStatus();
  }

  Mutex mutex_;
  CondVar changed_;
  std::vector<uint8_t> bytes_;
  const bool read_only_;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  unsigned waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  unsigned reads_ = 0;
  unsigned writes_ = 0;
  unsigned flushes_ = 0;
  uint64_t discarded_ = 0;
};

}  // namespace atl::block

#endif  // LIB_BLOCK_TESTING_MEMORY_DISK_H_
