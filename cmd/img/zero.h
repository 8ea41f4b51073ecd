// SPDX-License-Identifier: Apache-2.0
#ifndef CMD_IMG_ZERO_H_
#define CMD_IMG_ZERO_H_

#include <cstdint>
#include <cstring>
#include <span>

namespace atl::img {

// Whether all bytes are zero. Reads no further than the first 16 bytes where
// those are not.
inline bool AllZero(std::span<const uint8_t> bytes) {
  const size_t head = bytes.size() < 16 ? bytes.size() : 16;
  for (size_t i = 0; i < head; ++i) {
    if (bytes[i] != 0) return false;
  }
  // The rest equals itself moved by 16 bytes: libc's memcmp is as fast as
  // memory is.
  return bytes.size() <= 16 || std::memcmp(bytes.data(), bytes.data() + 16, bytes.size() - 16) == 0;
}

}  // namespace atl::img

#endif  // CMD_IMG_ZERO_H_
