// SPDX-License-Identifier: Apache-2.0
// A DHCPv6 server (RFC 8415) for one network: addresses (IA_NA), name server, search
// list and boot file (RFC 5970).
#ifndef LIB_USERNET_DHCP6_H_
#define LIB_USERNET_DHCP6_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/usernet/address.h"
#include "lib/usernet/options.h"

namespace atl::usernet {

class Dhcp6Server {
 public:
  static constexpr uint16_t kServerPort = 547;
  static constexpr uint16_t kClientPort = 546;
  static constexpr size_t kMaxLeases = 256;
  static constexpr size_t kMaxDuid = 130;  // bytes, type included

  // `options` Completed(), lives longer. `mac` names the server.
  Dhcp6Server(const Options& options, const MacAddress& mac);

  // What `message`, a datagram to kServerPort, is answered with; often nothing.
  std::optional<std::vector<uint8_t>> Answer(std::span<const uint8_t> message);

  struct Lease {
    std::vector<uint8_t> duid;
    IpAddress address;
  };
  const std::vector<Lease>& leases() const { return leases_; }

 private:
  IpAddress AddressFor(std::span<const uint8_t> duid);

  const Options& options_;
  std::vector<uint8_t> own_duid_;
  std::vector<Lease> leases_;  // the one used longest ago first
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_DHCP6_H_
