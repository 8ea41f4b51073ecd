// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/networks.h"

#include <errno.h>
#include <fcntl.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/host/file.h"
#include "lib/host/socket.h"
#include "lib/net/stream.h"
#include "lib/net/tap.h"
#include "lib/usernet/child.h"

namespace atl::vm {
namespace {

constexpr char kRomFolder[] = "/usr/lib/ipxe/qemu/";
constexpr uint64_t kMaxRom = 1 << 20;

// Ours from now on, and not a script's.
absl::StatusOr<UniqueFd> Inherited(int fd) {
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return ErrnoError(errno, absl::StrCat("inherited descriptor ", fd));
  }
  return UniqueFd(fd);
}

absl::StatusOr<std::unique_ptr<net::Backend>> OpenTapOf(const BackendConfig& config) {
  net::TapOptions options;
  options.ifname = config.ifname;
  options.script = config.script;
  options.downscript = config.down_script;
  options.vnet_header = config.vnet_header;
  options.vhost = config.vhost;
  if (config.fd < 0) return net::OpenTap(options);
  ASSIGN_OR_RETURN(UniqueFd fd, Inherited(config.fd));
  return net::AdoptTap(std::move(fd), options);
}

absl::StatusOr<std::unique_ptr<net::Backend>> OpenStreamOf(const BackendConfig& config) {
  if (config.fd >= 0) {
    ASSIGN_OR_RETURN(UniqueFd fd, Inherited(config.fd));
    return net::NewStream(std::move(fd), {.name = absl::StrCat("fd ", config.fd)});
  }
  ASSIGN_OR_RETURN(UniqueFd fd, host::ConnectUnix(config.path));
  return net::NewStream(std::move(fd), {.name = config.path});
}

// In a process of its own, which alone keeps the right to make sockets. It takes checksums
// and segmentation, and leaves to the guest what its driver has said that it takes.
absl::StatusOr<std::unique_ptr<net::Backend>> OpenUser(const BackendConfig& config,
                                                       UniqueFd* control) {
  ASSIGN_OR_RETURN(usernet::Child child, usernet::StartChild(config.user, {.vnet_header = true}));
  *control = std::move(child.control);
  return net::NewStream(std::move(child.stream),
                        {.name = "user",
                         .vnet_header = true,
                         .accepts = {.checksum = true, .tcp4 = true, .tcp6 = true}});
}

// `control`: see usernet::Child; empty where the kind has none.
absl::StatusOr<std::unique_ptr<net::Backend>> OpenBackend(const BackendConfig& config,
                                                          UniqueFd* control) {
  switch (config.kind) {
    case BackendKind::kTap:
      return OpenTapOf(config);
    case BackendKind::kStream:
      return OpenStreamOf(config);
    case BackendKind::kUser:
      return OpenUser(config, control);
  }
  return absl::InternalError("no such backend");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Networks>> Networks::Open(
    const MachineConfig& config, host::EventLoop& loop,
    std::function<void(absl::string_view)> warn) {
  std::unique_ptr<Networks> out(new Networks(loop, std::move(warn)));
  for (const BackendConfig& b : config.backends) {
    UniqueFd control;
    absl::StatusOr<std::unique_ptr<net::Backend>> backend = OpenBackend(b, &control);
    if (!backend.ok()) return Annotate(backend.status(), b.option);
    out->HubOf(b.hub).AddBackend(*std::move(backend));
    if (control.valid()) out->users_.push_back({b.hub, std::move(control)});
  }
  return out;
}

net::Hub& Networks::HubOf(const std::string& name) {
  std::unique_ptr<net::Hub>& hub = hubs_[name];
  if (hub == nullptr) hub = std::make_unique<net::Hub>(loop_);
  return *hub;
}

net::Port& Networks::AddCard(const NicConfig& nic, dev::DeviceLock& lock) {
  return HubOf(nic.hub).AddCard(lock, absl::StrCat(nic.model, " ", net::FormatMac(nic.mac)));
}

absl::Status Networks::Start() {
  for (const auto& [name, hub] : hubs_) {
    if (hub->members() == 1 && warn_) {
      warn_(absl::StrCat(name, ": nothing is at the other end of its only member"));
    }
    RETURN_IF_ERROR(hub->Start(warn_));
  }
  return absl::OkStatus();
}

absl::Status Networks::Close() {
  absl::Status first;
  for (const auto& [name, hub] : hubs_) first.Update(hub->Close());
  return first;
}

std::string Networks::Describe() const {
  std::string out;
  for (const auto& [name, hub] : hubs_) absl::StrAppend(&out, name, "\n", hub->Describe());
  return out;
}

absl::StatusOr<std::string> Networks::TellUser(absl::string_view id, absl::string_view command) {
  const std::string hub = absl::StrCat("netdev ", id);
  for (UserNetwork& user : users_) {
    if (!id.empty() && user.hub != hub) continue;
    if (!user.control.valid()) return absl::UnavailableError("it has ceased to answer");
    absl::StatusOr<std::string> answer = usernet::TellChild(user.control.get(), command);
    // What comes later would be taken for the next command's.
    if (!answer.ok() && !absl::IsInvalidArgument(answer.status())) user.control.reset();
    return answer;
  }
  if (id.empty()) return absl::NotFoundError("there is no user-mode network");
  return absl::NotFoundError(absl::StrCat("'", id, "' is no -netdev user"));
}

absl::StatusOr<std::vector<uint8_t>> ReadNicRom(const MachineConfig& config, const NicConfig& nic,
                                                const nic::NicModel& model) {
  if (nic.rom.has_value()) {
    if (nic.rom->empty()) return std::vector<uint8_t>();
    return host::ReadFile(*nic.rom, kMaxRom);
  }
  const bool boots =
      absl::StrCat(config.boot.order, config.boot.once).find('n') != std::string::npos;
  if (!boots || !config.kernel.empty() || model.rom.empty()) return std::vector<uint8_t>();
  const std::string path = absl::StrCat(kRomFolder, model.rom);
  absl::StatusOr<std::vector<uint8_t>> rom = host::ReadFile(path, kMaxRom);
  if (absl::IsNotFound(rom.status())) {
    return absl::NotFoundError(
        absl::StrCat("option '-boot': n: ", path,
                     " is not there: install Debian's package ipxe-qemu, or name a ROM with "
                     "romfile="));
  }
  return rom;
}

}  // namespace atl::vm
