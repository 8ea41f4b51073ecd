// SPDX-License-Identifier: Apache-2.0
#include "lib/net/vhost.h"

#include <errno.h>
#include <fcntl.h>
// The rings' old declarations are no C++.
#define VIRTIO_RING_NO_LEGACY
#include <linux/vhost.h>
#include <sys/ioctl.h>

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"

namespace atl::net {
namespace {

constexpr char kNode[] = "/dev/vhost-net";
// Mergeable buffers, indirect descriptors, event indices, version 1. Not bit 27: any layout
// to virtio, but to vhost that it makes headers itself.
constexpr uint64_t kKnown = 1u << 15 | 1u << 28 | 1u << 29 | uint64_t{1} << 32;

// linux/vhost.h's ends in an array of no size.
struct MemoryTable {  // struct vhost_memory
  uint32_t count = 0;
  uint32_t padding = 0;
  vhost_memory_region regions[64];
};
constexpr unsigned long kSetMemTable = _IOC(_IOC_WRITE, VHOST_VIRTIO, 0x03, 8);

class Vhost final : public KernelPath {
 public:
  Vhost(UniqueFd fd, int tap, std::function<void(bool)> serves)
      : fd_(std::move(fd)), tap_(tap), serves_(std::move(serves)) {}
  ~Vhost() override { Stop(); }

  uint64_t features() override {
    uint64_t all = 0;
    return ioctl(fd_.get(), VHOST_GET_FEATURES, &all) == 0 ? all & kKnown : 0;
  }

  absl::Status Serve(uint64_t features, std::span<const Region> memory,
                     const std::array<Queue, 2>& queues) override {
    // By the process that runs the guest, which may be another than opened it.
    if (!owned_) RETURN_IF_ERROR(Call(VHOST_SET_OWNER, nullptr, "VHOST_SET_OWNER"));
    owned_ = true;
    features &= kKnown;
    RETURN_IF_ERROR(Call(VHOST_SET_FEATURES, &features, "VHOST_SET_FEATURES"));
    RETURN_IF_ERROR(SetMemory(memory));
    for (unsigned i = 0; i < queues.size(); ++i) RETURN_IF_ERROR(SetQueue(i, queues[i]));
    serving_ = true;
    serves_(true);
    for (unsigned i = 0; i < queues.size(); ++i) {
      if (absl::Status s = SetBackend(i, tap_); !s.ok()) {
        Stop();
        return s;
      }
    }
    return absl::OkStatus();
  }

  absl::Status SetMemory(std::span<const Region> memory) override {
    MemoryTable table;
    for (const Region& r : memory) {
      if (table.count == std::size(table.regions)) {
        return absl::ResourceExhaustedError(absl::StrCat(kNode, ": too many memory slots"));
      }
      vhost_memory_region& to = table.regions[table.count++];
      to = {r.guest, r.size, reinterpret_cast<uint64_t>(r.host), 0};
    }
    return Call(kSetMemTable, &table, "VHOST_SET_MEM_TABLE");
  }

  std::array<uint16_t, 2> Stop() override {
    std::array<uint16_t, 2> out{};
    if (!serving_) return out;
    serving_ = false;
    for (unsigned i = 0; i < out.size(); ++i) {
      (void)SetBackend(i, VHOST_FILE_UNBIND);
      vhost_vring_state base{i, 0};
      if (ioctl(fd_.get(), VHOST_GET_VRING_BASE, &base) == 0) {
        out[i] = static_cast<uint16_t>(base.num);
      }
    }
    serves_(false);
    return out;
  }

 private:
  absl::Status Call(unsigned long request, void* argument, const char* what) {
    if (ioctl(fd_.get(), request, argument) == 0) return absl::OkStatus();
    return ErrnoError(errno, absl::StrCat(kNode, ": ", what));
  }
  absl::Status SetBackend(unsigned queue, int tap) {
    vhost_vring_file file{queue, tap};
    return Call(VHOST_NET_SET_BACKEND, &file, "VHOST_NET_SET_BACKEND");
  }
  absl::Status SetQueue(unsigned i, const Queue& q) {
    vhost_vring_state number{i, q.size}, base{i, q.next};
    vhost_vring_file kick{i, q.kick}, call{i, q.call};
    vhost_vring_addr at{};
    at.index = i;
    at.desc_user_addr = reinterpret_cast<uint64_t>(q.descriptors);
    at.avail_user_addr = reinterpret_cast<uint64_t>(q.driver_ring);
    at.used_user_addr = reinterpret_cast<uint64_t>(q.device_ring);
    RETURN_IF_ERROR(Call(VHOST_SET_VRING_NUM, &number, "VHOST_SET_VRING_NUM"));
    RETURN_IF_ERROR(Call(VHOST_SET_VRING_BASE, &base, "VHOST_SET_VRING_BASE"));
    RETURN_IF_ERROR(Call(VHOST_SET_VRING_ADDR, &at, "VHOST_SET_VRING_ADDR"));
    RETURN_IF_ERROR(Call(VHOST_SET_VRING_CALL, &call, "VHOST_SET_VRING_CALL"));
    return Call(VHOST_SET_VRING_KICK, &kick, "VHOST_SET_VRING_KICK");
  }

  const UniqueFd fd_;
  const int tap_;
  const std::function<void(bool)> serves_;
  bool owned_ = false;
  bool serving_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<KernelPath>> OpenVhost(int tap, std::function<void(bool)> serves) {
  UniqueFd fd(open(kNode, O_RDWR | O_CLOEXEC));
  if (!fd.valid() && (errno == ENOENT || errno == ENODEV)) {
    return absl::NotFoundError(
        absl::StrCat(kNode, " is not there: load the module vhost_net (modprobe vhost_net)"));
  }
  if (!fd.valid()) return ErrnoError(errno, kNode);
  return std::make_unique<Vhost>(std::move(fd), tap, std::move(serves));
}

}  // namespace atl::net
