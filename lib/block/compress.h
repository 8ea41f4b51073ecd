// SPDX-License-Identifier: Apache-2.0
// The packed form of a cluster: a raw deflate stream (RFC 1951) or one zstd
// frame (RFC 8878). Any thread; contexts are kept per thread.
#ifndef LIB_BLOCK_COMPRESS_H_
#define LIB_BLOCK_COMPRESS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace atl::block {

enum class Compression : uint8_t { kDeflate = 0, kZstd = 1 };

// Nothing where the result would not be smaller than `from`.
std::optional<std::vector<uint8_t>> Pack(Compression how, std::span<const uint8_t> from);

// Fills `to`. Bytes behind the stream's end are ignored, as is what the stream
// holds more than `to`; one that holds less, or is broken, is DataLoss. Time and
// memory are bounded by the sizes of `from` and `to`.
absl::Status Unpack(Compression how, std::span<const uint8_t> from, std::span<uint8_t> to);

}  // namespace atl::block

#endif  // LIB_BLOCK_COMPRESS_H_
