// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/testing/guest.h"

#include <algorithm>
#include <cstring>

#include "lib/base/endian.h"
#include "lib/usernet/layout.h"

namespace atl::usernet::testing_guest {
namespace {

uint16_t Sum(std::span<const uint8_t> bytes, uint32_t sum = 0) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? uint32_t{bytes[i]} << 8 : bytes[i];
    sum = (sum & 0xFFFF) + (sum >> 16);
  }
  return static_cast<uint16_t>(sum);
}

// With the addresses, length and protocol in front.
uint16_t TransportSum(const IpAddress& from, const IpAddress& to, uint8_t protocol,
                      std::span<const uint8_t> bytes) {
  Bytes all;
  const size_t skip = from.is4() ? 12 : 0;
  all.insert(all.end(), from.bytes.begin() + static_cast<ptrdiff_t>(skip), from.bytes.end());
  all.insert(all.end(), to.bytes.begin() + static_cast<ptrdiff_t>(skip), to.bytes.end());
  uint8_t tail[8];
  StoreBe(tail, static_cast<uint32_t>(bytes.size()));
  StoreBe(tail + 4, uint32_t{protocol});
  all.insert(all.end(), tail, tail + 8);
  return Sum(bytes, Sum(all));
}

template <typename T>
void Append(Bytes* out, const T& value) {
  const uint8_t* const p = reinterpret_cast<const uint8_t*>(&value);
  out->insert(out->end(), p, p + sizeof value);
}

}  // namespace

Bytes IpFrame(const IpAddress& from, const IpAddress& to, uint8_t protocol, const Bytes& payload,
              const MacAddress& mac, uint8_t hop_limit) {
  Bytes out;
  EthernetHeader ethernet;
  ethernet.to = kGatewayMac;
  ethernet.from = mac;
  ethernet.type = from.is4() ? kTypeIpv4 : kTypeIpv6;
  Append(&out, ethernet);
  if (from.is4()) {
    Ipv4Header ip{};
    ip.version_size = 0x45;
    ip.size = static_cast<uint16_t>(sizeof ip + payload.size());
    ip.ttl = hop_limit;
    ip.protocol = protocol;
    ip.from = from.v4();
    ip.to = to.v4();
    ip.checksum = static_cast<uint16_t>(~Sum({reinterpret_cast<const uint8_t*>(&ip), sizeof ip}));
    Append(&out, ip);
  } else {
    Ipv6Header ip{};
    ip.version_class_flow = uint32_t{6} << 28;
    ip.size = static_cast<uint16_t>(payload.size());
    ip.next = protocol;
    ip.hop_limit = hop_limit;
    ip.from = from.bytes;
    ip.to = to.bytes;
    Append(&out, ip);
  }
  out.insert(out.end(), payload.begin(), payload.end());
  return out;
}

Bytes TcpFrame(const IpAddress& from, const IpAddress& to, const Tcp& tcp) {
  TcpHeader h{};
  h.from = tcp.from;
  h.to = tcp.to;
  h.sequence = tcp.sequence;
  h.acknowledgement = tcp.acknowledgement;
  h.offset = static_cast<uint8_t>((sizeof h + tcp.options.size()) / 4 << 4);
  h.flags = tcp.flags;
  h.window = tcp.window;
  Bytes bytes;
  Append(&bytes, h);
  bytes.insert(bytes.end(), tcp.options.begin(), tcp.options.end());
  bytes.insert(bytes.end(), tcp.payload.begin(), tcp.payload.end());
  StoreBe(&bytes[offsetof(TcpHeader, checksum)],
          static_cast<uint16_t>(~TransportSum(from, to, kTcp, bytes)));
  return IpFrame(from, to, kTcp, bytes);
}

Bytes UdpFrame(const Endpoint& from, const Endpoint& to, const Bytes& payload) {
  UdpHeader h{};
  h.from = from.port;
  h.to = to.port;
  h.size = static_cast<uint16_t>(sizeof h + payload.size());
  Bytes bytes;
  Append(&bytes, h);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  StoreBe(&bytes[offsetof(UdpHeader, checksum)],
          static_cast<uint16_t>(~TransportSum(from.address, to.address, kUdp, bytes)));
  return IpFrame(from.address, to.address, kUdp, bytes);
}

Bytes PingFrame(const IpAddress& from, const IpAddress& to, uint16_t id, const Bytes& payload) {
  const bool v4 = from.is4();
  IcmpHeader h{};
  h.type = v4 ? 8 : 128;
  h.id = id;
  Bytes bytes;
  Append(&bytes, h);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  StoreBe(&bytes[2],
          static_cast<uint16_t>(~(v4 ? Sum(bytes) : TransportSum(from, to, kIcmp6, bytes))));
  return IpFrame(from, to, v4 ? kIcmp : kIcmp6, bytes);
}

Bytes ArpRequest(uint32_t from, uint32_t to) {
  Bytes out;
  EthernetHeader ethernet;
  ethernet.to = kBroadcastMac;
  ethernet.from = kGuestMac;
  ethernet.type = kTypeArp;
  Append(&out, ethernet);
  ArpPacket arp{};
  arp.hardware = uint16_t{1};
  arp.protocol = kTypeIpv4;
  arp.hardware_size = 6;
  arp.protocol_size = 4;
  arp.operation = uint16_t{1};
  arp.sender = kGuestMac;
  arp.sender_ip = from;
  arp.target_ip = to;
  Append(&out, arp);
  return out;
}

std::optional<Ip> ParseIp(std::span<const uint8_t> frame) {
  if (frame.size() < sizeof(EthernetHeader) + sizeof(Ipv4Header)) return std::nullopt;
  const uint16_t type = LoadBe<uint16_t>(&frame[12]);
  const std::span<const uint8_t> bytes = frame.subspan(sizeof(EthernetHeader));
  Ip out;
  if (type == kTypeIpv4) {
    Ipv4Header ip;
    memcpy(&ip, bytes.data(), sizeof ip);
    if (ip.version_size != 0x45 || ip.size != bytes.size() ||
        Sum(bytes.first(sizeof ip)) != 0xFFFF) {
      return std::nullopt;
    }
    out.from = IpAddress::V4(ip.from);
    out.to = IpAddress::V4(ip.to);
    out.protocol = ip.protocol;
    out.payload.assign(bytes.begin() + sizeof ip, bytes.end());
    if ((ip.fragment & (kMoreFragments | kFragmentOffset)) != 0) return out;
  } else if (type == kTypeIpv6 && bytes.size() >= sizeof(Ipv6Header)) {
    Ipv6Header ip;
    memcpy(&ip, bytes.data(), sizeof ip);
    if (ip.size != bytes.size() - sizeof ip) return std::nullopt;
    out.from = IpAddress{ip.from};
    out.to = IpAddress{ip.to};
    out.protocol = ip.next;
    out.payload.assign(bytes.begin() + sizeof ip, bytes.end());
  } else {
    return std::nullopt;
  }
  const uint16_t sum = out.protocol == kIcmp
                           ? Sum(out.payload)
                           : TransportSum(out.from, out.to, out.protocol, out.payload);
  if (sum != 0xFFFF && out.protocol != 44) return std::nullopt;
  return out;
}

std::optional<Tcp> ParseTcp(const Ip& ip) {
  if (ip.protocol != kTcp || ip.payload.size() < sizeof(TcpHeader)) return std::nullopt;
  TcpHeader h;
  memcpy(&h, ip.payload.data(), sizeof h);
  const size_t head = (h.offset >> 4) * size_t{4};
  if (head < sizeof h || head > ip.payload.size()) return std::nullopt;
  Tcp out;
  out.from = h.from;
  out.to = h.to;
  out.sequence = h.sequence;
  out.acknowledgement = h.acknowledgement;
  out.flags = h.flags;
  out.window = h.window;
  out.options.assign(ip.payload.begin() + sizeof h,
                     ip.payload.begin() + static_cast<ptrdiff_t>(head));
  out.payload.assign(ip.payload.begin() + static_cast<ptrdiff_t>(head), ip.payload.end());
  return out;
}

}  // namespace atl::usernet::testing_guest
