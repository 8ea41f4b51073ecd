// SPDX-License-Identifier: Apache-2.0
// Disk I/O on guest memory in place: a device gathers the pieces that a request
// names, with its lock held, and the background reads or writes them.
#ifndef LIB_WORK_GUEST_IO_H_
#define LIB_WORK_GUEST_IO_H_

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "lib/block/disk.h"
#include "lib/mem/address.h"
#include "lib/mem/guest_memory.h"

namespace atl::work {

class GuestPieces {
 public:
  // Adds [at, at + size), joined to the last piece where it continues it. False,
  // and nothing added, where it is not RAM.
  bool Append(GuestMemory& memory, Gpa at, uint64_t size);

  uint64_t bytes() const { return bytes_; }
  // For readv and writev. After reading: MarkWritten().
  std::vector<iovec> vectors() const;
  void MarkWritten(GuestMemory& memory) const;
  bool empty() const { return pieces_.empty(); }

  // On any thread. Small pieces are gathered on the way, so that the disk is
  // called once for many; large ones are read and written in place. After an
  // error part of the bytes may have been transferred.
  absl::Status ReadFrom(block::Disk& disk, uint64_t offset, GuestMemory& memory) const;
  absl::Status WriteTo(block::Disk& disk, uint64_t offset) const;

 private:
  struct Piece {
    Gpa at;
    std::span<uint8_t> host;
  };
  bool InPlace() const;
  absl::Status ReadAll(block::Disk& disk, uint64_t offset) const;

  std::vector<Piece> pieces_;
  uint64_t bytes_ = 0;
};

}  // namespace atl::work

#endif  // LIB_WORK_GUEST_IO_H_
