// SPDX-License-Identifier: Apache-2.0
// Arithmetic that reports overflow, and rounding to powers of two.
#ifndef LIB_BASE_CHECKED_H_
#define LIB_BASE_CHECKED_H_

#include <cstdint>
#include <optional>

namespace atl {

template <typename T>
constexpr std::optional<T> CheckedAdd(T a, T b) {
  T r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

template <typename T>
constexpr std::optional<T> CheckedMul(T a, T b) {
  T r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

// Whether [offset, offset + length) lies within [0, size). Never overflows.
constexpr bool RangeFits(uint64_t offset, uint64_t length, uint64_t size) {
  return offset <= size && length <= size - offset;
}

// `align` is a power of two; RoundUp wraps to 0 past the last multiple.
constexpr uint64_t RoundDown(uint64_t v, uint64_t align) { return v & ~(align - 1); }
constexpr uint64_t RoundUp(uint64_t v, uint64_t align) { return (v + align - 1) & ~(align - 1); }
constexpr uint64_t DivRoundUp(uint64_t v, uint64_t by) { return v / by + (v % by != 0); }

}  // namespace atl

#endif  // LIB_BASE_CHECKED_H_
