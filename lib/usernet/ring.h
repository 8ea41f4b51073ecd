// SPDX-License-Identifier: Apache-2.0
// A byte queue of bounded size, written and read in place by readv and writev.
#ifndef LIB_USERNET_RING_H_
#define LIB_USERNET_RING_H_

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

namespace atl::usernet {

// What all rings of a network may take together. Small rings are not refused: their
// number has a bound of its own.
struct MemoryBudget {
  static constexpr size_t kSmallRing = 16 * 1024;
  size_t limit = 64 << 20;
  size_t used = 0;
};

// Up to two pieces of memory that belong together.
struct Pieces {
  std::array<iovec, 2> parts{};
  int count = 0;
  size_t size = 0;

  void Add(void* base, size_t length) {
    if (length == 0) return;
    parts[static_cast<size_t>(count++)] = {base, length};
    size += length;
  }
};

class Ring {
 public:
  explicit Ring(MemoryBudget* budget) : budget_(budget) {}
  ~Ring() { Release(); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  size_t used() const { return used_; }
  size_t capacity() const { return capacity_; }
  size_t free() const { return capacity_ - used_; }

  // True where `bytes` fit, now or once grown.
  bool CanHold(size_t bytes) const {
    return bytes <= capacity_ || bytes <= MemoryBudget::kSmallRing ||
           budget_->used - capacity_ + RoundedUp(bytes) <= budget_->limit;
  }
  // Makes the capacity `bytes` at least (rounded up to a power of two), where the
  // budget allows or `promised` (by CanHold(), a moment ago); what was in it moves.
  bool Grow(size_t bytes, bool promised = false) {
    if (bytes <= capacity_) return true;
    if (!promised && !CanHold(bytes)) return false;
    const size_t size = RoundedUp(bytes);
    // Not value-initialised: pages that are never used cost nothing.
    std::unique_ptr<uint8_t[]> data(new uint8_t[size]);
    const Pieces old = Data(0, used_ + stashed_);
    size_t at = 0;
    for (int i = 0; i < old.count; ++i) {
      memcpy(data.get() + at, old.parts[i].iov_base, old.parts[i].iov_len);
      at += old.parts[i].iov_len;
    }
    budget_->used += size - capacity_;
    data_ = std::move(data);
    capacity_ = size;
    head_ = 0;
    return true;
  }
  // Gives the memory back; only when empty.
  void Release() {
    budget_->used -= capacity_;
    data_.reset();
    capacity_ = used_ = head_ = stashed_ = 0;
  }

  // `length` bytes from `offset` on; both within used().
  Pieces Data(size_t offset, size_t length) const { return At(head_ + offset, length); }
  Pieces Space() const { return At(head_ + used_, free()); }
  void Commit(size_t bytes) {
    used_ += bytes;
    stashed_ -= std::min(stashed_, bytes);
  }
  void Consume(size_t bytes) {
    used_ -= bytes;
    head_ = used_ + stashed_ == 0 ? 0 : (head_ + bytes) & (capacity_ - 1);
  }
  // Puts bytes `offset` behind the last of used(), where Commit() finds them once what
  // is missing before them is there. They must fit in free().
  void Stash(size_t offset, std::span<const uint8_t> bytes) {
    Put(At(head_ + used_ + offset, bytes.size()), bytes);
    stashed_ = std::max(stashed_, offset + bytes.size());
  }
  size_t stashed() const { return stashed_; }
  // `bytes` must fit in free().
  void Append(std::span<const uint8_t> bytes) {
    Put(At(head_ + used_, bytes.size()), bytes);
    Commit(bytes.size());
  }

 private:
  static size_t RoundedUp(size_t bytes) {
    size_t size = MemoryBudget::kSmallRing;
    while (size < bytes) size *= 2;
    return size;
  }
  static void Put(const Pieces& to, std::span<const uint8_t> bytes) {
    size_t at = 0;
    for (int i = 0; i < to.count; ++i) {
      memcpy(to.parts[i].iov_base, bytes.data() + at, to.parts[i].iov_len);
      at += to.parts[i].iov_len;
    }
  }
  Pieces At(size_t position, size_t length) const {
    Pieces out;
    if (length == 0) return out;
    const size_t begin = position & (capacity_ - 1);
    const size_t first = std::min(length, capacity_ - begin);
    out.Add(data_.get() + begin, first);
    out.Add(data_.get(), length - first);
    return out;
  }

  MemoryBudget* const budget_;
  std::unique_ptr<uint8_t[]> data_;
  size_t capacity_ = 0;  // a power of two, or 0
  size_t head_ = 0;
  size_t used_ = 0;
  size_t stashed_ = 0;  // bytes behind used_ up to the end of the last Stash()
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_RING_H_
