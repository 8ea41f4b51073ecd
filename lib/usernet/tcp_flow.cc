// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/tcp_flow.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/bytes_reader.h"
#include "lib/usernet/layout.h"

namespace atl::usernet {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kRetransmitNs = 300 * kMs;
constexpr uint64_t kSynNs = 1000 * kMs;
constexpr uint64_t kAskAgainNs = 200 * kMs;
constexpr uint64_t kConnectNs = 75'000 * kMs;
constexpr uint64_t kAnswerNs = 30'000 * kMs;
constexpr uint64_t kTimeWaitNs = 1000 * kMs;
constexpr uint64_t kKeepaliveNs = 600'000 * kMs;
constexpr uint64_t kKeepaliveProbeNs = 15'000 * kMs;
constexpr uint64_t kIdleNs = 1000 * kMs;
constexpr int kKeepaliveProbes = 5;
constexpr int kMaxBackoff = 6;
constexpr int kFramesPerTurn = 512;
// Below, segments are more header than payload: a guest that asks for them gets work
// done at its expense.
constexpr uint32_t kMinMss = 64;
constexpr uint8_t kOurScale = 5;
constexpr uint8_t kMaxScale = 14;

constexpr uint8_t kOptionEnd = 0, kOptionNop = 1, kOptionMss = 2, kOptionScale = 3;
constexpr uint8_t kOptionSelective = 4, kOptionPieces = 5;

// a < b, modulo 2^32.
bool Before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

void ResetOnClose(int fd) {
  const linger now = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

}  // namespace

std::optional<Segment> Segment::Parse(std::span<const uint8_t> bytes, uint16_t* from,
                                      uint16_t* to) {
  const std::optional<TcpHeader> h = ReadAt<TcpHeader>(bytes, 0);
  if (!h) return std::nullopt;
  const size_t head = (h->offset >> 4) * size_t{4};
  if (head < sizeof *h || head > bytes.size()) return std::nullopt;
  Segment out;
  *from = h->from;
  *to = h->to;
  out.sequence = h->sequence;
  out.acknowledgement = h->acknowledgement;
  out.window = h->window;
  out.flags = h->flags;
  out.payload = bytes.subspan(head);
  if (!(out.flags & kSyn)) return out;
  std::span<const uint8_t> options = bytes.subspan(sizeof *h, head - sizeof *h);
  while (!options.empty() && options[0] != kOptionEnd) {
    if (options[0] == kOptionNop) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < 2 || options[1] < 2 || options[1] > options.size()) break;
    if (options[0] == kOptionMss && options[1] == 4) out.mss = LoadBe<uint16_t>(&options[2]);
    if (options[0] == kOptionScale && options[1] == 3) out.window_scale = options[2];
    if (options[0] == kOptionSelective && options[1] == 2) out.selective = true;
    options = options.subspan(options[1]);
  }
  return out;
}

void SendReset(Wire* wire, const Endpoint& guest, const Endpoint& remote, const Segment& cause) {
  if (cause.flags & kRst) return;
  TcpHeader h{};
  h.from = remote.port;
  h.to = guest.port;
  h.offset = sizeof h / 4 << 4;
  h.flags = kRst;
  if (cause.flags & kAck) {
    h.sequence = cause.acknowledgement;
  } else {
    h.flags |= kAck;
    h.acknowledgement = cause.sequence + static_cast<uint32_t>(cause.payload.size()) +
                        ((cause.flags & kSyn) != 0 ? 1 : 0) + ((cause.flags & kFin) != 0 ? 1 : 0);
  }
  Packet packet;
  packet.from = remote.address;
  packet.to = guest.address;
  packet.protocol = kTcp;
  packet.header = {reinterpret_cast<const uint8_t*>(&h), sizeof h};
  packet.checksum_at = offsetof(TcpHeader, checksum);
  wire->Send(packet);
}

TcpFlow::TcpFlow(Wire* wire, MemoryBudget* budget, const Endpoint& guest, const Endpoint& remote,
                 uint32_t mtu, uint32_t initial_sequence)
    : wire_(wire),
      guest_(guest),
      remote_(remote),
      mtu_(mtu),
      to_guest_(budget),
      initial_(initial_sequence),
      una_(initial_sequence),
      next_(initial_sequence + 1),
      highest_(initial_sequence + 1),
      mss_(guest.address.is4() ? 536 : 1220),
      to_host_(budget) {}

const char* TcpFlow::state_name() const {
  switch (state_) {
    case State::kConnecting:
      return "connecting";
    case State::kSynReceived:
    case State::kSynSent:
      return "opening";
    case State::kOpen:
      return guest_fin_ || fin_sent_ ? "closing" : "open";
    case State::kTimeWait:
    case State::kDone:
      break;
  }
  return "closed";
}

void TcpFlow::StartFromGuest(const Segment& syn, UniqueFd socket) {
  socket_ = std::move(socket);
  state_ = State::kConnecting;
  receive_next_ = window_edge_ = syn.sequence + 1;
  TakeSynOptions(syn);
}

void TcpFlow::StartFromHost(UniqueFd socket) {
  socket_ = std::move(socket);
  state_ = State::kSynSent;
  scaling_ = selective_ = true;
}

void TcpFlow::TakeSynOptions(const Segment& s) {
  if (s.mss) mss_ = std::max<uint32_t>(*s.mss, kMinMss);
  scaling_ = s.window_scale.has_value();
  guest_scale_ = std::min(s.window_scale.value_or(0), kMaxScale);
  our_scale_ = scaling_ ? kOurScale : 0;
  selective_ = s.selective;
  guest_window_ = largest_window_ = s.window;  // never scaled in a SYN
}

void TcpFlow::SocketReady(uint32_t events) {
  if (events & EPOLLOUT) writable_ = true;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) readable_ = true;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) ending_ = true;
}

void TcpFlow::Done() {
  state_ = State::kDone;
  watch.reset();
  socket_.reset();
  gather_count_ = gathered_ = 0;
}

void TcpFlow::Abort() {
  if (state_ == State::kDone) return;
  if (socket_.valid()) ResetOnClose(socket_.get());
  HostFailed();
}

void TcpFlow::HostFailed() {
  if (state_ == State::kDone) return;
  TcpHeader h{};
  h.from = remote_.port;
  h.to = guest_.port;
  h.offset = sizeof h / 4 << 4;
  h.flags = kRst | kAck;
  h.acknowledgement = receive_next_;
  if (state_ != State::kConnecting) h.sequence = next_;
  Packet packet;
  packet.from = remote_.address;
  packet.to = guest_.address;
  packet.protocol = kTcp;
  packet.header = {reinterpret_cast<const uint8_t*>(&h), sizeof h};
  packet.checksum_at = offsetof(TcpHeader, checksum);
  if (state_ != State::kTimeWait) wire_->Send(packet);
  Done();
}

// --- From the guest ---

void TcpFlow::Receive(const Segment& s, bool stays) {
  heard_ = true;
  switch (state_) {
    case State::kDone:
      return;
    case State::kConnecting:
    case State::kSynReceived:
    case State::kSynSent:
      ReceiveOpening(s);
      if (state_ != State::kOpen || (s.flags & kSyn)) return;
      break;
    case State::kTimeWait:
      if (s.flags & kRst) {
        Done();
      } else {
        acknowledge_ = !s.payload.empty() || (s.flags & (kSyn | kFin)) != 0;
      }
      return;
    case State::kOpen:
      break;
  }
  if (s.flags & kRst) {
    // Only an exact number ends a connection; one near it may be a forgery, and is
    // asked about (RFC 5961).
    if (s.sequence == receive_next_) {
      ResetOnClose(socket_.get());
      Done();
    } else if (s.sequence - receive_next_ < window_edge_ - receive_next_) {
      acknowledge_ = true;
    }
    return;
  }
  if (s.flags & kSyn) {
    acknowledge_ = true;
    return;
  }
  if (!(s.flags & kAck)) return;
  if (highest_ == una_ && unsent() == 0) retries_ = 0;  // of keep-alive probes
  ReceiveAcknowledgement(s, s.payload.empty() && !(s.flags & kFin));
  ReceiveData(s, stays);
}

void TcpFlow::ReceiveOpening(const Segment& s) {
  if (s.flags & kRst) {
    const bool ours = state_ == State::kSynSent
                          ? (s.flags & kAck) && s.acknowledgement == initial_ + 1
                          : s.sequence == receive_next_;
    if (!ours) return;
    ResetOnClose(socket_.get());
    Done();
    return;
  }
  if (state_ == State::kConnecting) return;  // the guest repeats itself
  if (state_ == State::kSynReceived && (s.flags & kSyn)) {
    SendSyn(kSyn | kAck);
    return;
  }
  if (!(s.flags & kAck)) return;
  if (s.acknowledgement != initial_ + 1) {
    SendReset(wire_, guest_, remote_, s);
    return;
  }
  if (state_ == State::kSynSent) {
    if (!(s.flags & kSyn)) return;
    receive_next_ = window_edge_ = s.sequence + 1;
    TakeSynOptions(s);
    acknowledge_ = true;
  } else {
    guest_window_ = uint32_t{s.window} << guest_scale_;
    largest_window_ = std::max(largest_window_, guest_window_);
  }
  state_ = State::kOpen;
  una_ = next_ = highest_ = initial_ + 1;
  retries_ = 0;
  deadline_ = 0;
}

void TcpFlow::ReceiveAcknowledgement(const Segment& s, bool pure) {
  const uint32_t ack = s.acknowledgement;
  if (Before(highest_, ack)) {  // of what was never sent
    acknowledge_ = true;
    return;
  }
  if (Before(ack, una_)) return;
  const uint32_t window = uint32_t{s.window} << guest_scale_;
  const uint32_t newly = ack - una_;
  if (newly != 0) {
    const size_t data = std::min<size_t>(newly, to_guest_.used());
    to_guest_.Consume(data);
    // Behind the data there is only our FIN.
    if (newly > data) fin_acknowledged_ = true;
    una_ = ack;
    if (Before(next_, una_)) next_ = una_;
    retries_ = duplicates_ = 0;
    restart_timer_ = true;
    if (congestion_ < kMaxRing) congestion_ += newly;
    if (recovering_) {
      if (Before(ack, recover_)) {
        resend_ = true;
      } else {
        recovering_ = false;
      }
    }
  } else if (pure && window == guest_window_ && highest_ != una_) {
    if (++duplicates_ == 3 && !recovering_) {
      resend_ = recovering_ = true;
      recover_ = highest_;
      congestion_ = std::max((highest_ - una_) / 2, 4 * mss_);
    }
  }
  // A guest that keeps its window shut, and says so, is there.
  if (window == 0) retries_ = std::min(retries_, kMaxBackoff);
  guest_window_ = window;
  largest_window_ = std::max(largest_window_, window);
}

void TcpFlow::ReceiveData(const Segment& s, bool stays) {
  std::span<const uint8_t> data = s.payload;
  bool fin = s.flags & kFin;
  if (data.empty() && !fin) {
    // One that only asks whether we are there.
    if (s.sequence != receive_next_) acknowledge_ = true;
    return;
  }
  if (Before(receive_next_, s.sequence)) {
    // Something is missing: each such segment is answered, so that the guest knows.
    ReceiveAhead(s.sequence, data);
    if (state_ == State::kOpen) SendSegment(next_, 0, kAck);
    return;
  }
  acknowledge_ = true;
  const size_t old = receive_next_ - s.sequence;
  if (old >= data.size() + (fin ? 1 : 0) || guest_fin_) return;
  data = data.subspan(std::min(old, data.size()));
  const size_t room = window_edge_ - receive_next_;
  if (data.size() > room) {
    data = data.first(room);
    fin = false;
  }
  if (!data.empty()) {
    if (!to_host_.CanHold(to_host_.used() + gathered_ + data.size())) return;
    // With pieces ahead, what comes before them goes to the ring, too.
    const bool in_place = stays && ahead_count_ == 0;
    if (gather_count_ == kMaxGather || (!in_place && gathered_ != 0)) WriteToHost();
    if (state_ != State::kOpen) return;
    if (in_place) {
      gather_[gather_count_++] = {const_cast<uint8_t*>(data.data()), data.size()};
      gathered_ += data.size();
    } else {
      to_host_.Grow(to_host_.used() + data.size(), /*promised=*/true);
      to_host_.Append(data);
    }
    receive_next_ += static_cast<uint32_t>(data.size());
    if (ahead_count_ != 0) {
      const uint32_t before = receive_next_;
      TakeAhead();
      fin = fin && receive_next_ == before;
    }
  }
  if (fin) {
    ++receive_next_;
    guest_fin_ = true;
  }
}

void TcpFlow::ReceiveAhead(uint32_t sequence, std::span<const uint8_t> data) {
  const uint32_t offset = sequence - receive_next_;
  const uint32_t room = window_edge_ - receive_next_;
  if (offset >= room || guest_fin_) return;
  data = data.first(std::min<size_t>(data.size(), room - offset));
  if (data.empty()) return;
  const uint32_t end = sequence + static_cast<uint32_t>(data.size());
  // The pieces that touch this one become one with it.
  Range merged{sequence, end};
  size_t first = 0;
  while (first < ahead_count_ && Before(ahead_[first].end, sequence)) ++first;
  size_t last = first;
  for (; last < ahead_count_ && !Before(end, ahead_[last].begin); ++last) {
    if (Before(ahead_[last].begin, merged.begin)) merged.begin = ahead_[last].begin;
    if (Before(merged.end, ahead_[last].end)) merged.end = ahead_[last].end;
  }
  if (first == last && ahead_count_ == kMaxAhead) return;
  if (gathered_ != 0) WriteToHost();
  if (state_ != State::kOpen || !to_host_.Grow(to_host_.used() + offset + data.size())) return;
  to_host_.Stash(offset, data);
  if (first == last) {
    std::copy_backward(ahead_.begin() + first, ahead_.begin() + ahead_count_,
                       ahead_.begin() + ahead_count_ + 1);
    ++ahead_count_;
  } else {
    std::copy(ahead_.begin() + last, ahead_.begin() + ahead_count_, ahead_.begin() + first + 1);
    ahead_count_ -= last - first - 1;
  }
  ahead_[first] = merged;
  // Of what makes one piece now, one number is enough.
  const auto old = std::remove_if(told_.begin(), told_.begin() + told_count_, [&](uint32_t at) {
    return !Before(at, merged.begin) && Before(at, merged.end);
  });
  told_count_ = std::min<size_t>(static_cast<size_t>(old - told_.begin()), kMaxTold - 1);
  std::copy_backward(told_.begin(), told_.begin() + told_count_, told_.begin() + told_count_ + 1);
  told_[0] = sequence;
  ++told_count_;
}

// The pieces that are ahead no more.
void TcpFlow::TakeAhead() {
  size_t taken = 0;
  for (; taken < ahead_count_ && !Before(receive_next_, ahead_[taken].begin); ++taken) {
    if (Before(receive_next_, ahead_[taken].end)) {
      to_host_.Commit(ahead_[taken].end - receive_next_);
      receive_next_ = ahead_[taken].end;
    }
  }
  std::copy(ahead_.begin() + taken, ahead_.begin() + ahead_count_, ahead_.begin());
  ahead_count_ -= taken;
}

// The option of RFC 2018: the piece that came last is the first. Returns its size.
size_t TcpFlow::PutPieces(uint8_t* out) const {
  if (!selective_ || ahead_count_ == 0) return 0;
  size_t size = 4;
  for (size_t i = 0; i < told_count_; ++i) {
    const uint32_t at = told_[i];
    const auto piece =
        std::find_if(ahead_.begin(), ahead_.begin() + ahead_count_,
                     [at](const Range& r) { return !Before(at, r.begin) && Before(at, r.end); });
    if (piece == ahead_.begin() + ahead_count_) continue;  // is ahead no more
    StoreBe(out + size, piece->begin);
    StoreBe(out + size + 4, piece->end);
    size += 8;
  }
  if (size == 4) return 0;
  out[0] = out[1] = kOptionNop;
  out[2] = kOptionPieces;
  out[3] = static_cast<uint8_t>(size - 2);
  return size;
}

// --- The socket ---

bool TcpFlow::CheckConnected() {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
    HostFailed();
    return false;
  }
  state_ = State::kSynReceived;
  deadline_ = 0;
  SendSyn(kSyn | kAck);
  return true;
}

void TcpFlow::WriteToHost() {
  while (writable_ && to_host_.used() + gathered_ != 0) {
    std::array<iovec, kMaxGather + 2> parts;
    size_t count = 0;
    const Pieces ring = to_host_.Data(0, to_host_.used());
    for (int i = 0; i < ring.count; ++i) parts[count++] = ring.parts[static_cast<size_t>(i)];
    for (size_t i = 0; i < gather_count_; ++i) parts[count++] = gather_[i];
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    const ssize_t n = sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return HostFailed();
      writable_ = false;
      break;
    }
    size_t left = static_cast<size_t>(n);
    bytes_to_host_ += left;
    if (left < ring.size + gathered_) writable_ = false;
    const size_t of_ring = std::min(left, ring.size);
    to_host_.Consume(of_ring);
    left -= of_ring;
    gathered_ -= left;
    size_t gone = 0;
    for (; gone < gather_count_ && left >= gather_[gone].iov_len; ++gone) {
      left -= gather_[gone].iov_len;
    }
    std::copy(gather_.begin() + gone, gather_.begin() + gather_count_, gather_.begin());
    gather_count_ -= gone;
    if (gather_count_ != 0) {
      gather_[0].iov_base = static_cast<uint8_t*>(gather_[0].iov_base) + left;
      gather_[0].iov_len -= left;
    }
  }
  if (gathered_ != 0) {
    to_host_.Grow(to_host_.used() + gathered_, /*promised=*/true);
    for (size_t i = 0; i < gather_count_; ++i) {
      to_host_.Append({static_cast<const uint8_t*>(gather_[i].iov_base), gather_[i].iov_len});
    }
  }
  gather_count_ = gathered_ = 0;
  if (guest_fin_ && !shut_ && to_host_.used() == 0) {
    shut_ = true;
    shutdown(socket_.get(), SHUT_WR);
  }
}

void TcpFlow::ReadFromHost() {
  while (readable_ && !host_eof_) {
    // More than the guest has room for need not be here.
    const size_t most = std::clamp<size_t>(2 * size_t{largest_window_}, kFirstRing, kMaxRing);
    const size_t capacity = to_guest_.capacity();
    if (capacity == 0 || ((filled_ || to_guest_.free() == 0) && capacity < most)) {
      filled_ = false;
      wire_->Flush();
      if (!to_guest_.Grow(capacity == 0 ? kFirstRing : std::min(capacity * 4, kMaxRing)) &&
          capacity == 0) {
        to_guest_.Grow(MemoryBudget::kSmallRing);
      }
    }
    Pieces space = to_guest_.Space();
    if (space.size == 0) return;
    const ssize_t n = readv(socket_.get(), space.parts.data(), space.count);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return HostFailed();
      readable_ = false;
      return;
    }
    if (n == 0) {
      host_eof_ = true;
      return;
    }
    const size_t size = static_cast<size_t>(n);
    to_guest_.Commit(size);
    bytes_to_guest_ += size;
    heard_ = true;
    filled_ = size == space.size;
    if (!filled_ && !ending_) readable_ = false;
    if (filled_) return;  // what there is goes out first
  }
}

// --- To the guest ---

uint32_t TcpFlow::FreeWindow() const {
  size_t limit = kWindow;
  while (limit > MemoryBudget::kSmallRing && !to_host_.CanHold(limit)) limit /= 2;
  if (our_scale_ == 0) limit = std::min<size_t>(limit, 65535);
  const size_t held = to_host_.used() + gathered_;
  const uint32_t offered = window_edge_ - receive_next_;
  const uint32_t room = held < limit ? static_cast<uint32_t>(limit - held) : 0;
  // Neither is what was offered taken back, nor is a window opened by a little.
  if (room <= offered || room - offered < std::min<size_t>(2 * mss_, limit / 4)) return offered;
  return room;
}

Wire::Sent TcpFlow::SendSegment(uint32_t from, size_t length, uint8_t flags) {
  uint8_t out[sizeof(TcpHeader) + 4 + 8 * kMaxTold];
  TcpHeader h{};
  h.from = remote_.port;
  h.to = guest_.port;
  h.sequence = from;
  h.acknowledgement = receive_next_;
  // Not before data, which would have to be less: what is out of order was answered alone.
  const size_t size = sizeof h + (length == 0 ? PutPieces(out + sizeof h) : 0);
  h.offset = static_cast<uint8_t>(size / 4 << 4);
  h.flags = flags;
  const uint32_t window = FreeWindow() >> our_scale_;
  h.window = static_cast<uint16_t>(std::min<uint32_t>(window, 65535));
  memcpy(out, &h, sizeof h);
  Packet packet;
  packet.from = remote_.address;
  packet.to = guest_.address;
  packet.protocol = kTcp;
  packet.header = {out, size};
  if (length != 0) packet.payload = to_guest_.Data(from - una_, length);
  packet.checksum_at = offsetof(TcpHeader, checksum);
  packet.segment_size = static_cast<uint16_t>(mss_);
  const Wire::Sent sent = wire_->Send(packet);
  no_neighbour_ = sent == Wire::Sent::kNoNeighbour;
  if (!no_neighbour_) {
    acknowledge_ = false;
    const uint32_t edge = receive_next_ + (uint32_t{h.window} << our_scale_);
    if (Before(window_edge_, edge)) window_edge_ = edge;
  }
  return sent;
}

void TcpFlow::SendSyn(uint8_t flags) {
  uint8_t out[sizeof(TcpHeader) + 12];
  TcpHeader h{};
  h.from = remote_.port;
  h.to = guest_.port;
  h.sequence = initial_;
  h.acknowledgement = (flags & kAck) != 0 ? receive_next_ : 0;
  const size_t size = sizeof h + 4 + (scaling_ ? 4 : 0) + (selective_ ? 4 : 0);
  h.offset = static_cast<uint8_t>(size / 4 << 4);
  h.flags = flags;
  h.window = uint16_t{65535};
  memcpy(out, &h, sizeof h);
  uint8_t* options = out + sizeof h;
  options[0] = kOptionMss;
  options[1] = 4;
  StoreBe(options + 2, static_cast<uint16_t>(mtu_ - (guest_.address.is4() ? 40 : 60)));
  options += 4;
  if (scaling_) {
    options[0] = kOptionNop;
    options[1] = kOptionScale;
    options[2] = 3;
    options[3] = kOurScale;
    options += 4;
  }
  if (selective_) {
    options[0] = options[1] = kOptionNop;
    options[2] = kOptionSelective;
    options[3] = 2;
  }
  window_edge_ = receive_next_ + 65535;
  Packet packet;
  packet.from = remote_.address;
  packet.to = guest_.address;
  packet.protocol = kTcp;
  packet.header = {out, size};
  packet.checksum_at = offsetof(TcpHeader, checksum);
  no_neighbour_ = wire_->Send(packet) == Wire::Sent::kNoNeighbour;
}

TcpFlow::Stop TcpFlow::SendToGuest() {
  if (resend_) {
    resend_ = false;
    if (const size_t n = std::min<size_t>(mss_, to_guest_.used()); n != 0) {
      SendSegment(una_, n, kAck);
    } else if (fin_sent_ && !fin_acknowledged_) {
      SendSegment(una_, 0, kAck | kFin);
    }
  }
  while (const size_t waiting = unsent()) {
    const uint32_t flight = next_ - una_;
    const uint32_t window = std::min(guest_window_, congestion_);
    if (window <= flight) return Stop::kNothingLeft;
    const size_t room = window - flight;
    const size_t limit = wire_->SegmentLimit(guest_.address, mss_);
    const size_t n = std::min({waiting, room, limit});
    // No scraps where a whole segment will do, once the window opens.
    if (n < mss_ && n < waiting && flight != 0) return Stop::kNothingLeft;
    if (turn_left_ < n || frames_left_ == 0) return Stop::kTurnOver;
    if (wire_->Full(guest_.address)) return Stop::kFull;
    const bool last = n == waiting;
    const bool fin = last && host_eof_;
    const Wire::Sent sent = SendSegment(next_, n, kAck | (last ? kPsh : 0) | (fin ? kFin : 0));
    if (sent == Wire::Sent::kNoNeighbour) return Stop::kNothingLeft;
    turn_left_ -= n;
    --frames_left_;
    next_ += static_cast<uint32_t>(n) + (fin ? 1 : 0);
    fin_sent_ = fin_sent_ || fin;
    if (Before(highest_, next_)) highest_ = next_;
  }
  if (host_eof_ && !fin_acknowledged_ && next_ - una_ == to_guest_.used()) {
    if (SendSegment(next_, 0, kAck | kFin) != Wire::Sent::kNoNeighbour) {
      ++next_;
      fin_sent_ = true;
      if (Before(highest_, next_)) highest_ = next_;
    }
  }
  return Stop::kNothingLeft;
}

TcpFlow::Result TcpFlow::Service(uint64_t now) {
  if (begun_ == 0) begun_ = now;
  if (heard_) last_active_ = now;
  heard_ = false;
  if (state_ == State::kConnecting && (writable_ || ending_)) CheckConnected();
  if (state_ == State::kSynSent && deadline_ == 0) SendSyn(kSyn);
  Stop stop = Stop::kNothingLeft;
  if (state_ == State::kOpen) {
    turn_left_ = kTurnBytes;
    frames_left_ = kFramesPerTurn;
    WriteToHost();
    while (state_ == State::kOpen) {
      const uint64_t before = bytes_to_guest_;
      if (stop == Stop::kNothingLeft) ReadFromHost();
      if (state_ != State::kOpen) break;
      stop = SendToGuest();
      if (bytes_to_guest_ == before || stop != Stop::kNothingLeft) break;
    }
  }
  if (state_ == State::kOpen) {
    const uint32_t offered = window_edge_ - receive_next_;
    if (acknowledge_ || FreeWindow() - offered > 0) SendSegment(next_, 0, kAck);
    if (fin_acknowledged_ && guest_fin_ && shut_) FinishIfOver(now);
  } else if (state_ == State::kTimeWait && acknowledge_) {
    SendSegment(next_, 0, kAck);
    acknowledge_ = false;
  }
  SetDeadline(now);
  if (state_ == State::kDone) return Result::kDone;
  return stop == Stop::kFull       ? Result::kBlocked
         : stop == Stop::kTurnOver ? Result::kAgain
                                   : Result::kIdle;
}

void TcpFlow::FinishIfOver(uint64_t now) {
  watch.reset();
  socket_.reset();
  state_ = State::kTimeWait;
  deadline_ = now + kTimeWaitNs;
}

uint64_t TcpFlow::RetransmitNs() const {
  const uint64_t base = state_ == State::kOpen ? kRetransmitNs : kSynNs;
  return base << std::min(retries_, kMaxBackoff);
}

void TcpFlow::SetDeadline(uint64_t now) {
  switch (state_) {
    case State::kDone:
      deadline_ = 0;
      break;
    case State::kConnecting:
      if (deadline_ == 0) deadline_ = begun_ + kConnectNs;
      break;
    case State::kSynSent:
    case State::kSynReceived:
      if (deadline_ == 0) deadline_ = now + (no_neighbour_ ? kAskAgainNs : RetransmitNs());
      break;
    case State::kTimeWait:
      break;
    case State::kOpen:
      if (highest_ != una_ || unsent() != 0 || no_neighbour_) {
        // Something must come from the guest.
        if (deadline_ == 0 || restart_timer_ || !waiting_) {
          deadline_ = now + (no_neighbour_ ? kAskAgainNs : RetransmitNs());
        }
        waiting_ = true;
      } else {
        deadline_ =
            retries_ != 0 && !waiting_ ? std::max(deadline_, now + 1) : last_active_ + kKeepaliveNs;
        waiting_ = false;
      }
      break;
  }
  restart_timer_ = false;
}

void TcpFlow::Timeout(uint64_t now) {
  if (deadline_ == 0 || now < deadline_) return;
  deadline_ = 0;
  switch (state_) {
    case State::kDone:
      return;
    case State::kTimeWait:
      return Done();
    case State::kConnecting:
      return HostFailed();
    case State::kSynSent:
    case State::kSynReceived:
      if (now - begun_ > kAnswerNs + (state_ == State::kSynReceived ? kConnectNs : 0))
        return Abort();
      if (!no_neighbour_) ++retries_;
      if (state_ == State::kSynReceived) SendSyn(kSyn | kAck);  // the other is Service()'s
      return;
    case State::kOpen:
      break;
  }
  if (highest_ == una_ && unsent() == 0) {
    if (no_neighbour_) {
      acknowledge_ = true;
      return;
    }
    if (now - last_active_ < kKeepaliveNs) return;
    // A guest that is there answers a number that lies before what it expects.
    if (++retries_ > kKeepaliveProbes) return Abort();
    SendSegment(next_ - 1, 0, kAck);
    deadline_ = now + kKeepaliveProbeNs;
    return;
  }
  // A guest that stands still takes nothing: that is no loss.
  if (wire_->Full(guest_.address)) return;
  if (++retries_ > kMaxRetries) return Abort();
  duplicates_ = 0;
  recovering_ = false;
  next_ = una_;
  congestion_ = 4 * mss_;
  if (guest_window_ == 0 && to_guest_.used() != 0) {
    // Whether the window is still shut, by a byte that may be taken or not.
    if (SendSegment(una_, 1, kAck) != Wire::Sent::kNoNeighbour) {
      if (highest_ == una_) highest_ = una_ + 1;
    }
  }
}

void TcpFlow::Trim(uint64_t now) {
  if (now - last_active_ < kIdleNs) return;
  if (to_guest_.used() == 0) to_guest_.Release();
  if (to_host_.used() == 0 && gathered_ == 0 && ahead_count_ == 0) to_host_.Release();
}

}  // namespace atl::usernet
