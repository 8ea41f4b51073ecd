// SPDX-License-Identifier: Apache-2.0
// Writes to an fd whose reader may be slow or gone. While the reader is slow,
// the writer waits for it a little; once it has stopped reading, bytes gather up
// to a bound and then are dropped, and nothing waits until it reads again. The
// fd's flags are not changed: they are shared with whoever gave it to us.
#ifndef LIB_CHAR_OUTPUT_BUFFER_H_
#define LIB_CHAR_OUTPUT_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace atl::chr {

class OutputBuffer {
 public:
  static constexpr size_t kCapacity = 256 * 1024;
  static constexpr int kPatienceMs = 500;

  explicit OutputBuffer(int fd) : fd_(fd) {}
  ~OutputBuffer() { Flush(kPatienceMs); }
  OutputBuffer(const OutputBuffer&) = delete;
  OutputBuffer& operator=(const OutputBuffer&) = delete;

  void Write(std::span<const uint8_t> bytes);

 private:
  void Flush(int wait_ms);

  const int fd_;
  bool stalled_ = false;
  std::vector<uint8_t> pending_;
};

}  // namespace atl::chr

#endif  // LIB_CHAR_OUTPUT_BUFFER_H_
