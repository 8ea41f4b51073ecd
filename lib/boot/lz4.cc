// SPDX-License-Identifier: Apache-2.0
// LZ4's block format: sequences of literals and matches. A sequence is a token
// (literal length in the high half, match length less 4 in the low one, 15 goes
// on in bytes of up to 255), the literals, a 16-bit distance, and the match.
// The last sequence ends after its literals.
#include <cstring>

#include "lib/base/endian.h"
#include "lib/boot/payload.h"

namespace atl::boot {
namespace {

constexpr unsigned kLengthGoesOn = 15;
constexpr unsigned kMinMatch = 4;

// Adds the bytes that continue a length. False at the block's end. Lengths
// cannot overflow: each byte adds at most 255.
bool ReadLength(const uint8_t*& in, const uint8_t* end, uint64_t& length) {
  if (length < kLengthGoesOn) return true;
  uint8_t more;
  do {
    if (in == end) return false;
    more = *in++;
    length += more;
  } while (more == 255);
  return true;
}

}  // namespace

int64_t DecodeLz4Block(std::span<const uint8_t> block, std::span<uint8_t> to, uint64_t window) {
  const uint8_t* in = block.data();
  const uint8_t* const end = in + block.size();
  uint8_t* out = to.data();
  uint8_t* const out_end = out + to.size();
  while (in != end) {
    const uint8_t token = *in++;
    uint64_t literals = token >> 4;
    if (!ReadLength(in, end, literals)) return -1;
    if (literals > static_cast<uint64_t>(end - in) ||
        literals > static_cast<uint64_t>(out_end - out))
      return -1;
    std::memcpy(out, in, literals);
    in += literals;
    out += literals;
    if (in == end) break;

    if (end - in < 2) return -1;
    const uint64_t distance = LoadLe<uint16_t>(in);
    in += 2;
    uint64_t length = token & 15;
    if (!ReadLength(in, end, length)) return -1;
    length += kMinMatch;
    const uint64_t behind = window + static_cast<uint64_t>(out - to.data());
    if (distance == 0 || distance > behind || length > static_cast<uint64_t>(out_end - out))
      return -1;
    const uint8_t* from = out - distance;
    if (distance >= length) {
      std::memcpy(out, from, length);
      out += length;
    } else {
      // Source and target overlap: the match repeats what it has just written.
      for (; length > 0; --length) *out++ = *from++;
    }
  }
  return out - to.data();
}

}  // namespace atl::boot
