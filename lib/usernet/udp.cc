// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/udp.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "lib/base/bytes_reader.h"
#include "lib/usernet/checksum.h"
#include "lib/usernet/layout.h"

namespace atl::usernet {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kExpireNs = 5 * kSecondNs;
constexpr size_t kLargest = 65536;
constexpr int kErrorsPerTurn = 8;

constexpr uint8_t kEchoReply = 0, kUnreachable = 3, kEchoRequest = 8;
constexpr uint8_t kUnreachable6 = 1, kEchoRequest6 = 128, kEchoReply6 = 129;
constexpr uint8_t kPortUnreachable = 3, kProhibited = 13;
constexpr uint8_t kPortUnreachable6 = 4, kProhibited6 = 1;

}  // namespace

Wire::Sent SendUdp(Wire* wire, const Endpoint& from, const Endpoint& to,
                   std::span<const uint8_t> payload) {
  UdpHeader h{};
  h.from = from.port;
  h.to = to.port;
  h.size = static_cast<uint16_t>(sizeof h + payload.size());
  Packet packet;
  packet.from = from.address;
  packet.to = to.address;
  packet.protocol = kUdp;
  packet.header = {reinterpret_cast<const uint8_t*>(&h), sizeof h};
  packet.payload.Add(const_cast<uint8_t*>(payload.data()), payload.size());
  packet.checksum_at = offsetof(UdpHeader, checksum);
  return wire->Send(packet);
}

UdpTable::UdpTable(host::EventLoop* loop, Wire* wire, HostSide* host, size_t max_flows)
    : loop_(loop),
      wire_(wire),
      host_(host),
      max_flows_(max_flows),
      buffer_(new uint8_t[kBatch * kLargest]) {
  timer_ = loop->NewTimer([this] { Expire(); });
}

UdpTable::~UdpTable() = default;

UdpTable::Flow* UdpTable::Find(const Key& key) {
  const auto it = flows_.find(key);
  return it == flows_.end() ? nullptr : it->second.get();
}

bool UdpTable::Watch(Flow* flow) {
  absl::StatusOr<std::unique_ptr<host::FdWatch>> watch =
      loop_->Watch(flow->socket.get(), EPOLLIN, [this, flow](uint32_t events) {
        if (events & EPOLLERR) ReadErrors(flow);
        Ready(flow);
      });
  if (!watch.ok()) return false;
  flow->watch = *std::move(watch);
  return true;
}

UdpTable::Flow* UdpTable::Open(const Key& key, const Endpoint& to) {
  if (flows_.size() >= max_flows_) Erase(by_age_.front());
  const Endpoint any{to.address.is4() ? IpAddress::V4(0) : IpAddress{}, 0};
  absl::StatusOr<UniqueFd> socket =
      key.kind == Kind::kPing ? host_->Ping(!to.address.is4()) : host_->Datagram(any);
  if (!socket.ok()) return nullptr;
  auto flow = std::make_unique<Flow>();
  flow->key = key;
  flow->socket = *std::move(socket);
  if (!Watch(flow.get())) return nullptr;
  Flow* const out = flow.get();
  out->age = by_age_.insert(by_age_.end(), out);
  flows_[key] = std::move(flow);
  if (!armed_) {
    armed_ = true;
    timer_->Arm(host::MonotonicNs() + kExpireNs);
  }
  return out;
}

void UdpTable::Erase(Flow* flow) {
  by_age_.erase(flow->age);
  flows_.erase(Key(flow->key));
}

void UdpTable::Clear() {
  flows_.clear();
  by_age_.clear();
}

void UdpTable::Touch(Flow* flow) {
  flow->last_used = host::MonotonicNs();
  if (!flow->forward) by_age_.splice(by_age_.end(), by_age_, flow->age);
}

void UdpTable::Expire() {
  armed_ = false;
  const uint64_t now = host::MonotonicNs();
  std::vector<Flow*> over;
  for (const auto& [key, flow] : flows_) {
    const uint64_t idle = key.kind == Kind::kUdp ? kIdleNs : kDnsIdleNs;
    if (now - flow->last_used > idle) over.push_back(flow.get());
  }
  for (Flow* const flow : over) Erase(flow);
  if (!flows_.empty()) {
    armed_ = true;
    timer_->Arm(now + kExpireNs);
  }
}

void UdpTable::Remember(Flow* flow, const Endpoint& host, const Endpoint& shown) {
  for (const Peer& p : flow->peers) {
    if (p.host == host && p.shown == shown) return;
  }
  const size_t most = flow->forward ? kForwardPeers : kPeers;
  if (flow->peers.size() < most) {
    flow->peers.push_back({host, shown});
    return;
  }
  flow->peers[flow->next_peer] = {host, shown};
  flow->next_peer = (flow->next_peer + 1) % most;
}

const UdpTable::Peer* UdpTable::FindPeer(const Flow& flow, const Endpoint& host) const {
  const Peer* same_address = nullptr;
  for (const Peer& p : flow.peers) {
    if (p.host == host) return &p;
    if (p.host.address == host.address) same_address = &p;
  }
  return same_address;
}

// Answers of a guest to what a forward brought go out where that came in.
UdpTable::Flow* UdpTable::ForwardOf(const Endpoint& guest, const Endpoint& to) {
  for (const auto& f : forwards_) {
    if (f->key.guest.port != guest.port || !(f->key.guest.address == guest.address)) continue;
    for (const Peer& p : f->peers) {
      if (p.shown == to) return f.get();
    }
  }
  return nullptr;
}

void UdpTable::Receive(const Endpoint& guest, const Endpoint& to,
                       std::span<const uint8_t> payload) {
  if (to.port == 0) return;
  Flow* flow = ForwardOf(guest, to);
  std::optional<Endpoint> target;
  if (flow != nullptr) {
    for (const Peer& p : flow->peers) {
      if (p.shown == to) target = p.host;
    }
  } else {
    const bool dns = host_->IsNameserver(to);
    if (dns) host_->ReadResolvers();
    if (!host_->Out(to)) {
      if (!to.address.multicast()) {
        Flow nobody;
        nobody.key = {Kind::kUdp, guest, {}};
        const bool v4 = to.address.is4();
        Refused(nobody, to, v4 ? kUnreachable : kUnreachable6, v4 ? kProhibited : kProhibited6);
      }
      return;
    }
    const Key key{dns ? Kind::kDns : Kind::kUdp, guest, dns ? to : Endpoint{}};
    flow = Find(key);
    // A resolver that does not answer may be dead: the next question goes to another.
    if (dns && flow != nullptr && flow->unanswered > 1) {
      ++flow->attempt;
      flow->unanswered = 0;
    }
    target = host_->Out(to, flow == nullptr ? 0 : flow->attempt);
    // Resolvers may be of both families.
    if (dns && flow != nullptr) {
      sockaddr_storage self;
      socklen_t size = sizeof self;
      if (getsockname(flow->socket.get(), reinterpret_cast<sockaddr*>(&self), &size) == 0 &&
          (self.ss_family == AF_INET) != target->address.is4()) {
        const unsigned attempt = flow->attempt;
        Erase(flow);
        flow = Open(key, *target);
        if (flow != nullptr) flow->attempt = attempt;
      }
    } else if (flow == nullptr) {
      flow = Open(key, *target);
    }
    if (flow == nullptr) return;
    if (dns) {
      ++flow->unanswered;
      flow->peers.clear();  // that one alone may answer
    }
    Remember(flow, *target, to);
  }
  Touch(flow);
  const SocketAddress address(*target);
  const ssize_t n = sendto(flow->socket.get(), payload.data(), payload.size(),
                           MSG_NOSIGNAL | MSG_DONTWAIT, address.get(), address.size);
  // An error may be that of an earlier datagram: it is told for that one.
  if (n < 0 && errno != EAGAIN) ReadErrors(flow);
}

void UdpTable::ReceivePing(const IpAddress& guest, const IpAddress& to,
                           std::span<const uint8_t> message) {
  const std::optional<IcmpHeader> in = ReadAt<IcmpHeader>(message, 0);
  if (!in) return;
  const bool v4 = to.is4();
  const Key key{Kind::kPing, {guest, in->id}, {{}, v4 ? kIcmp : kIcmp6}};
  const std::optional<Endpoint> target = host_->Out({to, 1});
  Flow* flow = target ? Find(key) : nullptr;
  if (target && flow == nullptr) flow = Open(key, *target);
  if (flow == nullptr) {
    Flow nobody;
    nobody.key = key;
    Refused(nobody, {to, 0}, v4 ? kUnreachable : kUnreachable6, v4 ? kProhibited : kProhibited6);
    return;
  }
  Remember(flow, {target->address, 0}, {to, 0});
  Touch(flow);
  const SocketAddress address({target->address, 0});
  // The kernel puts its own identifier and checksum in.
  sendto(flow->socket.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
         address.get(), address.size);
}

absl::Status UdpTable::AddForward(UniqueFd socket, const Endpoint& guest) {
  auto flow = std::make_unique<Flow>();
  flow->key = {Kind::kUdp, guest, {}};
  flow->socket = std::move(socket);
  flow->forward = true;
  if (!Watch(flow.get())) return absl::ResourceExhaustedError("cannot wait for datagrams");
  forwards_.push_back(std::move(flow));
  return absl::OkStatus();
}

void UdpTable::RemoveForward(int fd) {
  std::erase_if(forwards_, [fd](const auto& f) { return f->socket.get() == fd; });
}

void UdpTable::Ready(Flow* flow) {
  std::array<SocketAddress, kBatch> from;
  std::array<iovec, kBatch> parts;
  std::array<mmsghdr, kBatch> messages;
  for (int i = 0; i < kBatchesPerTurn; ++i) {
    for (size_t k = 0; k < kBatch; ++k) {
      from[k].size = sizeof from[k].storage;
      parts[k] = {buffer_.get() + k * kLargest, kLargest};
      messages[k] = {};
      messages[k].msg_hdr.msg_name = from[k].get();
      messages[k].msg_hdr.msg_namelen = from[k].size;
      messages[k].msg_hdr.msg_iov = &parts[k];
      messages[k].msg_hdr.msg_iovlen = 1;
    }
    const int n = recvmmsg(flow->socket.get(), messages.data(), kBatch, MSG_DONTWAIT, nullptr);
    if (n < 0 && errno != EAGAIN && errno != EINTR) continue;  // an error that is told elsewhere
    if (n <= 0) break;
    for (size_t k = 0; k < static_cast<size_t>(n); ++k) {
      Arrived(flow, from[k].endpoint(), {buffer_.get() + k * kLargest, messages[k].msg_len});
    }
    wire_->Flush();  // before others come to lie there
    if (static_cast<size_t>(n) < kBatch) break;
  }
}

void UdpTable::Arrived(Flow* flow, const Endpoint& from, std::span<uint8_t> bytes) {
  if (flow->forward) {
    const Endpoint shown = host_->In(from);
    Remember(flow, from, shown);
    SendUdp(wire_, shown, flow->key.guest, bytes);
    return;
  }
  if (flow->key.kind == Kind::kPing) {
    const Peer* const peer = FindPeer(*flow, {from.address, 0});
    if (peer == nullptr || bytes.size() < sizeof(IcmpHeader)) return;
    const bool v4 = flow->key.guest.address.is4();
    if (bytes[0] != (v4 ? kEchoReply : kEchoReply6)) return;
    IcmpHeader h = *ReadAt<IcmpHeader>(bytes, 0);
    h.id = flow->key.guest.port;
    h.checksum = uint16_t{0};
    Packet packet;
    packet.from = peer->shown.address;
    packet.to = flow->key.guest.address;
    packet.protocol = v4 ? kIcmp : kIcmp6;
    packet.header = {reinterpret_cast<const uint8_t*>(&h), sizeof h};
    packet.payload.Add(bytes.data() + sizeof h, bytes.size() - sizeof h);
    packet.checksum_at = offsetof(IcmpHeader, checksum);
    wire_->Send(packet);
    return;
  }
  const Peer* const peer = FindPeer(*flow, from);
  if (peer == nullptr) return;
  if (flow->key.kind == Kind::kDns) {
    if (!(peer->host == from)) return;
    flow->unanswered = 0;
  }
  // From another port of a host that the guest knows: shown as it is.
  const Endpoint shown =
      peer->host == from ? peer->shown : Endpoint{peer->shown.address, from.port};
  SendUdp(wire_, shown, flow->key.guest, bytes);
}

void UdpTable::ReadErrors(Flow* flow) {
  for (int i = 0; i < kErrorsPerTurn; ++i) {
    SocketAddress to;
    alignas(cmsghdr) uint8_t control[256];
    msghdr message{};
    message.msg_name = to.get();
    message.msg_namelen = to.size;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(flow->socket.get(), &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      const bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
      const bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
      if ((!v4 && !v6) || c->cmsg_len < CMSG_LEN(sizeof(sock_extended_err))) continue;
      sock_extended_err error;
      memcpy(&error, CMSG_DATA(c), sizeof error);
      const Endpoint host = to.endpoint();
      const Peer* const peer = FindPeer(*flow, host);
      if (peer == nullptr || !(peer->host == host) || flow->forward) continue;
      // What the network told, or what the host itself found out.
      const bool told =
          error.ee_origin == SO_EE_ORIGIN_ICMP || error.ee_origin == SO_EE_ORIGIN_ICMP6;
      uint8_t type = v4 ? kUnreachable : kUnreachable6;
      uint8_t code = v4 ? 1 : 0;
      if (error.ee_errno == ECONNREFUSED) code = v4 ? kPortUnreachable : kPortUnreachable6;
      if (told && error.ee_type == type) code = error.ee_code;
      if (error.ee_errno == EMSGSIZE) continue;
      Refused(*flow, peer->shown, type, code);
    }
  }
}

// Tells the guest that what it sent to `to` did not arrive: with the head of a packet
// as it may have sent it.
void UdpTable::Refused(const Flow& flow, const Endpoint& to, uint8_t type, uint8_t code) {
  const Endpoint& guest = flow.key.guest;
  const bool v4 = guest.address.is4();
  uint8_t out[8 + sizeof(Ipv6Header) + sizeof(UdpHeader)] = {type, code};
  size_t size = 8;
  const bool ping = flow.key.kind == Kind::kPing;
  if (v4) {
    Ipv4Header ip{};
    ip.version_size = 0x45;
    ip.size = static_cast<uint16_t>(sizeof ip + sizeof(UdpHeader));
    ip.ttl = 64;
    ip.protocol = ping ? kIcmp : kUdp;
    ip.from = guest.address.v4();
    ip.to = to.address.v4();
    Checksum sum;
    sum.Add({reinterpret_cast<const uint8_t*>(&ip), sizeof ip});
    ip.checksum = sum.Value();
    memcpy(out + size, &ip, sizeof ip);
    size += sizeof ip;
  } else {
    Ipv6Header ip{};
    ip.version_class_flow = uint32_t{6} << 28;
    ip.size = static_cast<uint16_t>(sizeof(UdpHeader));
    ip.next = ping ? kIcmp6 : kUdp;
    ip.hop_limit = 64;
    ip.from = guest.address.bytes;
    ip.to = to.address.bytes;
    memcpy(out + size, &ip, sizeof ip);
    size += sizeof ip;
  }
  if (ping) {
    IcmpHeader icmp{};
    icmp.type = v4 ? kEchoRequest : kEchoRequest6;
    icmp.id = guest.port;
    memcpy(out + size, &icmp, sizeof icmp);
  } else {
    UdpHeader udp{};
    udp.from = guest.port;
    udp.to = to.port;
    udp.size = static_cast<uint16_t>(sizeof udp);
    memcpy(out + size, &udp, sizeof udp);
  }
  size += 8;
  Packet packet;
  packet.from = to.address;
  packet.to = guest.address;
  packet.protocol = v4 ? kIcmp : kIcmp6;
  // Within kMaxHeader for both families; copied, so that nothing needs to stay.
  packet.header = {out, size};
  packet.checksum_at = 2;
  wire_->Send(packet);
}

}  // namespace atl::usernet
