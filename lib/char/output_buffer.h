// SPDX-License-Identifier: Apache-2.0
// Writes to an fd whose reader may be slow or gone. While the reader is slow,
// the writer waits for it a little; once it has stopped reading, bytes gather up
// to a bound and then are dropped, and nothing waits until it reads again. The
// fd's flags are not changed: they are shared with whoever gave it to us.
//
// A guest's serial port gives a byte at a time, and a system call for each would
// be a good part of a boot. So bytes can be made to wait a moment for more: see
// SetLater(). Calls from any thread.
#ifndef LIB_CHAR_OUTPUT_BUFFER_H_
#define LIB_CHAR_OUTPUT_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "lib/base/mutex.h"

namespace atl::chr {

class OutputBuffer {
 public:
  static constexpr size_t kCapacity = 256 * 1024;
  static constexpr int kPatienceMs = 500;

  explicit OutputBuffer(int fd) : fd_(fd) {}
  ~OutputBuffer() {
    MutexLock lock(&mu_);
    Flush(kPatienceMs);
  }
  OutputBuffer(const OutputBuffer&) = delete;
  OutputBuffer& operator=(const OutputBuffer&) = delete;

  void Write(std::span<const uint8_t> bytes);

  // From now on, what Write() is given may wait, up to kBatch bytes: `later` is
  // called on the writer's thread when something begins to, and FlushReady() must
  // follow soon. Null: nothing waits. Not while another thread writes.
  static constexpr size_t kBatch = 1024;
  void SetLater(std::function<void()> later);
  // Writes what the reader takes without waiting. False where something is left:
  // to be called again.
  bool FlushReady();

 private:
  void Flush(int wait_ms) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int fd_;
  std::function<void()> later_;
  Mutex mu_;
  bool stalled_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<uint8_t> pending_ ABSL_GUARDED_BY(mu_);
};

}  // namespace atl::chr

#endif  // LIB_CHAR_OUTPUT_BUFFER_H_
