// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/lan.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "lib/base/bytes_reader.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/checksum.h"

namespace atl::usernet {
namespace {

constexpr size_t kHeaders = sizeof(EthernetHeader) + sizeof(Ipv6Header) + kMaxHeader;
// More headers between IPv6 and its payload than any honest guest sends.
constexpr int kMaxExtensions = 8;

constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kNoNext = 59, kOptions6 = 60;

bool Group(const MacAddress& mac) { return mac[0] & 1; }

IpAddress V6(const std::array<uint8_t, 16>& bytes) { return IpAddress{bytes}; }

MacAddress MulticastMac(const IpAddress& ip) {
  if (ip.is4()) {
    if (ip.v4() == 0xFFFFFFFF) return kBroadcastMac;
    return {0x01,         0x00,        0x5E, static_cast<uint8_t>(ip.bytes[13] & 0x7F),
            ip.bytes[14], ip.bytes[15]};
  }
  return {0x33, 0x33, ip.bytes[12], ip.bytes[13], ip.bytes[14], ip.bytes[15]};
}

// Writes Ethernet and IP headers in front of a payload of `size` bytes; returns their size.
size_t PutHeaders(uint8_t* out, const MacAddress& from_mac, const MacAddress& to_mac,
                  const Packet& p, size_t size, uint16_t id, uint16_t fragment) {
  EthernetHeader ethernet;
  ethernet.to = to_mac;
  ethernet.from = from_mac;
  ethernet.type = p.to.is4() ? kTypeIpv4 : kTypeIpv6;
  memcpy(out, &ethernet, sizeof ethernet);
  if (p.to.is4()) {
    Ipv4Header ip{};
    ip.version_size = 0x45;
    ip.size = static_cast<uint16_t>(sizeof ip + size);
    ip.id = id;
    ip.fragment = fragment;
    ip.ttl = p.hop_limit;
    ip.protocol = p.protocol;
    ip.from = p.from.v4();
    ip.to = p.to.v4();
    Checksum sum;
    sum.Add({reinterpret_cast<const uint8_t*>(&ip), sizeof ip});
    ip.checksum = sum.Value();
    memcpy(out + sizeof ethernet, &ip, sizeof ip);
    return sizeof ethernet + sizeof ip;
  }
  Ipv6Header ip{};
  ip.version_class_flow = uint32_t{6} << 28;
  ip.size = static_cast<uint16_t>(size);
  ip.next = p.protocol;
  ip.hop_limit = p.hop_limit;
  ip.from = p.from.bytes;
  ip.to = p.to.bytes;
  memcpy(out + sizeof ethernet, &ip, sizeof ip);
  return sizeof ethernet + sizeof ip;
}

}  // namespace

Lan::Lan(const Options& options, LanHandler* handler, PcapWriter* pcap)
    : options_(options), handler_(handler), pcap_(pcap) {
  gateway6_ = nameserver6_ = options.prefix6;
  gateway6_.bytes[15] = 2;
  nameserver6_.bytes[15] = 3;
  link_local_.bytes[0] = 0xFE;
  link_local_.bytes[1] = 0x80;
  link_local_.bytes[15] = 2;
}

bool Lan::Attach(std::unique_ptr<Link> link) {
  if (ports_.size() >= kMaxGuests) return false;
  ports_.push_back(std::move(link));
  return true;
}

bool Lan::Ours(const IpAddress& ip) const {
  if (ip.is4()) return ip.v4() == options_.gateway || ip.v4() == options_.nameserver;
  return ip == gateway6_ || ip == nameserver6_ || ip == link_local_;
}

bool Lan::Inside(const IpAddress& ip) const {
  if (ip.is4())
    return ip.v4() >> (32 - options_.prefix) == options_.network >> (32 - options_.prefix);
  return ip.link_local6() ||
         std::equal(ip.bytes.begin(), ip.bytes.begin() + 8, options_.prefix6.bytes.begin());
}

void Lan::Learn(const IpAddress& ip, const MacAddress& mac) {
  if (Group(mac) || mac == mac_ || Ours(ip) || ip.unspecified() || ip.multicast() || !Inside(ip)) {
    return;
  }
  if (neighbours_.size() >= kMaxNeighbours && !neighbours_.contains(ip)) {
    neighbours_.erase(neighbours_.begin());
  }
  Neighbour& n = neighbours_[ip];
  n.known = true;
  n.mac = mac;
}

void Lan::LearnPort(Link* link, const MacAddress& mac) {
  if (Group(mac) || mac == mac_) return;
  if (const auto it = macs_.find(mac); it != macs_.end()) {
    it->second = link;
  } else if (macs_.size() < kMaxMacs) {
    macs_.emplace(mac, link);
  }
}

Link* Lan::PortOf(const MacAddress& mac) const {
  if (ports_.size() == 1) return ports_[0].get();
  const auto it = macs_.find(mac);
  return it == macs_.end() ? nullptr : it->second;
}

void Lan::LinkClosed(Link* link) {
  Flush();
  absl::erase_if(macs_, [link](const auto& entry) { return entry.second == link; });
  std::erase_if(ports_, [link](const auto& port) { return port.get() == link; });
  handler_->GuestGone();
}

void Lan::LinkReady(Link*) { handler_->WireReady(); }

void Lan::LinkBatchEnd(Link*) {
  handler_->BatchEnd();
  Flush();
}

void Lan::Flush() {
  for (const auto& port : ports_) port->Flush();
  if (pcap_ != nullptr) pcap_->Flush();
}

void Lan::LinkFrame(Link* link, std::span<const uint8_t> frame, const FrameWork& work) {
  const EthernetHeader ethernet = *ReadAt<EthernetHeader>(frame, 0);
  if (pcap_ != nullptr) pcap_->Write(frame, {});
  if (Group(ethernet.from) || ethernet.from == mac_) return;
  LearnPort(link, ethernet.from);
  if (ethernet.to != mac_) Forward(link, frame, work);
  if (ethernet.to != mac_ && !Group(ethernet.to)) return;
  const std::span<const uint8_t> bytes = frame.subspan(sizeof ethernet);
  switch (ethernet.type) {
    case kTypeArp:
      if (options_.ipv4) ReceiveArp(bytes);
      break;
    case kTypeIpv4:
      if (options_.ipv4) Receive4(ethernet.from, bytes, work);
      break;
    case kTypeIpv6:
      if (options_.ipv6) Receive6(ethernet.from, bytes, work);
      break;
  }
}

void Lan::Forward(Link* from, std::span<const uint8_t> frame, const FrameWork& work) {
  if (ports_.size() < 2) return;
  MacAddress to;
  memcpy(to.data(), frame.data(), to.size());
  Link* const only = Group(to) ? nullptr : PortOf(to);
  const iovec rest = {const_cast<uint8_t*>(frame.data()) + kEthernetSize,
                      frame.size() - kEthernetSize};
  for (const auto& port : ports_) {
    if (port.get() == from || (only != nullptr && port.get() != only)) continue;
    port->Send({frame.first(kEthernetSize), {&rest, 1}, work});
  }
}

void Lan::ReceiveArp(std::span<const uint8_t> bytes) {
  const std::optional<ArpPacket> arp = ReadAt<ArpPacket>(bytes, 0);
  if (!arp || arp->hardware != 1 || arp->protocol != kTypeIpv4 || arp->hardware_size != 6 ||
      arp->protocol_size != 4) {
    return;
  }
  Learn(IpAddress::V4(arp->sender_ip), arp->sender);
  if (arp->operation != 1 || !Ours(IpAddress::V4(arp->target_ip))) return;
  struct {
    EthernetHeader ethernet;
    ArpPacket arp;
  } reply;
  reply.ethernet.to = arp->sender;
  reply.ethernet.from = mac_;
  reply.ethernet.type = kTypeArp;
  reply.arp = *arp;
  reply.arp.operation = uint16_t{2};
  reply.arp.sender = mac_;
  reply.arp.sender_ip = arp->target_ip;
  reply.arp.target = arp->sender;
  reply.arp.target_ip = arp->sender_ip;
  Transmit(arp->sender, {reinterpret_cast<const uint8_t*>(&reply), sizeof reply}, {}, {});
}

void Lan::Receive4(const MacAddress& mac, std::span<const uint8_t> bytes, const FrameWork& work) {
  const std::optional<Ipv4Header> ip = ReadAt<Ipv4Header>(bytes, 0);
  if (!ip || ip->version_size >> 4 != 4) return;
  const size_t head = (ip->version_size & 15) * size_t{4};
  // With segmentation left to do, the size may be 0 or wrong: the frame's counts.
  const size_t size = work.segment_size != 0 ? bytes.size() : size_t{ip->size};
  if (head < sizeof *ip || size < head || size > bytes.size()) return;
  Checksum sum;
  sum.Add(bytes.first(head));
  if (sum.sum() != 0xFFFF) return;
  InPacket packet;
  packet.from = IpAddress::V4(ip->from);
  packet.to = IpAddress::V4(ip->to);
  packet.mac = mac;
  packet.protocol = ip->protocol;
  packet.hop_limit = ip->ttl;
  packet.checksum_known = work.needs_checksum;
  // Only a guest that asks for its address may have none.
  if (!packet.from.unspecified()) {
    if (!Inside(packet.from) || Ours(packet.from)) return;
    Learn(packet.from, mac);
  } else if (ip->protocol != kUdp) {
    return;
  }
  packet.payload = bytes.subspan(head, size - head);
  const uint16_t fragment = ip->fragment;
  if ((fragment & (kMoreFragments | kFragmentOffset)) != 0) {
    packet.payload = fragments_.Add({packet.from, packet.to, ip->id, ip->protocol},
                                    (fragment & kFragmentOffset) * size_t{8},
                                    fragment & kMoreFragments, packet.payload, host::MonotonicNs());
    packet.checksum_known = false;
    if (!packet.payload.empty()) handler_->Deliver(packet, false);
    return;
  }
  handler_->Deliver(packet, true);
}

void Lan::Receive6(const MacAddress& mac, std::span<const uint8_t> bytes, const FrameWork& work) {
  const std::optional<Ipv6Header> ip = ReadAt<Ipv6Header>(bytes, 0);
  if (!ip || ip->version_class_flow >> 28 != 6) return;
  const size_t size = work.segment_size != 0 ? bytes.size() - sizeof *ip : size_t{ip->size};
  if (size > bytes.size() - sizeof *ip) return;
  InPacket packet;
  packet.from = V6(ip->from);
  packet.to = V6(ip->to);
  // A mapped address would be taken for IPv4's: what is refused there must not be
  // reached here.
  if (packet.from.is4() || packet.to.is4()) return;
  packet.mac = mac;
  packet.hop_limit = ip->hop_limit;
  packet.checksum_known = work.needs_checksum;
  const bool nameless = packet.from.unspecified();
  if (!nameless) {
    if (!Inside(packet.from) || Ours(packet.from)) return;
    Learn(packet.from, mac);
  }
  std::span<const uint8_t> rest = bytes.subspan(sizeof *ip, size);
  uint8_t next = ip->next;
  bool stays = true;
  for (int i = 0; next == kHopByHop || next == kRouting || next == kOptions6 || next == kFragment;
       ++i) {
    if (i == kMaxExtensions || rest.size() < 8) return;
    if (next == kFragment) {
      const uint16_t at = LoadBe<uint16_t>(&rest[2]);
      const uint32_t id = LoadBe<uint32_t>(&rest[4]);
      next = rest[0];
      rest = rest.subspan(8);
      if ((at & 0xFFF9) == 0) continue;  // the only one
      if (!stays) return;                // fragments of fragments
      rest = fragments_.Add({packet.from, packet.to, id, next}, at & 0xFFF8, at & 1, rest,
                            host::MonotonicNs());
      packet.checksum_known = false;
      stays = false;
      if (rest.empty()) return;
      continue;
    }
    const size_t length = (rest[1] + size_t{1}) * 8;
    next = rest[0];
    if (rest.size() < length) return;
    rest = rest.subspan(length);
  }
  if (next == kNoNext || (nameless && next != kIcmp6)) return;
  packet.protocol = next;
  packet.payload = rest;
  handler_->Deliver(packet, stays);
}

bool Lan::FindMac(const IpAddress& to, MacAddress* mac) {
  if (to.multicast()) {
    *mac = MulticastMac(to);
    return true;
  }
  const auto it = neighbours_.find(to);
  if (it != neighbours_.end() && it->second.known) {
    *mac = it->second.mac;
    return true;
  }
  return false;
}

bool Lan::Full(const IpAddress& to) const {
  const auto it = neighbours_.find(to);
  if (it == neighbours_.end() || !it->second.known) return false;
  const Link* const port = PortOf(it->second.mac);
  return port != nullptr && port->Full();
}

size_t Lan::SegmentLimit(const IpAddress& to, size_t mss) const {
  const auto it = neighbours_.find(to);
  if (it == neighbours_.end() || !it->second.known) return mss;
  const Link* const port = PortOf(it->second.mac);
  if (port == nullptr) return mss;
  const LinkOffloads offloads = port->offloads();
  if (!(to.is4() ? offloads.tcp4 : offloads.tcp6)) return mss;
  // What an IP packet holds, in whole segments.
  return std::max<size_t>(1, (65535 - sizeof(Ipv6Header) - kMaxHeader) / mss) * mss;
}

Wire::Sent Lan::Send(const Packet& packet) {
  MacAddress mac;
  if (packet.header.size() > kMaxHeader) return Sent::kYes;
  if (!FindMac(packet.to, &mac)) {
    Ask(packet.to);
    return Sent::kNoNeighbour;
  }
  Link* const port = Group(mac) ? nullptr : PortOf(mac);
  const bool offload = port != nullptr && port->offloads().checksum;
  const size_t size = packet.header.size() + packet.payload.size;
  const size_t ip = packet.to.is4() ? sizeof(Ipv4Header) : sizeof(Ipv6Header);
  if (size > 65535 - ip) return Sent::kYes;
  if (packet.protocol != kTcp && ip + size > options_.mtu) {
    SendFragments(mac, packet);
    return Sent::kYes;
  }
  uint8_t out[kHeaders];
  const size_t head = PutHeaders(out, mac_, mac, packet, size, next_id_++, 0);
  memcpy(out + head, packet.header.data(), packet.header.size());
  FrameWork work;
  if (packet.checksum_at != Packet::kNoChecksum) {
    Checksum sum;
    // ICMP for IPv4 alone has no pseudo header.
    if (packet.protocol != kIcmp) {
      sum.AddPseudoHeader(packet.from, packet.to, packet.protocol, static_cast<uint32_t>(size));
    }
    uint16_t value;
    if (offload && packet.protocol != kIcmp) {
      work.needs_checksum = true;
      work.checksum_start = static_cast<uint16_t>(head);
      work.checksum_offset = static_cast<uint16_t>(packet.checksum_at);
      value = sum.sum();
    } else {
      sum.Add(packet.header);
      for (int i = 0; i < packet.payload.count; ++i) {
        const iovec& part = packet.payload.parts[static_cast<size_t>(i)];
        sum.Add({static_cast<const uint8_t*>(part.iov_base), part.iov_len});
      }
      value = sum.Value();
      // For UDP, 0 means that there is none.
      if (value == 0 && packet.protocol == kUdp) value = 0xFFFF;
    }
    StoreBe(out + head + packet.checksum_at, value);
  }
  if (packet.segment_size != 0 && packet.payload.size > packet.segment_size) {
    work.segment_size = packet.segment_size;
    work.header_size = static_cast<uint16_t>(head + packet.header.size());
    work.ipv6 = !packet.to.is4();
  }
  Transmit(mac, {out, head + packet.header.size()}, packet.payload, work);
  return port != nullptr && port->Full() ? Sent::kFull : Sent::kYes;
}

void Lan::SendFragments(const MacAddress& mac, const Packet& packet) {
  // Cut after the checksum has been made over the whole.
  large_.assign(packet.header.begin(), packet.header.end());
  for (int i = 0; i < packet.payload.count; ++i) {
    const iovec& part = packet.payload.parts[static_cast<size_t>(i)];
    const uint8_t* const from = static_cast<const uint8_t*>(part.iov_base);
    large_.insert(large_.end(), from, from + part.iov_len);
  }
  if (packet.checksum_at != Packet::kNoChecksum) {
    Checksum sum;
    if (packet.protocol != kIcmp) {
      sum.AddPseudoHeader(packet.from, packet.to, packet.protocol,
                          static_cast<uint32_t>(large_.size()));
    }
    sum.Add(large_);
    const uint16_t value = sum.Value();
    StoreBe<uint16_t>(large_.data() + packet.checksum_at,
                      value == 0 && packet.protocol == kUdp ? 0xFFFF : value);
  }
  const bool v4 = packet.to.is4();
  const size_t overhead = v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header) + 8;
  const size_t step = (options_.mtu - overhead) & ~size_t{7};
  const uint16_t id = next_id_++;
  for (size_t at = 0; at < large_.size(); at += step) {
    const size_t n = std::min(step, large_.size() - at);
    const bool more = at + n < large_.size();
    uint8_t out[kHeaders];
    size_t head;
    if (v4) {
      head = PutHeaders(out, mac_, mac, packet, n, id,
                        static_cast<uint16_t>(at / 8 | (more ? kMoreFragments : 0)));
    } else {
      Packet piece = packet;
      piece.protocol = kFragment;
      head = PutHeaders(out, mac_, mac, piece, n + 8, id, 0);
      out[head] = packet.protocol;
      out[head + 1] = 0;
      StoreBe(out + head + 2, static_cast<uint16_t>(at | (more ? 1 : 0)));
      StoreBe(out + head + 4, uint32_t{id});
      head += 8;
    }
    Pieces payload;
    payload.Add(large_.data() + at, n);
    Transmit(mac, {out, head}, payload, {});
  }
  Flush();  // large_ is used again
}

void Lan::Transmit(const MacAddress& to, std::span<const uint8_t> header, const Pieces& payload,
                   const FrameWork& work) {
  const std::span<const iovec> parts(payload.parts.data(), static_cast<size_t>(payload.count));
  if (pcap_ != nullptr) pcap_->Write(header, parts);
  Link* const only = Group(to) ? nullptr : PortOf(to);
  for (const auto& port : ports_) {
    if (only == nullptr || port.get() == only) port->Send({header, parts, work});
  }
}

void Lan::Ask(const IpAddress& ip) {
  if (!Inside(ip) || Ours(ip) || ip.multicast()) return;
  const uint64_t now = host::MonotonicNs();
  if (neighbours_.size() >= kMaxNeighbours && !neighbours_.contains(ip)) {
    neighbours_.erase(neighbours_.begin());
  }
  Neighbour& n = neighbours_[ip];
  if (n.asked != 0 && now - n.asked < kAskEveryNs) return;
  n.asked = now;
  if (ip.is4()) {
    struct {
      EthernetHeader ethernet;
      ArpPacket arp;
    } ask{};
    ask.ethernet.to = kBroadcastMac;
    ask.ethernet.from = mac_;
    ask.ethernet.type = kTypeArp;
    ask.arp.hardware = uint16_t{1};
    ask.arp.protocol = kTypeIpv4;
    ask.arp.hardware_size = 6;
    ask.arp.protocol_size = 4;
    ask.arp.operation = uint16_t{1};
    ask.arp.sender = mac_;
    ask.arp.sender_ip = options_.gateway;
    ask.arp.target_ip = ip.v4();
    Transmit(kBroadcastMac, {reinterpret_cast<const uint8_t*>(&ask), sizeof ask}, {}, {});
    return;
  }
  // RFC 4861, 4.3: to the solicited-node address, with our link-layer address.
  uint8_t solicitation[32] = {135};
  std::copy(ip.bytes.begin(), ip.bytes.end(), solicitation + 8);
  solicitation[24] = 1;
  solicitation[25] = 1;
  std::copy(mac_.begin(), mac_.end(), solicitation + 26);
  Packet packet;
  packet.from = ip.link_local6() ? link_local_ : gateway6_;
  packet.to.bytes = {0xFF,         2,           0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xFF, ip.bytes[13],
                     ip.bytes[14], ip.bytes[15]};
  packet.protocol = kIcmp6;
  packet.hop_limit = 255;
  packet.header = solicitation;
  packet.checksum_at = 2;
  Send(packet);
}

}  // namespace atl::usernet
