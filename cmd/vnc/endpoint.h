// SPDX-License-Identifier: Apache-2.0
// Where `vnc` listens, as it is written on the command line.
#ifndef CMD_VNC_ENDPOINT_H_
#define CMD_VNC_ENDPOINT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::vnc {

inline constexpr unsigned kRfbPortBase = 5900;
inline constexpr unsigned kWebPortBase = 5700;

struct Endpoint {
  enum class Kind : uint8_t { kTcp, kUnix, kFd } kind = Kind::kTcp;
  std::string host;  // kTcp; empty means the loopback
  uint16_t port = 0;
  std::optional<uint16_t> web_port;  // kTcp by display number: where a browser goes
  std::string path;                  // kUnix
  int fd = -1;                       // kFd

  // Whether only this host's own programs reach it. An inherited descriptor is
  // looked at.
  bool local = true;
  std::string text;  // as written
};

// "host:display", "host::port", "[v6]:display", ":display", "unix:PATH",
// "fd:N". Usage errors name the text.
absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view text);

// The sockets that systemd passed to this process (sd_listen_fds(3)).
std::vector<Endpoint> SystemdEndpoints();

}  // namespace atl::vnc

#endif  // CMD_VNC_ENDPOINT_H_
