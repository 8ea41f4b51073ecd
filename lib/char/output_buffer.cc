// SPDX-License-Identifier: Apache-2.0
#include "lib/char/output_buffer.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace atl::chr {

void OutputBuffer::Write(std::span<const uint8_t> bytes) {
  const size_t n = std::min(bytes.size(), kCapacity - pending_.size());
  pending_.insert(pending_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
  Flush(stalled_ ? 0 : kPatienceMs);
}

void OutputBuffer::Flush(int wait_ms) {
  size_t done = 0;
  while (done < pending_.size()) {
    pollfd p{fd_, POLLOUT, 0};
    const int ready = poll(&p, 1, wait_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      stalled_ = true;
      break;
    }
    // A writable pipe takes this much without blocking.
    const ssize_t n =
        write(fd_, pending_.data() + done, std::min<size_t>(pending_.size() - done, PIPE_BUF));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      stalled_ = true;
      break;
    }
    if (n < 0) {  // nobody will ever read it
      done = pending_.size();
      break;
    }
    stalled_ = false;
    done += static_cast<size_t>(n);
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(done));
}

}  // namespace atl::chr
