// SPDX-License-Identifier: Apache-2.0
// Integers of a fixed byte order and no alignment, for the layouts of foreign
// bytes: file headers, descriptors, tables. A layout is a struct of these with
// static_asserts on its size and offsets; it is copied in and out with memcpy
// or ReadAt(), never reached by a cast of guest memory.
#ifndef LIB_BASE_ENDIAN_H_
#define LIB_BASE_ENDIAN_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace atl {

static_assert(std::endian::native == std::endian::little, "atoll runs on x86-64");

template <typename T>
constexpr T ByteSwap(T v) {
  if constexpr (sizeof(T) == 1) return v;
  if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(v));
  if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(v));
  if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(v));
}

template <typename T, bool kBig>
class EndianInt {
 public:
  EndianInt() = default;
  constexpr EndianInt(T v) : bytes_{} { Set(v); }  // NOLINT: meant to be implicit
  constexpr operator T() const {                   // NOLINT: meant to be implicit
    T v = 0;
    for (unsigned i = 0; i < sizeof(T); ++i)
      v = static_cast<T>(v | static_cast<T>(static_cast<T>(bytes_[i]) << Shift(i)));
    return v;
  }
  constexpr EndianInt& operator=(T v) {
    Set(v);
    return *this;
  }

 private:
  static constexpr unsigned Shift(unsigned i) { return 8 * (kBig ? sizeof(T) - 1 - i : i); }
  constexpr void Set(T v) {
    for (unsigned i = 0; i < sizeof(T); ++i) bytes_[i] = static_cast<uint8_t>(v >> Shift(i));
  }
  uint8_t bytes_[sizeof(T)];
};

using be16 = EndianInt<uint16_t, true>;
using be32 = EndianInt<uint32_t, true>;
using be64 = EndianInt<uint64_t, true>;
using le16 = EndianInt<uint16_t, false>;
using le32 = EndianInt<uint32_t, false>;
using le64 = EndianInt<uint64_t, false>;
static_assert(sizeof(be64) == 8 && alignof(be64) == 1 && std::is_trivially_copyable_v<be64>);

// Little-endian load and store at any address; `p` must have sizeof(T) bytes.
template <typename T>
T LoadLe(const void* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <typename T>
void StoreLe(void* p, T v) {
  std::memcpy(p, &v, sizeof v);
}
template <typename T>
T LoadBe(const void* p) {
  return ByteSwap(LoadLe<T>(p));
}
template <typename T>
void StoreBe(void* p, T v) {
  StoreLe(p, ByteSwap(v));
}

}  // namespace atl

#endif  // LIB_BASE_ENDIAN_H_
