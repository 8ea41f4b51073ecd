// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/tcp.h"

#include <sys/epoll.h>
#include <sys/random.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "lib/usernet/checksum.h"
#include "lib/usernet/layout.h"

namespace atl::usernet {
namespace {

constexpr uint64_t kMs = 1'000'000;
// Timers need not be exact; all connections are looked at each time.
constexpr uint64_t kTickNs = 10 * kMs;
constexpr uint64_t kTrimNs = 1000 * kMs;
// A connection that has been silent for so long gives way to a new one.
constexpr uint64_t kLongIdleNs = 60'000 * kMs;

}  // namespace

TcpTable::TcpTable(host::EventLoop* loop, Wire* wire, HostSide* host, uint32_t mtu,
                   size_t max_flows)
    : loop_(loop), wire_(wire), host_(host), mtu_(mtu), max_flows_(max_flows) {
  timer_ = loop->NewTimer([this] { Timers(); });
  again_ = loop->NewTimer([this] { RunDirty(); });
}

TcpTable::~TcpTable() = default;

void TcpTable::ForEach(const std::function<void(const TcpFlow&)>& see) const {
  for (const auto& [key, flow] : flows_) see(*flow);
}

uint32_t TcpTable::Random() {
  if (random_left_ == 0) {
    // Numbers that a peer cannot guess (RFC 6528).
    if (getrandom(random_.data(), sizeof random_, 0) != sizeof random_) return 0;
    random_left_ = random_.size();
  }
  return random_[--random_left_];
}

void TcpTable::Receive(const InPacket& packet, bool payload_stays) {
  if (!packet.checksum_known) {
    Checksum sum;
    sum.AddPseudoHeader(packet.from, packet.to, kTcp, static_cast<uint32_t>(packet.payload.size()));
    sum.Add(packet.payload);
    if (sum.sum() != 0xFFFF) return;
  }
  Key key;
  key.guest.address = packet.from;
  key.remote.address = packet.to;
  const std::optional<Segment> segment =
      Segment::Parse(packet.payload, &key.guest.port, &key.remote.port);
  if (!segment) return;
  const auto it = flows_.find(key);
  const bool opening = (segment->flags & (kSyn | kAck | kRst)) == kSyn;
  if (it != flows_.end() && !it->second->done()) {
    TcpFlow* const flow = it->second.get();
    if (!(opening && flow->time_wait() && flow->NewerThanLast(segment->sequence))) {
      flow->Receive(*segment, payload_stays);
      Mark(flow);
      return;
    }
    flow->Abort();
    any_done_ = true;
  }
  if (opening) {
    Open(key, *segment);
  } else {
    SendReset(wire_, key.guest, key.remote, *segment);
  }
}

void TcpTable::Open(const Key& key, const Segment& syn) {
  if (host_->IsNameserver(key.remote)) host_->ReadResolvers();
  const std::optional<Endpoint> to = host_->Out(key.remote);
  if (!to || key.guest.port == 0 || !MakeRoom()) {
    SendReset(wire_, key.guest, key.remote, syn);
    return;
  }
  absl::StatusOr<UniqueFd> socket = host_->ConnectTcp(*to);
  if (!socket.ok()) {
    SendReset(wire_, key.guest, key.remote, syn);
    return;
  }
  TcpFlow* const flow = Insert(key);
  flow->StartFromGuest(syn, *std::move(socket));
  if (!Start(flow)) SendReset(wire_, key.guest, key.remote, syn);
}

void TcpTable::Accepted(UniqueFd socket, const Endpoint& guest, const Endpoint& peer) {
  const Key key{guest, host_->In(peer)};
  // The number of a peer at the loopback and of one elsewhere may be the same.
  const auto it = flows_.find(key);
  if ((it != flows_.end() && !it->second->done()) || !MakeRoom()) return;
  TcpFlow* const flow = Insert(key);
  flow->StartFromHost(std::move(socket));
  if (Start(flow)) Mark(flow);
}

TcpFlow* TcpTable::Insert(const Key& key) {
  Bury();  // the place may be that of one which is done
  std::unique_ptr<TcpFlow>& place = flows_[key];
  place = std::make_unique<TcpFlow>(wire_, &budget_, key.guest, key.remote, mtu_, Random());
  return place.get();
}

bool TcpTable::Start(TcpFlow* flow) {
  // Each edge is seen once; the flow remembers what is ready.
  absl::StatusOr<std::unique_ptr<host::FdWatch>> watch = loop_->Watch(
      flow->fd(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, [this, flow](uint32_t events) {
        flow->SocketReady(events);
        Mark(flow);
        RunDirty();
      });
  if (!watch.ok()) {
    flow->Abort();
    any_done_ = true;
    return false;
  }
  flow->watch = *std::move(watch);
  Mark(flow);
  return true;
}

// Room for one more: those that were never answered go first, the oldest of them.
bool TcpTable::MakeRoom() {
  if (flows_.size() < max_flows_) return true;
  Bury();
  if (flows_.size() < max_flows_) return true;
  std::vector<TcpFlow*> candidates;
  const uint64_t now = host::MonotonicNs();
  for (const auto& [key, flow] : flows_) {
    if (flow->expendable() || now - flow->last_active() > kLongIdleNs) {
      candidates.push_back(flow.get());
    }
  }
  if (candidates.empty()) return false;
  // Some at once: looking at all of them for every SYN of a flood would be work.
  const size_t some = std::min(candidates.size(), max_flows_ / 16 + 1);
  std::nth_element(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(some - 1),
                   candidates.end(), [](const TcpFlow* a, const TcpFlow* b) {
                     if (a->time_wait() != b->time_wait()) return a->time_wait();
                     if (a->expendable() != b->expendable()) return a->expendable();
                     return a->last_active() < b->last_active();
                   });
  for (size_t i = 0; i < some; ++i) candidates[i]->Abort();
  any_done_ = true;
  Bury();
  return true;
}

// Also says which are done: one that ended outside of Service() may have its place taken by
// the next segment already, and must leave the queues before.
void TcpTable::Mark(TcpFlow* flow) {
  if (flow->done()) any_done_ = true;
  if (flow->queued) return;
  flow->queued = true;
  dirty_.push_back(flow);
}

void TcpTable::Service(TcpFlow* flow, uint64_t now) {
  flow->queued = false;
  if (flow->done()) {
    any_done_ = true;
    return;
  }
  switch (flow->Service(now)) {
    case TcpFlow::Result::kDone:
      any_done_ = true;
      return;
    case TcpFlow::Result::kAgain:
      Mark(flow);
      break;
    case TcpFlow::Result::kBlocked:
      if (!flow->blocked) {
        flow->blocked = true;
        blocked_.push_back(flow);
      }
      break;
    case TcpFlow::Result::kIdle:
      break;
  }
  ArmFor(flow->deadline(), now);
}

void TcpTable::RunDirty() {
  if (!dirty_.empty()) {
    const uint64_t now = host::MonotonicNs();
    working_.swap(dirty_);
    for (TcpFlow* const flow : working_) Service(flow, now);
    working_.clear();
    wire_->Flush();
    // Whose turn was over waits for the others', and for other descriptors'.
    if (!dirty_.empty()) again_->Arm(now);
  }
  Bury();
}

void TcpTable::WireReady() {
  for (TcpFlow* const flow : blocked_) {
    flow->blocked = false;
    Mark(flow);
  }
  blocked_.clear();
  RunDirty();
}

void TcpTable::AbortAll() {
  for (const auto& [key, flow] : flows_) flow->Abort();
  any_done_ = true;
  Bury();
}

// Frees what is done. Not while flows are being served: then the queues may hold it.
void TcpTable::Bury() {
  if (!any_done_ || !working_.empty()) return;
  any_done_ = false;
  wire_->Flush();
  std::erase_if(dirty_, [](const TcpFlow* f) { return f->done(); });
  std::erase_if(blocked_, [](const TcpFlow* f) { return f->done(); });
  absl::erase_if(flows_, [](const auto& entry) { return entry.second->done(); });
}

void TcpTable::ArmFor(uint64_t deadline, uint64_t now) {
  if (deadline == 0 || (armed_ != 0 && armed_ <= deadline)) return;
  armed_ = std::max(deadline, now + kTickNs);
  timer_->Arm(armed_);
}

void TcpTable::Timers() {
  armed_ = 0;
  const uint64_t now = host::MonotonicNs();
  uint64_t next = 0;
  for (const auto& [key, flow] : flows_) {
    if (flow->deadline() != 0 && flow->deadline() <= now) {
      flow->Timeout(now);
      Mark(flow.get());
    }
  }
  RunDirty();
  const bool trim = budget_.used != 0;
  for (const auto& [key, flow] : flows_) {
    if (trim) flow->Trim(now);
    const uint64_t at = flow->deadline();
    if (at != 0 && (next == 0 || at < next)) next = at;
  }
  // Idle memory goes back within seconds, whatever the connections wait for.
  if (budget_.used != 0 && (next == 0 || next > now + kTrimNs)) next = now + kTrimNs;
  ArmFor(next, now);
}

}  // namespace atl::usernet
