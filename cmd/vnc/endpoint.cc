// SPDX-License-Identifier: Apache-2.0
#include "cmd/vnc/endpoint.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"
#include "lib/cli/option.h"

namespace atl::vnc {
namespace {

constexpr int kFirstSystemdFd = 3;
constexpr int kMaxSystemdFds = 64;

bool IsLoopback(const std::string& host) {
  if (host.empty() || host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

// What a descriptor that was passed listens on.
absl::Status LookAt(Endpoint* endpoint) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  int listening = 0;
  socklen_t int_size = sizeof listening;
  if (getsockname(endpoint->fd, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      getsockopt(endpoint->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &int_size) != 0 ||
      listening == 0) {
    return cli::UsageError(
        absl::StrCat("option '-l': ", endpoint->text, " is not a socket that listens"));
  }
  char name[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(&address)->sin_addr, name, sizeof name);
  } else if (address.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6*>(&address)->sin6_addr, name, sizeof name);
  }
  endpoint->local = address.ss_family == AF_UNIX || IsLoopback(name);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view text) {
  const auto wrong = [&](absl::string_view why) {
    return cli::UsageError(absl::StrCat("option '-l': '", text, "' ", why,
                                        " (valid: HOST:DISPLAY, HOST::PORT, unix:PATH, fd:N)"));
  };
  Endpoint out;
  out.text = std::string(text);
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "unix:")) {
    if (rest.empty()) return wrong("names no path");
    out.kind = Endpoint::Kind::kUnix;
    out.path = std::string(rest);
    return out;
  }
  if (absl::ConsumePrefix(&rest, "fd:")) {
    out.kind = Endpoint::Kind::kFd;
    if (!absl::SimpleAtoi(rest, &out.fd) || out.fd < 0) return wrong("names no descriptor");
    RETURN_IF_ERROR(LookAt(&out));
    return out;
  }
  if (absl::ConsumePrefix(&rest, "[")) {
    const size_t end = rest.find(']');
    if (end == absl::string_view::npos) return wrong("has no ]");
    out.host = std::string(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  } else {
    const size_t colon = rest.find(':');
    if (colon == absl::string_view::npos) return wrong("names no display");
    out.host = std::string(rest.substr(0, colon));
    rest.remove_prefix(colon);
  }
  if (!absl::ConsumePrefix(&rest, ":")) return wrong("names no display");
  const bool is_port = absl::ConsumePrefix(&rest, ":");
  unsigned number = 0;
  if (!absl::SimpleAtoi(rest, &number)) return wrong("names no display");
  if (is_port) {
    if (number > 65535) return wrong("names a port above 65535");
    out.port = static_cast<uint16_t>(number);
  } else {
    if (number > 65535 - kRfbPortBase) return wrong("names a display above 59635");
    out.port = static_cast<uint16_t>(kRfbPortBase + number);
    out.web_port = static_cast<uint16_t>(kWebPortBase + number);
  }
  out.local = IsLoopback(out.host);
  return out;
}

std::vector<Endpoint> SystemdEndpoints() {
  std::vector<Endpoint> out;
  const char* const pid = getenv("LISTEN_PID");
  const char* const fds = getenv("LISTEN_FDS");
  int count = 0, owner = 0;
  if (pid == nullptr || fds == nullptr || !absl::SimpleAtoi(pid, &owner) || owner != getpid() ||
      !absl::SimpleAtoi(fds, &count) || count > kMaxSystemdFds) {
    return out;
  }
  for (int i = 0; i < count; ++i) {
    Endpoint e;
    e.kind = Endpoint::Kind::kFd;
    e.fd = kFirstSystemdFd + i;
    e.text = absl::StrCat("fd:", e.fd);
    if (LookAt(&e).ok() && fcntl(e.fd, F_SETFD, FD_CLOEXEC) == 0) out.push_back(e);
  }
  return out;
}

}  // namespace atl::vnc
