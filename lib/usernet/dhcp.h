// SPDX-License-Identifier: Apache-2.0
// A DHCP and BOOTP server (RFC 2131, 2132, 951) for one network.
#ifndef LIB_USERNET_DHCP_H_
#define LIB_USERNET_DHCP_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/usernet/address.h"
#include "lib/usernet/options.h"

namespace atl::usernet {

struct Lease {
  MacAddress mac;
  uint32_t address;  // host order
};

class DhcpServer {
 public:
  static constexpr uint16_t kServerPort = 67;
  static constexpr uint16_t kClientPort = 68;
  static constexpr size_t kMaxLeases = 256;

  // `options` Completed(); lives longer.
  explicit DhcpServer(const Options& options) : options_(options) {}

  struct Reply {
    std::vector<uint8_t> message;  // of a UDP datagram from kServerPort to kClientPort
    uint32_t to = 0;               // host order; 0xFFFFFFFF: to all
    std::optional<Lease> lease;    // what the client holds now
  };
  // What `message`, a datagram to kServerPort, is answered with; often nothing.
  std::optional<Reply> Answer(std::span<const uint8_t> message);

  const std::vector<Lease>& leases() const { return leases_; }

 private:
  std::optional<uint32_t> AddressFor(const MacAddress& mac, std::optional<uint32_t> wanted);
  bool Usable(uint32_t address) const;
  bool Free(uint32_t address) const;
  void Forget(const MacAddress& mac);

  const Options& options_;
  std::vector<Lease> leases_;  // the one used longest ago first
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_DHCP_H_
