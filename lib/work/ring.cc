// SPDX-License-Identifier: Apache-2.0
#include "lib/work/ring.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <iterator>
#include <utility>

namespace atl::work {
namespace {

// liburing 2.3 has functions for the two that are used, but its library exports neither.
long Register(int ring, unsigned what, const void* argument, unsigned count) {
  return syscall(SYS_io_uring_register, ring, what, argument, count);
}

}  // namespace

std::unique_ptr<Ring> Ring::Create(unsigned entries) {
  std::unique_ptr<Ring> out(new Ring);
  if (io_uring_queue_init(entries, &out->ring_, IORING_SETUP_R_DISABLED) != 0) {
    out->ring_.ring_fd = -1;
    return nullptr;
  }
  io_uring_restriction allowed[2] = {};
  allowed[0].opcode = allowed[1].opcode = IORING_RESTRICTION_SQE_OP;
  allowed[0].sqe_op = IORING_OP_READV;
  allowed[1].sqe_op = IORING_OP_WRITEV;
  if (Register(out->fd(), IORING_REGISTER_RESTRICTIONS, allowed, std::size(allowed)) != 0 ||
      Register(out->fd(), IORING_REGISTER_ENABLE_RINGS, nullptr, 0) != 0) {
    return nullptr;
  }
  out->entries_ = entries;
  return out;
}

Ring::~Ring() {
  if (ring_.ring_fd < 0) return;
  Cancel();
  io_uring_queue_exit(&ring_);
}

bool Ring::Add(bool write, int fd, uint64_t offset, std::vector<iovec> pieces,
               std::function<void(int64_t)> done) {
  if (under_way_ == entries_ || pieces.empty() || pieces.size() > kMaxPieces) return false;
  io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
  if (entry == nullptr) return false;
  auto transfer = std::make_unique<Transfer>(Transfer{std::move(pieces), std::move(done)});
  const auto count = static_cast<unsigned>(transfer->pieces.size());
  if (write) {
    io_uring_prep_writev(entry, fd, transfer->pieces.data(), count, offset);
  } else {
    io_uring_prep_readv(entry, fd, transfer->pieces.data(), count, offset);
  }
  io_uring_sqe_set_data(entry, transfer.release());
  ++under_way_;
  ++prepared_;
  return true;
}

void Ring::Submit() {
  // Interrupted, or the kernel short of memory for a moment: each call goes on from there.
  while (prepared_ != 0) {
    const int n = io_uring_submit(&ring_);
    if (n >= 0) {
      prepared_ -= static_cast<unsigned>(n);
    } else if (n != -EINTR && n != -EAGAIN && n != -EBUSY) {
      return;
    }
  }
}

void Ring::Reap() {
  io_uring_cqe* entry;
  while (under_way_ != prepared_ && io_uring_peek_cqe(&ring_, &entry) == 0) {
    const std::unique_ptr<Transfer> transfer(static_cast<Transfer*>(io_uring_cqe_get_data(entry)));
    const int64_t result = entry->res;
    io_uring_cqe_seen(&ring_, entry);
    --under_way_;
    transfer->done(result);
  }
}

void Ring::Cancel() {
  Submit();
  while (under_way_ != prepared_) {
    io_uring_cqe* entry;
    if (io_uring_wait_cqe(&ring_, &entry) != 0) continue;
    delete static_cast<Transfer*>(io_uring_cqe_get_data(entry));
    io_uring_cqe_seen(&ring_, entry);
    --under_way_;
  }
}

}  // namespace atl::work
