// SPDX-License-Identifier: Apache-2.0
// What a user-mode network is made of. The addresses that guests see are those
// of QEMU's user network, so that guests set up for the one find the other.
#ifndef LIB_USERNET_OPTIONS_H_
#define LIB_USERNET_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/usernet/address.h"

namespace atl::usernet {

// Connections (or datagrams) that arrive at `host` go to `guest`.
struct Forward {
  bool udp = false;
  Endpoint host;   // an unspecified address: all of the host's
  Endpoint guest;  // an unspecified address: the first lease

  std::string ToString() const;  // "tcp:0.0.0.0:2222-10.0.2.15:22"
  bool operator==(const Forward&) const = default;
};

// "tcp:127.0.0.1:2222-10.0.2.15:22", "tcp::2222-:22", "udp::69-:69", ":2222-:22":
// the syntax of QEMU's hostfwd; IPv6 addresses stand in brackets.
absl::StatusOr<Forward> ParseForward(absl::string_view text);
// "tcp:127.0.0.1:2222", "tcp::2222", "2222": QEMU's hostfwd_remove. The guest is
// left empty.
absl::StatusOr<Forward> ParseForwardHost(absl::string_view text);

struct Options {
  bool ipv4 = true;
  bool ipv6 = true;

  // Host order. Those that are 0 follow from the network: .2, .3 and .15 of it.
  uint32_t network = 0x0A000200;  // 10.0.2.0
  unsigned prefix = 24;           // bits; 8 to 29
  uint32_t gateway = 0;
  uint32_t nameserver = 0;
  uint32_t first_lease = 0;
  // A /64; ::2 and ::3 of it are gateway and name server.
  IpAddress prefix6 = *IpAddress::Parse("fec0::");

  std::string hostname;             // what DHCP tells the guest it is called
  std::string domain;               // DHCP's domain name
  std::vector<std::string> search;  // DHCP's domain search list
  std::string tftp;                 // folder; empty: no TFTP server
  std::string bootfile;             // name in that folder, or a URL
  std::string next_server;          // name of the TFTP server in DHCP; its address is the gateway

  // Packets for the gateway address reach the host's loopback.
  bool loopback = true;
  // Guests reach nothing but the engine's own services; forwards work.
  bool restricted = false;
  // Told to guests by DHCP and router advertisement where it is not 1500. The
  // largest packet that guests are sent; 576 to 65521.
  uint32_t mtu = 1500;
  // Resolvers of the host; empty: those of /etc/resolv.conf.
  std::vector<IpAddress> resolvers;
  std::vector<Forward> forwards;
  std::string pcap;  // file that all frames are written to; empty: none

  uint32_t max_connections = 4096;  // TCP and UDP together, lower where few descriptors are allowed
};

// "10.0.2.0/24", "10.0.2.5" (then /24), "10.0.2.0/255.255.255.0", "192.168.7/24" are
// taken for an IPv4 network, "fec0::/64" for an IPv6 one.
absl::Status ParseNetwork(absl::string_view text, Options* options);

// Fills in what follows from other options and refuses what does not fit:
// InvalidArgument names the option as `net user` and `-net user` call it.
absl::StatusOr<Options> Completed(const Options& options);

}  // namespace atl::usernet

#endif  // LIB_USERNET_OPTIONS_H_
