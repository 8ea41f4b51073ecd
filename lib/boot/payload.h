// SPDX-License-Identifier: Apache-2.0
// The compressed kernel inside a bzImage, decompressed here instead of in the
// guest: on a software CPU that is most of the time to the first line of boot.
#ifndef LIB_BOOT_PAYLOAD_H_
#define LIB_BOOT_PAYLOAD_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::boot {

// Bytes whose pages the host gives only as they are written, so that a hostile
// size costs nothing; huge ones where it can, since for a kernel's size the page
// faults would take as long as the rest.
class LazyBytes {
 public:
  LazyBytes() = default;
  // size() is 0 where there is no memory for it.
  explicit LazyBytes(uint64_t size);
  std::span<uint8_t> span() { return {data_.get(), size_}; }
  std::span<const uint8_t> span() const { return {data_.get(), size_}; }
  uint64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  std::unique_ptr<uint8_t, Free> data_;
  uint64_t size_ = 0;
};

// A decompressed kernel is at most this large.
inline constexpr uint64_t kMaxKernelBytes = uint64_t{512} << 20;

// "gzip", "xz", "zstd" or "lz4" by the first bytes, else empty.
absl::string_view PayloadFormat(std::span<const uint8_t> payload);

// `payload` is the bzImage's payload, whose last four bytes are the size of
// what comes out (Documentation/x86/boot.rst, payload_offset). Unimplemented:
// none of the formats above (bzip2, lzma, lzo, or no compressed kernel at all).
absl::StatusOr<LazyBytes> DecompressPayload(std::span<const uint8_t> payload);

// The decoder of one LZ4 block (lz4 block format): the number of bytes it gave
// into `to`, or -1 where the block is damaged or `to` too small. Matches may reach
// back `window` bytes before `to`.
int64_t DecodeLz4Block(std::span<const uint8_t> block, std::span<uint8_t> to, uint64_t window);

}  // namespace atl::boot

#endif  // LIB_BOOT_PAYLOAD_H_
