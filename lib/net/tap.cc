// SPDX-License-Identifier: Apache-2.0
#include "lib/net/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "lib/base/mutex.h"
#include "lib/base/status_macros.h"
#include "lib/host/process.h"
#include "lib/net/vhost.h"
#include "lib/net/vnet_header.h"

namespace atl::net {
namespace {

constexpr std::chrono::seconds kScriptLimit{60};
constexpr unsigned kFramesATurn = 64;

// linux/if_tun.h as later kernels have it.
constexpr unsigned kUso4 = 0x20;
constexpr unsigned kUso6 = 0x40;

unsigned TunFlags(const Offloads& o) {
  unsigned flags = 0;
  if (!o.checksum) return 0;
  flags |= TUN_F_CSUM;
  if (o.tcp4) flags |= TUN_F_TSO4;
  if (o.tcp6) flags |= TUN_F_TSO6;
  if (o.ecn && (o.tcp4 || o.tcp6)) flags |= TUN_F_TSO_ECN;
  if (o.udp4 && o.udp6) flags |= kUso4 | kUso6;
  return flags;
}

class Tap final : public Backend {
 public:
  Tap(UniqueFd fd, std::string name, bool vnet_header, bool uso)
      : fd_(std::move(fd)),
        name_(std::move(name)),
        vnet_header_(vnet_header),
        uso_(uso),
        buffer_(kVnetHeaderBytes + kMaxFrame + 1) {}

  std::string description() const override { return absl::StrCat("tap ", name_); }
  Threads threads() const override { return Threads::kAny; }
  Offloads offloads() const override {
    return vnet_header_ ? Offloads{true, true, true, true, uso_, uso_} : Offloads{};
  }

  absl::Status Start(host::EventLoop& loop, Port& port,
                     std::function<void(absl::string_view)> warn) override {
    loop_ = &loop;
    port_ = &port;
    warn_ = std::move(warn);
    OffloadsChanged();
    ASSIGN_OR_RETURN(watch_, loop.Watch(fd_.get(), EPOLLIN, [this](uint32_t e) { OnReady(e); }));
    return absl::OkStatus();
  }
  absl::Status Close() override {
    if (at_end_ == nullptr) return absl::OkStatus();
    const absl::Status status = at_end_->Run(kScriptLimit);
    at_end_.reset();
    return Annotate(status, "downscript");
  }
  void SetAtEnd(std::unique_ptr<host::AtEnd> at_end) { at_end_ = std::move(at_end); }

  KernelPath* kernel_path() override { return vhost_.get(); }
  // The kernel serves the card from now on, or no more.
  absl::Status OpenKernelPath() {
    ASSIGN_OR_RETURN(vhost_, OpenVhost(fd_.get(), [this](bool serves) {
                       loop_->Post([this, serves, alive = std::weak_ptr<char>(alive_)] {
                         if (alive.expired()) return;
                         served_ = serves;
                         UpdateEvents();
                       });
                     }));
    return absl::OkStatus();
  }

  bool Receive(const Frame& frame) override {
    VnetHeader header = HeaderFor(frame.work);
    const iovec parts[] = {{&header, vnet_header_ ? sizeof header : 0},
                           {const_cast<uint8_t*>(frame.bytes.data()), frame.bytes.size()}};
    ssize_t n;
    do {
      n = writev(fd_.get(), parts, std::size(parts));
    } while (n < 0 && errno == EINTR);
    // What the interface does not want (it is down, say) is lost, as on a wire.
    if (n >= 0 || errno != EAGAIN) return true;
    loop_->Post([this, alive = std::weak_ptr<char>(alive_)] {
      if (alive.expired()) return;
      waits_for_room_ = true;
      UpdateEvents();
    });
    return false;
  }
  void SendReady() override {
    stalled_ = false;
    UpdateEvents();
    // What was refused has been read already.
    if (held_ != 0) ReadFrames();
  }
  void OffloadsChanged() override {
    if (!vnet_header_) return;
    const unsigned flags = TunFlags(port_->peer_accepts());
    // A kernel that does not know a flag takes none of them.
    if (ioctl(fd_.get(), TUNSETOFFLOAD, flags) != 0) {
      ioctl(fd_.get(), TUNSETOFFLOAD, flags & ~(kUso4 | kUso6));
    }
  }

 private:
  void OnReady(uint32_t events) {
    if ((events & EPOLLOUT) != 0 && std::exchange(waits_for_room_, false)) {
      port_->ReceiveReady();
    }
    if ((events & EPOLLIN) != 0) ReadFrames();
    if ((events & EPOLLERR) != 0 && (events & EPOLLIN) == 0) return End("the interface is gone");
    UpdateEvents();
  }
  void ReadFrames() {
    const Burst burst(*port_);
    for (unsigned i = 0; i < kFramesATurn && watch_ != nullptr; ++i) {
      if (held_ == 0) {
        const ssize_t n = read(fd_.get(), buffer_.data(), buffer_.size());
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n < 0) return End(strerror(errno));
        held_ = static_cast<size_t>(n);
      }
      stalled_ = !Deliver();
      if (stalled_) return UpdateEvents();
      held_ = 0;
    }
  }
  bool Deliver() {
    std::span<const uint8_t> bytes(buffer_.data(), held_);
    Frame frame;
    if (vnet_header_) {
      if (bytes.size() < kVnetHeaderBytes) return true;
      VnetHeader header;
      memcpy(&header, bytes.data(), sizeof header);
      const std::optional<Work> work = WorkFrom(header);
      if (!work.has_value()) return true;
      frame.work = *work;
      bytes = bytes.subspan(kVnetHeaderBytes);
    }
    frame.bytes = bytes;
    return port_->Send(frame);
  }
  void UpdateEvents() {
    if (watch_ == nullptr) return;
    watch_->SetEvents((stalled_ || served_ ? 0u : uint32_t{EPOLLIN}) |
                      (waits_for_room_ ? uint32_t{EPOLLOUT} : 0u));
  }
  void End(absl::string_view why) {
    watch_.reset();
    port_->SetLink(false);
    port_->ReceiveReady();
    if (warn_) warn_(absl::StrCat(description(), ": ", why, ": the guest's cable is out"));
  }

  const UniqueFd fd_;
  const std::string name_;
  const bool vnet_header_;
  const bool uso_;
  host::EventLoop* loop_ = nullptr;
  Port* port_ = nullptr;
  std::function<void(absl::string_view)> warn_;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
  std::unique_ptr<host::AtEnd> at_end_;
  std::unique_ptr<host::FdWatch> watch_;
  std::unique_ptr<KernelPath> vhost_;
  std::vector<uint8_t> buffer_;
  size_t held_ = 0;  // bytes of a frame in buffer_ that nobody has taken yet
  bool stalled_ = false;
  bool served_ = false;  // by vhost_, the loop thread's view
  bool waits_for_room_ = false;
};

absl::Status OpenError(int error, absl::string_view name) {
  const std::string what = absl::StrCat("tap ", name.empty() ? "(new)" : name);
  switch (error) {
    case EPERM:
    case EACCES:
      return absl::PermissionDeniedError(
          absl::StrCat(what, ": ", strerror(error),
                       ": making interfaces is root's; have one made for you (ip tuntap add ",
                       name.empty() ? "tap0" : name, " mode tap user $USER)"));
    case EBUSY:
      return absl::FailedPreconditionError(
          absl::StrCat(what, ": another program has the interface open"));
    case EINVAL:
      return absl::FailedPreconditionError(absl::StrCat(
          what, ": the name is of an interface of another kind (no tap, or one with many queues)"));
    default:
      return ErrnoError(error, what);
  }
}

absl::StatusOr<std::unique_ptr<Backend>> Finish(UniqueFd fd, const std::string& name,
                                                bool vnet_header, const TapOptions& options) {
  const std::string what = absl::StrCat("tap ", name);
  bool uso = false;
  if (vnet_header) {
    int size = kVnetHeaderBytes;
    if (ioctl(fd.get(), TUNSETVNETHDRSZ, &size) != 0) return ErrnoError(errno, what);
    uso = ioctl(fd.get(), TUNSETOFFLOAD, TUN_F_CSUM | kUso4 | kUso6) == 0;
    ioctl(fd.get(), TUNSETOFFLOAD, 0);
  }
  const int flags = fcntl(fd.get(), F_GETFL);
  if (flags < 0 || fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return ErrnoError(errno, what);
  }
  auto tap = std::make_unique<Tap>(std::move(fd), name, vnet_header, uso);
  if (options.vhost) {
    if (!vnet_header) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": vhost needs an interface with virtio's headers (vnet_hdr)"));
    }
    RETURN_IF_ERROR(Annotate(tap->OpenKernelPath(), what));
  }
  if (!options.script.empty()) {
    ASSIGN_OR_RETURN(host::ProgramResult result,
                     host::RunProgram({options.script, name}, kScriptLimit));
    if (result.status != 0) {
      const absl::string_view said = absl::StripAsciiWhitespace(result.output);
      return absl::AbortedError(absl::StrCat(what, ": script ", options.script, " ", name,
                                             ": failed with status ", result.status,
                                             said.empty() ? "" : ": ", said));
    }
  }
  if (!options.downscript.empty()) {
    ASSIGN_OR_RETURN(std::unique_ptr<host::AtEnd> at_end,
                     host::AtEnd::Create({options.downscript, name}));
    tap->SetAtEnd(std::move(at_end));
  }
  return tap;
}

}  // namespace

absl::Status CheckInterfaceName(absl::string_view name) {
  const auto wrong = [name](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' is no interface's name: ", why));
  };
  if (name.empty()) return wrong("it is empty");
  if (name.size() >= IFNAMSIZ) return wrong("it is longer than 15 bytes");
  if (name == "." || name == "..") return wrong("it is a folder's");
  for (const char c : name) {
    if (c == '/' || c == ':' || absl::ascii_isspace(static_cast<unsigned char>(c)) ||
        absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      return wrong("'/', ':' and blanks cannot be in it");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Backend>> OpenTap(const TapOptions& options) {
  if (!options.ifname.empty()) RETURN_IF_ERROR(CheckInterfaceName(options.ifname));
  UniqueFd fd(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid() && (errno == ENOENT || errno == ENODEV)) {
    return absl::NotFoundError("/dev/net/tun is not there: load the module tun (modprobe tun)");
  }
  if (!fd.valid()) return ErrnoError(errno, "/dev/net/tun");
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (options.vnet_header) request.ifr_flags |= IFF_VNET_HDR;
  memcpy(request.ifr_name, options.ifname.data(), options.ifname.size());
  if (options.ifname.empty()) memcpy(request.ifr_name, "tap%d", 6);
  if (ioctl(fd.get(), TUNSETIFF, &request) != 0) return OpenError(errno, options.ifname);
  request.ifr_name[IFNAMSIZ - 1] = 0;
  return Finish(std::move(fd), request.ifr_name, options.vnet_header, options);
}

absl::StatusOr<std::unique_ptr<Backend>> AdoptTap(UniqueFd fd, const TapOptions& options) {
  ifreq request{};
  if (ioctl(fd.get(), TUNGETIFF, &request) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("descriptor ", fd.get(), " is no tap: ", strerror(errno)));
  }
  request.ifr_name[IFNAMSIZ - 1] = 0;
  if ((request.ifr_flags & IFF_TAP) == 0 || (request.ifr_flags & IFF_NO_PI) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("descriptor ", fd.get(), " (", request.ifr_name,
                                                   "): made without IFF_TAP and IFF_NO_PI"));
  }
  return Finish(std::move(fd), request.ifr_name, (request.ifr_flags & IFF_VNET_HDR) != 0, options);
}

}  // namespace atl::net
