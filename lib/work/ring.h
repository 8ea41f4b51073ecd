// SPDX-License-Identifier: Apache-2.0
// Disk I/O by io_uring: reads and writes of files at offsets, from and to many pieces of
// memory, with no thread of ours that waits for them. What the page cache has is done when
// Submit() returns.
//
// The ring can do that and nothing else: it is made with restrictions (Linux 5.10) that
// leave vectored reads and writes, so that it gives no way round a seccomp filter.
//
// Thread rule: with the device's lock held, but for Create(), fd() and the destructor.
#ifndef LIB_WORK_RING_H_
#define LIB_WORK_RING_H_

#include <liburing.h>
#include <sys/uio.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace atl::work {

class Ring {
 public:
  static constexpr size_t kMaxPieces = 1024;  // IOV_MAX

  // Null where the kernel has no io_uring or does not let us.
  static std::unique_ptr<Ring> Create(unsigned entries);
  ~Ring();  // Cancel()s
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Readable while something is to be reaped.
  int fd() const { return ring_.ring_fd; }

  // `done` gets the bytes transferred, which may be fewer, or a negative errno. The
  // pieces' memory and `fd` stay until then. False, and nothing done, where `entries` are
  // under way or there are too many pieces.
  bool Add(bool write, int fd, uint64_t offset, std::vector<iovec> pieces,
           std::function<void(int64_t result)> done);
  void Submit();
  // Calls `done` of what has ended; those may Add().
  void Reap();
  // Waits until nothing is under way, and calls no `done`.
  void Cancel();

  unsigned under_way() const { return under_way_; }
  // To ask it for what it refuses.
  io_uring* raw_for_test() { return &ring_; }

 private:
  struct Transfer {
    std::vector<iovec> pieces;
    std::function<void(int64_t)> done;
  };
  Ring() = default;

  io_uring ring_{};
  unsigned entries_ = 0;
  unsigned under_way_ = 0;
  unsigned prepared_ = 0;  // of those, not submitted
};

}  // namespace atl::work

#endif  // LIB_WORK_RING_H_
