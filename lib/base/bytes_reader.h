// SPDX-License-Identifier: Apache-2.0
// Reads foreign bytes front to back without ever leaving them.
#ifndef LIB_BASE_BYTES_READER_H_
#define LIB_BASE_BYTES_READER_H_

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

#include "lib/base/checked.h"
#include "lib/base/endian.h"

namespace atl {

class BytesReader {
 public:
  explicit BytesReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return bytes_.size() - offset_; }
  bool Skip(uint64_t n) {
    if (n > remaining()) return false;
    offset_ += n;
    return true;
  }
  bool Seek(uint64_t offset) {
    if (offset > bytes_.size()) return false;
    offset_ = offset;
    return true;
  }

  // The next sizeof(T) bytes as a T (little-endian where T is an integer), or
  // nothing, and then the reader stays where it was.
  template <typename T>
  std::optional<T> Read() {
    static_assert(std::is_trivially_copyable_v<T>);
    if (sizeof(T) > remaining()) return std::nullopt;
    T v;
    std::memcpy(&v, bytes_.data() + offset_, sizeof v);
    offset_ += sizeof v;
    return v;
  }
  std::optional<std::span<const uint8_t>> ReadSpan(uint64_t n) {
    if (n > remaining()) return std::nullopt;
    std::span<const uint8_t> out = bytes_.subspan(offset_, n);
    offset_ += n;
    return out;
  }

 private:
  std::span<const uint8_t> bytes_;
  uint64_t offset_ = 0;
};

// The struct at `offset` of foreign bytes, or nothing where it does not fit.
template <typename T>
std::optional<T> ReadAt(std::span<const uint8_t> bytes, uint64_t offset) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (!RangeFits(offset, sizeof(T), bytes.size())) return std::nullopt;
  T v;
  std::memcpy(&v, bytes.data() + offset, sizeof v);
  return v;
}

}  // namespace atl

#endif  // LIB_BASE_BYTES_READER_H_
