// SPDX-License-Identifier: Apache-2.0
// A guest at the other end of a stream socket: QEMU's stream protocol (a be32
// length before each frame), with or without a virtio_net_hdr_v1 before the frame. With
// it, a record of nothing but the header tells what may be left to the guest from now on:
// bits of its flags, 1 checksums, 2 segmentation of TCP over IPv4, 4 over IPv6; nothing at
// first. What a guest leaves to us, it may at any time.
#ifndef LIB_USERNET_STREAM_LINK_H_
#define LIB_USERNET_STREAM_LINK_H_

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/link.h"

namespace atl::usernet {

class StreamLink final : public Link {
 public:
  // `fd` becomes nonblocking.
  static absl::StatusOr<std::unique_ptr<StreamLink>> Create(host::EventLoop* loop, UniqueFd fd,
                                                            bool vnet_header, LinkHandler* handler);

  void Send(const OutFrame& frame) override;
  void Flush() override;
  bool Full() const override { return !pending_.empty(); }
  LinkOffloads offloads() const override { return offloads_; }

 private:
  // Frames that go out by one system call.
  static constexpr size_t kBatchFrames = 64;
  static constexpr size_t kBatchBytes = 512 * 1024;
  static constexpr size_t kHeaderRoom = 160;
  static constexpr size_t kPieces = 4;
  // What a guest that does not read makes us keep: a batch, and small frames.
  static constexpr size_t kMaxPending = 1024 * 1024;
  static constexpr size_t kReadBuffer = 512 * 1024;
  static constexpr int kReadsPerTurn = 4;

  StreamLink(UniqueFd fd, bool vnet_header, LinkHandler* handler);
  void Ready(uint32_t events);
  bool ReadFrames();  // false: closed
  bool Parse();
  void DrainPending();

  const UniqueFd fd_;
  const bool vnet_header_;
  LinkHandler* const handler_;
  std::unique_ptr<host::FdWatch> watch_;
  bool closed_ = false;
  LinkOffloads offloads_;

  std::unique_ptr<uint8_t[]> read_;
  size_t read_used_ = 0;

  std::array<std::array<uint8_t, kHeaderRoom>, kBatchFrames> headers_;
  std::array<iovec, kBatchFrames*(1 + kPieces)> batch_;
  size_t batch_frames_ = 0;
  size_t batch_pieces_ = 0;
  size_t batch_bytes_ = 0;

  std::vector<uint8_t> pending_;  // what the socket did not take, from pending_at_ on
  size_t pending_at_ = 0;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_STREAM_LINK_H_
