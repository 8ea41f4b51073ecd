// SPDX-License-Identifier: Apache-2.0
#include "lib/char/output_buffer.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace atl::chr {

void OutputBuffer::Write(std::span<const uint8_t> bytes) {
  bool begins_to_wait;
  {
    MutexLock lock(&mu_);
    begins_to_wait = pending_.empty();
    const size_t n = std::min(bytes.size(), kCapacity - pending_.size());
    pending_.insert(pending_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
    // A full batch is written here, so that a guest is as slow as its reader.
    if (!later_ || stalled_ || pending_.size() >= kBatch) Flush(stalled_ ? 0 : kPatienceMs);
    begins_to_wait = begins_to_wait && !pending_.empty();
  }
  if (later_ && begins_to_wait) later_();
}

void OutputBuffer::SetLater(std::function<void()> later) {
  later_ = std::move(later);
  FlushReady();
}

bool OutputBuffer::FlushReady() {
  // A writer who waits for the reader holds the lock; this must not wait for him.
  if (!mu_.TryLock()) return false;
  const bool was_stalled = stalled_;
  Flush(0);
  // That the reader is behind now does not mean that he has stopped.
  stalled_ = stalled_ && was_stalled;
  const bool done = pending_.empty();
  mu_.Unlock();
  return done;
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
