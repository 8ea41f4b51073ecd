// SPDX-License-Identifier: Apache-2.0
#include "lib/hostnet/host_state.h"

#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "lib/base/status_macros.h"

namespace atl::hostnet {
namespace {

std::string SwitchPath(absl::string_view name) {
  std::string path(name);
  for (char& c : path) c = c == '.' ? '/' : c == '/' ? '.' : c;
  return absl::StrCat("/proc/sys/", path);
}

bool LinkLocal(const netlink::IpPrefix& address) {
  return address.family == AF_INET && address.bytes[0] == 169 && address.bytes[1] == 254;
}

}  // namespace

const netlink::Link* HostState::Find(absl::string_view name) const {
  for (const netlink::Link& link : links) {
    if (link.name == name) return &link;
  }
  return nullptr;
}

const netlink::Link* HostState::Find(int index) const {
  for (const netlink::Link& link : links) {
    if (link.index == index) return &link;
  }
  return nullptr;
}

std::string HostState::NameOf(int index) const {
  const netlink::Link* link = Find(index);
  return link == nullptr ? absl::StrCat("#", index) : link->name;
}

std::optional<netlink::IpPrefix> HostState::AddressOf(const netlink::Link& link) const {
  for (const netlink::Address& a : addresses) {
    if (a.index == link.index && a.prefix.family == AF_INET && !LinkLocal(a.prefix)) {
      return a.prefix;
    }
  }
  return std::nullopt;
}

std::vector<const netlink::Link*> HostState::PortsOf(const netlink::Link& bridge) const {
  std::vector<const netlink::Link*> ports;
  for (const netlink::Link& link : links) {
    if (link.master == bridge.index) ports.push_back(&link);
  }
  return ports;
}

absl::StatusOr<HostState> ReadHostState(netlink::Socket* socket) {
  HostState state;
  ASSIGN_OR_RETURN(state.links, netlink::ListLinks(socket));
  ASSIGN_OR_RETURN(state.addresses, netlink::ListAddresses(socket));
  ASSIGN_OR_RETURN(state.routes, netlink::ListRoutes(socket, AF_INET));
  return state;
}

std::optional<int> ReadSwitch(absl::string_view name) {
  UniqueFd fd(open(SwitchPath(name).c_str(), O_RDONLY | O_CLOEXEC));
  char text[32];
  const ssize_t n = fd.valid() ? read(fd.get(), text, sizeof text) : -1;
  int value = 0;
  if (n <= 0 ||
      !absl::SimpleAtoi(absl::StripAsciiWhitespace(absl::string_view(text, static_cast<size_t>(n))),
                        &value)) {
    return std::nullopt;
  }
  return value;
}

absl::Status WriteSwitch(absl::string_view name, int value) {
  const std::string path = SwitchPath(name);
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  const std::string text = absl::StrCat(value, "\n");
  if (!fd.valid() || write(fd.get(), text.data(), text.size()) < 0) return ErrnoError(errno, path);
  return absl::OkStatus();
}

std::string InterfaceSwitch(absl::string_view family, absl::string_view link,
                            absl::string_view name) {
  return absl::StrCat("net.", family, ".conf.", absl::StrReplaceAll(link, {{".", "/"}}), ".", name);
}

absl::StatusOr<netlink::IpPrefix> FreeSubnet(const HostState& state) {
  auto taken = [&state](const netlink::IpPrefix& net) {
    for (const netlink::Address& a : state.addresses) {
      if (a.prefix.Overlaps(net)) return true;
    }
    for (const netlink::Route& r : state.routes) {
      // The default route leads everywhere, and takes nothing.
      if (r.destination.length != 0 && r.destination.Overlaps(net)) return true;
    }
    return false;
  };
  // 10.77.0.0/16 first: people's own networks begin at 10.0.
  for (uint32_t i = 0; i < 1 << 16; ++i) {
    const uint32_t second = (77 + (i >> 8)) & 0xff;
    const uint32_t third = (i + 1) & 0xff;
    const netlink::IpPrefix host = netlink::Ipv4(10u << 24 | second << 16 | third << 8 | 1, 24);
    if (!taken(host.Network())) return host;
  }
  return absl::NotFoundError("no /24 of 10.0.0.0/8 is free: give one with --subnet");
}

ChangeLock ChangeLock::Take() {
  ChangeLock lock;
  // Each network namespace has one of these, and no file has to be made for it.
  lock.fd_.reset(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  for (int tries = 0; lock.fd_.valid() && tries < 300; ++tries) {
    if (flock(lock.fd_.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) break;
    const timespec pause = {.tv_sec = 0, .tv_nsec = 10'000'000};
    nanosleep(&pause, nullptr);
  }
  return lock;
}

}  // namespace atl::hostnet
