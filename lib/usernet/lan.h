// SPDX-License-Identifier: Apache-2.0
// The guests' Ethernet: a switch, who has which address (ARP, and what NDP tells),
// and IP headers on and off. One thread, the loop's.
//
// Everything a guest says is bounded here: addresses kept, fragments held, and one
// frame in gives at most one frame out per guest.
#ifndef LIB_USERNET_LAN_H_
#define LIB_USERNET_LAN_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "lib/usernet/address.h"
#include "lib/usernet/layout.h"
#include "lib/usernet/link.h"
#include "lib/usernet/options.h"
#include "lib/usernet/pcap.h"
#include "lib/usernet/reassembly.h"
#include "lib/usernet/wire.h"

namespace atl::usernet {

// A packet from a guest that is for the gateway or the world beyond.
struct InPacket {
  IpAddress from;
  IpAddress to;
  MacAddress mac;  // the sender's
  uint8_t protocol = 0;
  uint8_t hop_limit = 0;
  std::span<const uint8_t> payload;  // from the transport's header on
  bool checksum_known = false;       // need not be looked at
};

class LanHandler {
 public:
  virtual ~LanHandler() = default;
  // The payload stays until BatchEnd(), but of what was put together of fragments.
  virtual void Deliver(const InPacket& packet, bool payload_stays) = 0;
  virtual void BatchEnd() = 0;
  // Wire::Full() may be false again.
  virtual void WireReady() = 0;
  virtual void GuestGone() = 0;
};

class Lan final : public Wire, public LinkHandler {
 public:
  static constexpr size_t kMaxGuests = 64;

  // `options` Completed(). `pcap` may be null. Both, and `handler`, live longer.
  Lan(const Options& options, LanHandler* handler, PcapWriter* pcap);

  // False where there are kMaxGuests.
  bool Attach(std::unique_ptr<Link> link);
  size_t guests() const { return ports_.size(); }

  Sent Send(const Packet& packet) override;
  bool Full(const IpAddress& to) const override;
  size_t SegmentLimit(const IpAddress& to, size_t mss) const override;
  void Flush() override;

  void LinkFrame(Link* link, std::span<const uint8_t> frame, const FrameWork& work) override;
  void LinkBatchEnd(Link* link) override;
  void LinkReady(Link* link) override;
  void LinkClosed(Link* link) override;

  // What NDP and DHCP find out: `ip` is at `mac`.
  void Learn(const IpAddress& ip, const MacAddress& mac);
  void Forget(const IpAddress& ip) { neighbours_.erase(ip); }

  // Of the gateway, for all addresses that are ours.
  const MacAddress& mac() const { return mac_; }
  IpAddress gateway() const { return IpAddress::V4(options_.gateway); }
  IpAddress nameserver() const { return IpAddress::V4(options_.nameserver); }
  const IpAddress& gateway6() const { return gateway6_; }
  const IpAddress& nameserver6() const { return nameserver6_; }
  const IpAddress& link_local() const { return link_local_; }
  bool Ours(const IpAddress& ip) const;
  // On the guests' network, whether a guest's or ours.
  bool Inside(const IpAddress& ip) const;

 private:
  static constexpr size_t kMaxNeighbours = 1024;
  static constexpr size_t kMaxMacs = 1024;
  static constexpr uint64_t kAskEveryNs = 200'000'000;

  struct Neighbour {
    bool known = false;
    MacAddress mac{};
    uint64_t asked = 0;
  };

  void LearnPort(Link* link, const MacAddress& mac);
  Link* PortOf(const MacAddress& mac) const;
  void Forward(Link* from, std::span<const uint8_t> frame, const FrameWork& work);
  void ReceiveArp(std::span<const uint8_t> bytes);
  void Receive4(const MacAddress& mac, std::span<const uint8_t> bytes, const FrameWork& work);
  void Receive6(const MacAddress& mac, std::span<const uint8_t> bytes, const FrameWork& work);
  void Ask(const IpAddress& ip);
  void Transmit(const MacAddress& to, std::span<const uint8_t> header, const Pieces& payload,
                const FrameWork& work);
  void SendFragments(const MacAddress& mac, const Packet& packet);
  bool FindMac(const IpAddress& to, MacAddress* mac);

  const Options& options_;
  LanHandler* const handler_;
  PcapWriter* const pcap_;
  const MacAddress mac_ = {0x52, 0x55, 0x0A, 0x00, 0x02, 0x02};
  IpAddress gateway6_, nameserver6_, link_local_;
  std::vector<std::unique_ptr<Link>> ports_;
  absl::flat_hash_map<MacAddress, Link*> macs_;
  absl::flat_hash_map<IpAddress, Neighbour> neighbours_;
  Reassembly fragments_;
  std::vector<uint8_t> large_;  // a datagram that is being cut
  uint16_t next_id_ = 1;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_LAN_H_
