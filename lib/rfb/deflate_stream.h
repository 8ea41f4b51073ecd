// SPDX-License-Identifier: Apache-2.0
// A zlib stream that goes on from rectangle to rectangle.
#ifndef LIB_RFB_DEFLATE_STREAM_H_
#define LIB_RFB_DEFLATE_STREAM_H_

#include <cstdint>
#include <memory>
#include <span>

#include "lib/rfb/output.h"

struct z_stream_s;

namespace atl::rfb {

class DeflateStream {
 public:
  DeflateStream();
  ~DeflateStream();

  // Appends what the viewer needs to have all of `bytes`. `level` 0 to 9; `noise`
  // where strings that repeat are not to be expected: only the frequencies of
  // bytes are used then, which takes a fraction of the time.
  void Compress(std::span<const uint8_t> bytes, int level, bool noise, Output* out);
  // What follows refers to nothing before: others write to the viewer's stream
  // between these pieces, and its beginning is another's.
  void Restart();

 private:
  bool begun_ = false;  // the viewer has the stream's header
  std::unique_ptr<z_stream_s> stream_;
  int level_ = -2;
  bool noise_ = false;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_DEFLATE_STREAM_H_
