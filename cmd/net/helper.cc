// SPDX-License-Identifier: Apache-2.0
// net helper: what qemu-bridge-helper is, a program that makes a tap in a bridge
// and hands it to a caller without rights. It may be installed with the
// set-user-id bit or with cap_net_admin; the file of allowed bridges then says
// what anybody may have.
//
// The caller's arguments and its socket are foreign; the file's name is not: it
// can be given only by who has no more rights than the caller.
#include <linux/capability.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "cmd/net/commands.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/host/file.h"
#include "lib/hostnet/acl.h"
#include "lib/hostnet/links.h"
#include "lib/hostnet/names.h"
#include "lib/hostnet/tap.h"
#include "lib/netlink/rtnetlink.h"

namespace atl::net_tool {
namespace {

constexpr char kOwnFile[] = "/etc/atoll/bridge.conf";
constexpr char kQemusFile[] = "/etc/qemu/bridge.conf";
constexpr uint64_t kMostFile = 1 << 20;

constexpr cli::Option kOptions[] = {
    {.name = "--use-vnet", .help = "a tap with virtio-net headers"},
    {.name = "--fd",
     .arg = "N",
     .kind = cli::Kind::kUnsigned,
     .help = "the unix socket that the tap's descriptor is sent through",
     .max = 1 << 20,
     .required = true},
    {.name = "--br",
     .arg = "BRIDGE",
     .kind = cli::Kind::kString,
     .help = "the bridge that the tap is put into",
     .required = true},
    {.name = "--acl",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "which bridges are allowed; not with another user's rights",
     .default_text = "/etc/atoll/bridge.conf, else /etc/qemu/bridge.conf"},
};

absl::StatusOr<std::string> ReadText(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, host::ReadFile(path, kMostFile));
  return std::string(bytes.begin(), bytes.end());
}

// Everything but CAP_NET_ADMIN goes, for good.
absl::Status KeepOnlyNetAdmin() {
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  // The set-user-id bit gave root; the capability is all that it was for.
  if (geteuid() != getuid() || getegid() != getgid()) {
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
    if (setresgid(getgid(), getgid(), getgid()) != 0 ||
        setresuid(getuid(), getuid(), getuid()) != 0) {
      return ErrnoError(errno, "giving up rights");
    }
  }
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {};
  constexpr uint32_t kMask = 1u << CAP_NET_ADMIN;
  data[0] = {.effective = kMask, .permitted = kMask, .inheritable = 0};
  // Without the capability there is nothing to keep; the kernel refuses the tap.
  if (syscall(SYS_capset, &header, data) != 0 && errno != EPERM) {
    return ErrnoError(errno, "giving up rights");
  }
  return absl::OkStatus();
}

// One byte of zero with the descriptor, as QEMU reads it.
absl::Status SendDescriptor(int socket, int fd) {
  char zero = 0;
  iovec iov = {.iov_base = &zero, .iov_len = 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
  while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) {
      return ErrnoError(errno, absl::StrCat("--fd=", socket, ": sending the tap"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  const bool privileged = getauxval(AT_SECURE) != 0;
  if (privileged && args.Has("--acl")) {
    return cli::UsageError("option '--acl' is not for a helper with another user's rights");
  }
  const std::string bridge = args.TextOr("--br", "");
  absl::Status valid = hostnet::CheckName(bridge);
  if (!valid.ok()) return cli::UsageError(valid.message());
  const int fd = static_cast<int>(*args.Number("--fd"));
  int type = 0;
  socklen_t length = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &type, &length) != 0 || type != AF_UNIX) {
    return cli::UsageError(absl::StrCat("option '--fd': ", fd, " is no unix socket"));
  }
  const std::string file =
      args.TextOr("--acl", access(kOwnFile, F_OK) == 0 ? kOwnFile : kQemusFile);
  RETURN_IF_ERROR(hostnet::CheckBridgeAllowed(file, bridge, ReadText));
  RETURN_IF_ERROR(KeepOnlyNetAdmin());

  ASSIGN_OR_RETURN(netlink::Socket socket, netlink::Socket::Open());
  ASSIGN_OR_RETURN(const netlink::Link link, netlink::FindLink(&socket, bridge));
  hostnet::HostState only;
  only.links.push_back(link);
  RETURN_IF_ERROR(hostnet::FindBridge(only, bridge).status());
  ASSIGN_OR_RETURN(const hostnet::OpenTap tap,
                   hostnet::NewTap({.vnet_hdr = args.Has("--use-vnet")}));
  RETURN_IF_ERROR(
      netlink::ChangeLink(&socket, tap.name,
                          {.up = true,
                           .mtu = link.mtu,
                           .mac = hostnet::TapMac(absl::StrCat(hostnet::HostIdentity(), tap.name)),
                           .master = link.index}));
  RETURN_IF_ERROR(SendDescriptor(fd, tap.fds.front().get()));
  return cli::kExitDone;
}

}  // namespace

const cli::Command kHelper = {
    .name = "helper",
    .summary = "make a tap in a bridge for QEMU, as qemu-bridge-helper does",
    .options = kOptions,
    .run = Run,
};

}  // namespace atl::net_tool
