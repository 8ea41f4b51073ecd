// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/deflate_stream.h"

#include <zlib.h>

#include <algorithm>
#include <new>

namespace atl::rfb {

DeflateStream::DeflateStream() = default;

DeflateStream::~DeflateStream() {
  if (stream_ != nullptr) deflateEnd(stream_.get());
}

void DeflateStream::Restart() {
  begun_ = true;
  if (stream_ != nullptr) deflateReset(stream_.get());
}

void DeflateStream::Compress(std::span<const uint8_t> bytes, int level, bool noise, Output* out) {
  const int strategy = noise ? Z_HUFFMAN_ONLY : Z_DEFAULT_STRATEGY;
  if (stream_ == nullptr) {
    auto stream = std::make_unique<z_stream>();
    *stream = {};
    // Memory is all that can be missing here.
    // Without a header, so that streams can be put together.
    if (deflateInit2(stream.get(), level, Z_DEFLATED, -MAX_WBITS, MAX_MEM_LEVEL, strategy) !=
        Z_OK) {
      throw std::bad_alloc();
    }
    stream_ = std::move(stream);
    level_ = level;
    noise_ = noise;
  }
  if (!begun_) {
    // RFC 1950: deflate, a window of 32 KiB.
    out->U8(0x78);
    out->U8(0x01);
    begun_ = true;
  }
  // What the flush at the end and a change of the parameters add at most.
  constexpr size_t kSlack = 64;
  const size_t room = deflateBound(stream_.get(), bytes.size()) + kSlack;
  const size_t before = out->size();
  stream_->next_out = out->Grow(room);
  stream_->avail_out = static_cast<uInt>(room);
  stream_->next_in = const_cast<Bytef*>(bytes.data());
  stream_->avail_in = 0;
  if (level != level_ || noise != noise_) {
    deflateParams(stream_.get(), level, strategy);
    level_ = level;
    noise_ = noise;
  }
  stream_->avail_in = static_cast<uInt>(bytes.size());
  while (deflate(stream_.get(), Z_SYNC_FLUSH) == Z_OK && stream_->avail_out == 0) {
    // The bound is zlib's own, so this is for safety's sake.
    const size_t done = out->size();
    stream_->next_out = out->Grow(room);
    stream_->avail_out = static_cast<uInt>(room);
    out->Truncate(done + room);
  }
  out->Truncate(std::max(before, out->size() - stream_->avail_out));
}

}  // namespace atl::rfb
