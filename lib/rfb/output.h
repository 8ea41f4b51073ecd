// SPDX-License-Identifier: Apache-2.0
// Bytes on their way out: written at the end, taken from the front. Numbers are
// big-endian, as RFB's are.
#ifndef LIB_RFB_OUTPUT_H_
#define LIB_RFB_OUTPUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "absl/strings/string_view.h"
#include "lib/base/endian.h"

namespace atl::rfb {

class Output {
 public:
  // What an empty one keeps.
  static constexpr size_t kKept = size_t{1} << 20;

  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  const uint8_t* data() const { return bytes_.get() + begin_; }
  uint8_t* data() { return bytes_.get() + begin_; }
  std::span<const uint8_t> span() const { return {data(), size()}; }

  // Room for `n` more bytes, whose values are the caller's to write; valid until
  // the next call. Truncate() gives back what was too much.
  uint8_t* Grow(size_t n) {
    if (end_ + n > capacity_) MakeRoom(n);
    uint8_t* const at = bytes_.get() + end_;
    end_ += n;
    return at;
  }
  void Truncate(size_t size) { end_ = begin_ + size; }

  void U8(uint8_t v) { *Grow(1) = v; }
  void U16(unsigned v) { StoreBe(Grow(2), static_cast<uint16_t>(v)); }
  void U32(uint32_t v) { StoreBe(Grow(4), v); }
  void S32(int32_t v) { U32(static_cast<uint32_t>(v)); }
  void Append(std::span<const uint8_t> bytes) {
    if (!bytes.empty()) std::memcpy(Grow(bytes.size()), bytes.data(), bytes.size());
  }
  void Append(absl::string_view text) {
    if (!text.empty()) std::memcpy(Grow(text.size()), text.data(), text.size());
  }
  void Zeros(size_t n) {
    if (n > 0) std::memset(Grow(n), 0, n);
  }

  // The front is done with.
  void Consume(size_t n) {
    begin_ += n;
    if (begin_ < end_) return;
    begin_ = end_ = 0;
    if (capacity_ > kKept) {
      bytes_.reset();
      capacity_ = 0;
    }
  }
  void Clear() { Consume(size()); }

 private:
  void MakeRoom(size_t n) {
    const size_t used = size();
    if (begin_ >= used && used + n <= capacity_) {
      if (used > 0) std::memcpy(bytes_.get(), data(), used);
    } else {
      const size_t capacity = std::max<size_t>({4096, used + n, used * 2});
      auto larger = std::make_unique_for_overwrite<uint8_t[]>(capacity);
      if (used > 0) std::memcpy(larger.get(), data(), used);
      bytes_ = std::move(larger);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = used;
  }

  std::unique_ptr<uint8_t[]> bytes_;
  size_t capacity_ = 0;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_OUTPUT_H_
