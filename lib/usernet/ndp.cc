// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/ndp.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "lib/base/bytes_reader.h"
#include "lib/base/endian.h"
#include "lib/usernet/layout.h"

namespace atl::usernet {
namespace {

constexpr uint8_t kRouterSolicitation = 133, kRouterAdvertisement = 134;
constexpr uint8_t kNeighbourSolicitation = 135, kNeighbourAdvertisement = 136;
constexpr uint8_t kSourceLink = 1, kTargetLink = 2, kPrefix = 3, kMtu = 5, kRdnss = 25;

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kEveryNs = 600 * kSecondNs;
constexpr uint64_t kAtMostNs = kSecondNs / 10;
constexpr uint16_t kRouterSeconds = 9000;
constexpr uint32_t kLifetime = 86400;

struct Solicitation {  // and advertisement, of a neighbour
  uint8_t type;
  uint8_t code;
  be16 checksum;
  be32 flags;
  std::array<uint8_t, 16> target;
};
static_assert(sizeof(Solicitation) == 24);
constexpr uint32_t kRouterFlag = 1u << 31, kSolicited = 1u << 30, kOverride = 1u << 29;

IpAddress AllNodes() {
  IpAddress out;
  out.bytes[0] = 0xFF;
  out.bytes[1] = 2;
  out.bytes[15] = 1;
  return out;
}

// The link-layer address in the options behind a message; options of no length end it.
std::optional<MacAddress> LinkOption(std::span<const uint8_t> options, uint8_t wanted) {
  while (options.size() >= 8) {
    const size_t size = options[1] * size_t{8};
    if (size == 0 || size > options.size()) return std::nullopt;
    if (options[0] == wanted) {
      MacAddress mac;
      std::copy_n(options.begin() + 2, mac.size(), mac.begin());
      return mac;
    }
    options = options.subspan(size);
  }
  return std::nullopt;
}

}  // namespace

Ndp::Ndp(host::EventLoop* loop, Lan* lan, const Options& options) : lan_(lan), options_(options) {
  timer_ = loop->NewTimer([this] {
    Advertise(AllNodes());
    next_ = host::MonotonicNs() + kEveryNs;
    timer_->Arm(next_);
  });
}

bool Ndp::Receive(const InPacket& packet) {
  if (packet.payload.size() < 8) return false;
  const uint8_t type = packet.payload[0];
  if (type < kRouterSolicitation || type > kNeighbourAdvertisement + 1) return false;
  // Only from this very link (RFC 4861, 6.1 and 7.1).
  if (packet.hop_limit != 255 || packet.payload[1] != 0) return true;
  switch (type) {
    case kRouterSolicitation: {
      const uint64_t now = host::MonotonicNs();
      if (next_ == 0) {
        next_ = now + kEveryNs;
        timer_->Arm(next_);
      }
      if (now - last_ < kAtMostNs && last_ != 0) break;
      last_ = now;
      Advertise(AllNodes());
      break;
    }
    case kNeighbourSolicitation:
      Answer(packet);
      break;
    case kNeighbourAdvertisement:
      if (const std::optional<Solicitation> in = ReadAt<Solicitation>(packet.payload, 0)) {
        const std::optional<MacAddress> mac =
            LinkOption(packet.payload.subspan(sizeof *in), kTargetLink);
        lan_->Learn(IpAddress{in->target}, mac.value_or(packet.mac));
      }
      break;
  }
  return true;
}

void Ndp::Answer(const InPacket& packet) {
  const std::optional<Solicitation> in = ReadAt<Solicitation>(packet.payload, 0);
  if (!in) return;
  const IpAddress target{in->target};
  const bool probe = packet.from.unspecified();  // whether the address is free
  if (!probe) lan_->Learn(packet.from, packet.mac);
  if (target.is4() || !lan_->Ours(target)) return;
  struct {
    Solicitation message;
    uint8_t type;
    uint8_t words;
    MacAddress mac;
  } out{};
  out.message.type = kNeighbourAdvertisement;
  out.message.flags = kRouterFlag | kOverride | (probe ? 0 : kSolicited);
  out.message.target = in->target;
  out.type = kTargetLink;
  out.words = 1;
  out.mac = lan_->mac();
  Packet reply;
  reply.from = target;
  reply.to = probe ? AllNodes() : packet.from;
  reply.protocol = kIcmp6;
  reply.hop_limit = 255;
  reply.header = {reinterpret_cast<const uint8_t*>(&out), sizeof out};
  reply.checksum_at = offsetof(Solicitation, checksum);
  lan_->Send(reply);
}

void Ndp::Advertise(const IpAddress& to) {
  struct {
    uint8_t type = kRouterAdvertisement;
    uint8_t code = 0;
    be16 checksum = uint16_t{0};
    uint8_t hop_limit = 64;
    uint8_t flags = 0xC0;  // addresses and the rest by DHCPv6, too
    be16 lifetime;
    be32 reachable = 0u;
    be32 retransmit = 0u;
  } head;
  static_assert(sizeof head == 16);
  // A network that leads nowhere is no way out.
  head.lifetime = options_.restricted ? uint16_t{0} : kRouterSeconds;

  struct {
    uint8_t link_type = kSourceLink;
    uint8_t link_words = 1;
    MacAddress mac;
    uint8_t prefix_type = kPrefix;
    uint8_t prefix_words = 4;
    uint8_t prefix_size = 64;
    uint8_t prefix_flags = 0xC0;  // on this link, and for addresses of one's own making
    be32 valid = kLifetime;
    be32 preferred = kLifetime;
    be32 reserved = 0u;
    std::array<uint8_t, 16> prefix;
    uint8_t mtu_type = kMtu;
    uint8_t mtu_words = 1;
    be16 mtu_reserved = uint16_t{0};
    be32 mtu;
    uint8_t dns_type = kRdnss;
    uint8_t dns_words = 3;
    be16 dns_reserved = uint16_t{0};
    be32 dns_lifetime = kLifetime;
    std::array<uint8_t, 16> dns;
  } options;
  static_assert(sizeof options == 72);
  options.mac = lan_->mac();
  options.prefix = options_.prefix6.bytes;
  options.mtu = options_.mtu;
  options.dns = lan_->nameserver6().bytes;
  Packet packet;
  packet.from = lan_->link_local();
  packet.to = to;
  packet.protocol = kIcmp6;
  packet.hop_limit = 255;
  packet.header = {reinterpret_cast<const uint8_t*>(&head), sizeof head};
  const size_t size = sizeof options - (options_.restricted ? 24 : 0);
  packet.payload.Add(&options, size);
  packet.checksum_at = 2;
  lan_->Send(packet);
  lan_->Flush();  // `options` goes now
}

}  // namespace atl::usernet
