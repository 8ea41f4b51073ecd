// SPDX-License-Identifier: Apache-2.0
#include "lib/hostnet/tap.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/hostnet/names.h"

namespace atl::hostnet {
namespace {

constexpr char kDevice[] = "/dev/net/tun";
// Since Linux 6.2; the numbers are part of the kernel's interface.
constexpr unsigned kUso = 0x20 | 0x40;
constexpr int kVnetHeaderBytes = 12;  // virtio_net_hdr_v1

absl::Status NoDevice(int error) {
  const absl::Status status = ErrnoError(error, kDevice);
  if (error == ENOENT || error == ENODEV || error == ENXIO) {
    return absl::Status(status.code(),
                        absl::StrCat(status.message(), " (the module is missing: modprobe tun)"));
  }
  return status;
}

absl::Status Refused(int error, const TapOptions& options) {
  const bool fixed = !absl::StrContains(options.name, '%');
  absl::string_view why = "";
  if (error == EBUSY) {
    why = " (another process has it open, or it has as many queues as it can)";
  } else if (error == EINVAL && fixed) {
    why =
        " (there is an interface of that name that is no tap, or a tap that was made with another "
        "setting of multi_queue: a tap has several queues from its making on or never)";
  } else if (error == EPERM) {
    why = " (it takes CAP_NET_ADMIN to make a tap, or to open another user's)";
  } else if (error == E2BIG) {
    why = " (too many queues)";
  } else if (error == ENFILE || error == EEXIST) {
    why = " (no number is free, or the name is taken)";
  }
  const absl::Status status = ErrnoError(error, absl::StrCat("tap ", options.name));
  return absl::Status(status.code(), absl::StrCat(status.message(), why));
}

absl::Status SetHeader(int fd, const TapOptions& options, absl::string_view name) {
  if (options.vnet_hdr) {
    int bytes = kVnetHeaderBytes;
    if (ioctl(fd, TUNSETVNETHDRSZ, &bytes) != 0) {
      return ErrnoError(errno, absl::StrCat("tap ", name, ": header of 12 bytes"));
    }
  }
  if (options.offload) {
    constexpr unsigned kOld = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    if (ioctl(fd, TUNSETOFFLOAD, kOld | kUso) != 0 && ioctl(fd, TUNSETOFFLOAD, kOld) != 0) {
      return ErrnoError(errno, absl::StrCat("tap ", name, ": offloads"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OpenTap> NewTap(const TapOptions& options) {
  RETURN_IF_ERROR(CheckNamePattern(options.name));
  if (options.queues < 1 || options.queues > kMostQueues) {
    return absl::InvalidArgumentError(
        absl::StrCat("tap ", options.name, ": 1 to ", kMostQueues, " queues are possible"));
  }
  OpenTap tap;
  ifreq request = {};
  std::memcpy(request.ifr_name, options.name.data(), options.name.size());
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (options.vnet_hdr || options.offload) request.ifr_flags |= IFF_VNET_HDR;
  if (options.queues > 1 || options.multi_queue) request.ifr_flags |= IFF_MULTI_QUEUE;
  for (unsigned i = 0; i < options.queues; ++i) {
    UniqueFd fd(open(kDevice, O_RDWR | O_CLOEXEC));
    if (!fd.valid()) return NoDevice(errno);
    // The first call puts the name that was chosen into the request.
    if (ioctl(fd.get(), TUNSETIFF, &request) != 0) return Refused(errno, options);
    tap.name.assign(request.ifr_name, strnlen(request.ifr_name, IFNAMSIZ));
    RETURN_IF_ERROR(SetHeader(fd.get(), options, tap.name));
    tap.fds.push_back(std::move(fd));
  }
  return tap;
}

absl::Status SetPersistent(const OpenTap& tap, bool persistent) {
  if (ioctl(tap.fds.front().get(), TUNSETPERSIST, persistent ? 1UL : 0UL) != 0) {
    return ErrnoError(errno, absl::StrCat("tap ", tap.name, ": persistence"));
  }
  return absl::OkStatus();
}

absl::Status SetTapOwner(const OpenTap& tap, std::optional<uint32_t> uid,
                         std::optional<uint32_t> gid) {
  if (uid && ioctl(tap.fds.front().get(), TUNSETOWNER, static_cast<unsigned long>(*uid)) != 0) {
    return ErrnoError(errno, absl::StrCat("tap ", tap.name, ": owner ", *uid));
  }
  if (gid && ioctl(tap.fds.front().get(), TUNSETGROUP, static_cast<unsigned long>(*gid)) != 0) {
    return ErrnoError(errno, absl::StrCat("tap ", tap.name, ": group ", *gid));
  }
  return absl::OkStatus();
}

}  // namespace atl::hostnet
