// SPDX-License-Identifier: Apache-2.0
// A viewer that sees nothing: asks a server for updates and reads them without
// decoding what is in them, to measure servers, ours and those of others. Version
// 3.8 (or 3.7) without security, 32 bits a pixel.
//
// The server is not believed: nothing is kept of what it sends, and every error is
// a Status.
#ifndef LIB_RFB_SKIMMER_H_
#define LIB_RFB_SKIMMER_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace atl::rfb {

// The way to a server; each call does all or fails.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  virtual absl::Status Read(std::span<uint8_t> bytes) = 0;
  virtual absl::Status Write(std::span<const uint8_t> bytes) = 0;
};

class Skimmer {
 public:
  // `stream` outlives it.
  explicit Skimmer(ByteStream* stream) : stream_(*stream) {}

  absl::Status Enter();
  absl::Status SetEncodings(std::span<const int32_t> encodings);
  // Asks for the whole picture.
  absl::Status Ask(bool incremental);
  // Reads up to the end of the next update: Raw, CopyRect, RRE, Hextile, zlib, ZRLE,
  // Tight; DesktopSize and LastRect.
  absl::Status Update();

  unsigned width() const { return width_; }
  unsigned height() const { return height_; }
  uint64_t bytes() const { return bytes_; }  // read so far

 private:
  absl::Status Read(std::span<uint8_t> bytes);
  absl::StatusOr<uint32_t> Number(size_t size);
  absl::Status Skip(uint64_t count);
  absl::Status SkipCounted();
  absl::StatusOr<bool> Rectangle();
  absl::Status Tight(uint64_t width, uint64_t height);
  absl::Status Hextile(unsigned width, unsigned height);

  ByteStream& stream_;
  unsigned width_ = 0, height_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_SKIMMER_H_
