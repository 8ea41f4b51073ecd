// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/stream_link.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/bytes_reader.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"

namespace atl::usernet {
namespace {

// virtio 1.2, 5.1.6.
struct VnetHeader {
  uint8_t flags;  // 1: needs a checksum, 2: the checksum is right
  uint8_t gso;    // 0 none, 1 TCPv4, 4 TCPv6
  le16 header_size;
  le16 segment_size;
  le16 checksum_start;
  le16 checksum_offset;
  le16 buffers;
};
static_assert(sizeof(VnetHeader) == 12);
constexpr uint8_t kNeedsChecksum = 1;
constexpr uint8_t kGsoTcp4 = 1;
constexpr uint8_t kGsoTcp6 = 4;
constexpr uint8_t kGsoEcn = 0x80;

// In the flags of a header without a frame.
constexpr uint8_t kTakesChecksum = 1;
constexpr uint8_t kTakesTcp4 = 2;
constexpr uint8_t kTakesTcp6 = 4;

constexpr size_t kLengthSize = 4;
constexpr int kSocketBuffer = 4 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<StreamLink>> StreamLink::Create(host::EventLoop* loop, UniqueFd fd,
                                                               bool vnet_header,
                                                               LinkHandler* handler) {
  const int flags = fcntl(fd.get(), F_GETFL);
  if (flags < 0 || fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return ErrnoError(errno, "a guest's socket");
  }
  // As much as the host allows: the more fits, the fewer turns.
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &kSocketBuffer, sizeof kSocketBuffer);
  std::unique_ptr<StreamLink> link(new StreamLink(std::move(fd), vnet_header, handler));
  StreamLink* const raw = link.get();
  ASSIGN_OR_RETURN(link->watch_, loop->Watch(link->fd_.get(), EPOLLIN,
                                             [raw](uint32_t events) { raw->Ready(events); }));
  return link;
}

StreamLink::StreamLink(UniqueFd fd, bool vnet_header, LinkHandler* handler)
    : fd_(std::move(fd)),
      vnet_header_(vnet_header),
      handler_(handler),
      read_(new uint8_t[kReadBuffer]) {}

void StreamLink::Ready(uint32_t events) {
  if (events & EPOLLOUT) {
    DrainPending();
    if (!closed_ && pending_.empty()) {
      watch_->SetEvents(EPOLLIN);
      handler_->LinkReady(this);
    }
  }
  if (closed_ || (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
    if (closed_ || !ReadFrames()) handler_->LinkClosed(this);  // `this` may be gone
  }
}

bool StreamLink::ReadFrames() {
  for (int turn = 0; turn < kReadsPerTurn; ++turn) {
    const size_t room = kReadBuffer - read_used_;
    const ssize_t n = recv(fd_.get(), read_.get() + read_used_, room, 0);
    if (n == 0) return false;
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    read_used_ += static_cast<size_t>(n);
    const bool sound = Parse();
    if (!sound || closed_) return false;
    if (static_cast<size_t>(n) < room / 2) return true;
  }
  return true;
}

// Frames in the buffer go to the handler; what is left of one moves to its head.
bool StreamLink::Parse() {
  const size_t extra = vnet_header_ ? sizeof(VnetHeader) : 0;
  size_t at = 0;
  bool sound = true;
  while (read_used_ - at >= kLengthSize) {
    const size_t length = LoadBe<uint32_t>(read_.get() + at);
    if (length > extra + kMaxFrame) {
      sound = false;  // there is no way to find the next frame
      break;
    }
    if (read_used_ - at - kLengthSize < length) break;
    const std::span<const uint8_t> bytes(read_.get() + at + kLengthSize, length);
    at += kLengthSize + length;
    if (vnet_header_ && length == sizeof(VnetHeader)) {
      const uint8_t told = bytes[0];
      offloads_.checksum = told & kTakesChecksum;
      offloads_.tcp4 = offloads_.checksum && (told & kTakesTcp4) != 0;
      offloads_.tcp6 = offloads_.checksum && (told & kTakesTcp6) != 0;
    }
    if (length < extra + kEthernetSize) continue;
    FrameWork work;
    if (vnet_header_) {
      const VnetHeader h = *ReadAt<VnetHeader>(bytes, 0);
      const uint8_t gso = h.gso & static_cast<uint8_t>(~kGsoEcn);
      work.needs_checksum = h.flags & kNeedsChecksum;
      work.checksum_start = h.checksum_start;
      work.checksum_offset = h.checksum_offset;
      if (gso == kGsoTcp4 || gso == kGsoTcp6) {
        work.segment_size = h.segment_size;
        work.header_size = h.header_size;
        work.ipv6 = gso == kGsoTcp6;
      } else if (gso != 0) {
        continue;  // not offered
      }
    }
    handler_->LinkFrame(this, bytes.subspan(extra), work);
  }
  if (at != 0) {
    // Only now may the frames' bytes change.
    handler_->LinkBatchEnd(this);
    memmove(read_.get(), read_.get() + at, read_used_ - at);
    read_used_ -= at;
  }
  return sound;
}

void StreamLink::Send(const OutFrame& frame) {
  if (closed_) return;
  const FrameWork& w = frame.work;
  if (w.needs_checksum && !offloads_.checksum) return;
  if (w.segment_size != 0 && !(w.ipv6 ? offloads_.tcp6 : offloads_.tcp4)) return;
  const size_t extra = vnet_header_ ? sizeof(VnetHeader) : 0;
  size_t size = frame.header.size();
  for (const iovec& part : frame.payload) size += part.iov_len;
  const size_t head = kLengthSize + extra + frame.header.size();
  if (head > kHeaderRoom || frame.payload.size() > kPieces || size > kMaxFrame) return;
  if (batch_frames_ == kBatchFrames || batch_bytes_ + size > kBatchBytes) Flush();
  if (closed_ || pending_.size() - pending_at_ + batch_bytes_ + size > kMaxPending) return;

  uint8_t* const to = headers_[batch_frames_++].data();
  StoreBe(to, static_cast<uint32_t>(extra + size));
  if (vnet_header_) {
    VnetHeader h{};
    h.flags = w.needs_checksum ? kNeedsChecksum : 0;
    h.gso = w.segment_size == 0 ? 0 : w.ipv6 ? kGsoTcp6 : kGsoTcp4;
    h.header_size = w.header_size;
    h.segment_size = w.segment_size;
    h.checksum_start = w.checksum_start;
    h.checksum_offset = w.checksum_offset;
    h.buffers = 1;
    memcpy(to + kLengthSize, &h, sizeof h);
  }
  memcpy(to + kLengthSize + extra, frame.header.data(), frame.header.size());
  batch_[batch_pieces_++] = {to, head};
  for (const iovec& part : frame.payload) {
    if (part.iov_len != 0) batch_[batch_pieces_++] = part;
  }
  batch_bytes_ += kLengthSize + extra + size;
}

void StreamLink::Flush() {
  if (batch_frames_ == 0) return;
  size_t sent = 0;
  if (!closed_ && pending_.empty()) {
    msghdr message{};
    message.msg_iov = batch_.data();
    message.msg_iovlen = batch_pieces_;
    ssize_t n;
    do {
      n = sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
      sent = static_cast<size_t>(n);
    } else if (errno != EAGAIN) {
      closed_ = true;  // told when reading finds it, too
    }
  }
  if (!closed_ && sent < batch_bytes_) {
    size_t skip = sent;
    for (size_t i = 0; i < batch_pieces_; ++i) {
      const iovec& part = batch_[i];
      const size_t gone = std::min(skip, part.iov_len);
      skip -= gone;
      const uint8_t* const from = static_cast<const uint8_t*>(part.iov_base);
      pending_.insert(pending_.end(), from + gone, from + part.iov_len);
    }
    watch_->SetEvents(EPOLLIN | EPOLLOUT);
  }
  batch_frames_ = batch_pieces_ = batch_bytes_ = 0;
}

void StreamLink::DrainPending() {
  while (pending_at_ < pending_.size()) {
    const ssize_t n = send(fd_.get(), pending_.data() + pending_at_, pending_.size() - pending_at_,
                           MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      closed_ = errno != EAGAIN;
      // What has gone takes no memory, though something may always be left.
      pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(pending_at_));
      pending_at_ = 0;
      return;
    }
    pending_at_ += static_cast<size_t>(n);
  }
  pending_.clear();
  pending_at_ = 0;
}

}  // namespace atl::usernet
