// SPDX-License-Identifier: Apache-2.0
#include "lib/console/viewer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/host/event_loop.h"
#include "lib/host/received_fds.h"
#include "lib/host/socket.h"

namespace atl::console {
namespace {

// Damage as rectangles: tiles joined along their rows, cut to the picture.
std::vector<ui::Rect> RectsOf(const Tiles& tiles, const Mode& mode) {
  std::vector<ui::Rect> out;
  const unsigned columns = (mode.width + kTile - 1) / kTile;
  const unsigned rows = (mode.height + kTile - 1) / kTile;
  for (unsigned y = tiles.first_row; y < std::min(rows, unsigned{tiles.first_row} + tiles.rows);
       ++y) {
    const unsigned height = std::min(kTile, mode.height - y * kTile);
    for (unsigned x = 0; x < columns; ++x) {
      if (!tiles.Has(x, y)) continue;
      const unsigned begin = x;
      while (x < columns && tiles.Has(x, y)) ++x;
      const unsigned left = begin * kTile;
      out.push_back({left, y * kTile, std::min(x * kTile, mode.width) - left, height});
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Viewer>> Viewer::Connect(const std::string& path, bool view_only,
                                                        int timeout_ms) {
  ASSIGN_OR_RETURN(UniqueFd fd, host::ConnectUnix(path, SOCK_SEQPACKET));
  return Greet(std::move(fd), path, view_only, timeout_ms);
}

absl::StatusOr<std::unique_ptr<Viewer>> Viewer::Greet(UniqueFd socket, absl::string_view name,
                                                      bool view_only, int timeout_ms) {
  std::unique_ptr<Viewer> out(new Viewer(std::move(socket), name));
  RETURN_IF_ERROR(out->Start(view_only, timeout_ms));
  return out;
}

Viewer::~Viewer() {
  if (memory_ != nullptr) munmap(const_cast<uint8_t*>(memory_), welcome_.memory);
}

absl::Status Viewer::Error(absl::string_view what) const {
  return absl::DataLossError(absl::StrCat(name_, ": the console sends ", what));
}

absl::Status Viewer::Start(bool view_only, int timeout_ms) {
  buffer_.resize(kMaxPacket);
  Hello hello;
  hello.view_only = view_only;
  RETURN_IF_ERROR(Send(hello));
  const uint64_t end = host::MonotonicNs() + uint64_t(std::max(timeout_ms, 0)) * 1'000'000;
  for (;;) {
    const uint64_t now = host::MonotonicNs();
    const int left = now < end ? static_cast<int>((end - now) / 1'000'000) + 1 : 0;
    ASSIGN_OR_RETURN(const bool came, Wait(left));
    if (!came) {
      if (left > 0) continue;
      return absl::DeadlineExceededError(absl::StrCat(name_, ": no answer from the console"));
    }
    std::vector<uint8_t> packet;
    UniqueFd fd;
    ASSIGN_OR_RETURN(const bool read, Read(&packet, &fd));
    if (!read) continue;
    absl::StatusOr<FromRun> message = DecodeFromRun(packet);
    if (!message.ok()) return Error(message.status().message());
    if (const auto* bye = std::get_if<Bye>(&*message)) {
      return absl::UnavailableError(absl::StrCat(name_, ": ", bye->reason));
    }
    const auto* welcome = std::get_if<Welcome>(&*message);
    if (welcome == nullptr) return Error("no welcome first");
    if (welcome->version > kVersion) return Error("a welcome of another version");
    welcome_ = *welcome;
    // A file that could be shortened would end us when it is looked at.
    struct stat st;
    const int seals = fd.valid() ? fcntl(fd.get(), F_GET_SEALS) : -1;
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fd.get(), &st) != 0 ||
        static_cast<uint64_t>(st.st_size) < welcome_.memory) {
      return Error("no sealed memory");
    }
    void* const memory = mmap(nullptr, welcome_.memory, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (memory == MAP_FAILED) return ErrnoError(errno, absl::StrCat(name_, ": framebuffer"));
    memory_ = static_cast<const uint8_t*>(memory);
    return absl::OkStatus();
  }
}

absl::StatusOr<bool> Viewer::Wait(int timeout_ms) {
  pollfd p{socket_.get(), static_cast<short>(POLLIN | (wants_write() ? POLLOUT : 0)), 0};
  const int n = poll(&p, 1, timeout_ms);
  if (n < 0 && errno != EINTR) return ErrnoError(errno, name_);
  if (n <= 0) return false;
  if ((p.revents & POLLOUT) != 0) RETURN_IF_ERROR(Flush());
  return (p.revents & ~POLLOUT) != 0;
}

absl::StatusOr<bool> Viewer::Read(std::vector<uint8_t>* packet, UniqueFd* fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec part{buffer_.data(), buffer_.size()};
  msghdr m{};
  m.msg_iov = &part;
  m.msg_iovlen = 1;
  m.msg_control = control;
  m.msg_controllen = sizeof control;
  const ssize_t n = recvmsg(socket_.get(), &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  // A reset tells no more than an end.
  if (n < 0 && errno != ECONNRESET) return ErrnoError(errno, name_);
  if (n >= 0) {
    std::vector<UniqueFd> fds = host::ReceivedFds(m);
    if (!fds.empty()) *fd = std::move(fds.front());
  }
  if (n <= 0) {
    return absl::UnavailableError(absl::StrCat(name_, ": the console has closed the connection"));
  }
  if ((m.msg_flags & MSG_TRUNC) != 0) return Error("a packet that is too long");
  packet->assign(buffer_.begin(), buffer_.begin() + n);
  return true;
}

absl::Status Viewer::Receive(ViewerEvents& events) {
  for (;;) {
    std::vector<uint8_t> packet;
    UniqueFd fd;
    ASSIGN_OR_RETURN(const bool read, Read(&packet, &fd));
    if (!read) return absl::OkStatus();
    absl::StatusOr<FromRun> message = DecodeFromRun(packet);
    if (!message.ok()) return Error(message.status().message());
    RETURN_IF_ERROR(Take(*message, events));
  }
}

absl::Status Viewer::Take(const FromRun& message, ViewerEvents& events) {
  if (const auto* m = std::get_if<Mode>(&message)) {
    if (m->offset > welcome_.memory ||
        welcome_.memory - m->offset < uint64_t{m->stride} * m->height) {
      return Error("a picture outside its memory");
    }
    mode_ = *m;
    events.OnMode(*m);
  } else if (const auto* m = std::get_if<Tiles>(&message)) {
    if (!mode_) return Error("damage before a mode");
    asked_ = false;
    events.OnDamage(RectsOf(*m, *mode_));
  } else if (const auto* m = std::get_if<Cursor>(&message)) {
    events.OnCursor(*m);
  } else if (const auto* m = std::get_if<PointerMode>(&message)) {
    absolute_ = m->absolute;
    events.OnPointerMode(m->absolute);
  } else if (const auto* m = std::get_if<Leds>(&message)) {
    leds_ = m->lit;
    events.OnLeds(m->lit);
  } else if (const auto* m = std::get_if<Name>(&message)) {
    guest_name_ = m->text;
    events.OnName(m->text);
  } else if (const auto* m = std::get_if<Text>(&message)) {
    events.OnText(m->screen);
  } else if (const auto* m = std::get_if<Synced>(&message)) {
    events.OnSynced(m->id);
  } else if (const auto* m = std::get_if<Clipboard>(&message)) {
    events.OnClipboard(m->text);
  } else if (const auto* m = std::get_if<Bye>(&message)) {
    return absl::UnavailableError(absl::StrCat(name_, ": ", m->reason));
  } else {
    return Error("a second welcome");
  }
  return absl::OkStatus();
}

absl::Status Viewer::Send(const FromViewer& message) {
  if (waiting_.size() >= kMaxWaiting) {
    return absl::ResourceExhaustedError(
        absl::StrCat(name_, ": the console does not take what is sent"));
  }
  waiting_.push_back(Encode(message));
  return Flush();
}

absl::Status Viewer::Flush() {
  while (!waiting_.empty()) {
    const std::vector<uint8_t>& packet = waiting_.front();
    if (send(socket_.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == ENOBUFS) return absl::OkStatus();
      // Receive() tells the end, and why; what was to be sent does not matter.
      waiting_.clear();
      if (errno == EPIPE || errno == ECONNRESET) return absl::OkStatus();
      return ErrnoError(errno, name_);
    }
    waiting_.pop_front();
  }
  return absl::OkStatus();
}

absl::Status Viewer::Ask(bool all) {
  if (asked_ && !all) return absl::OkStatus();
  asked_ = true;
  return Send(Update{all});
}

absl::Status Viewer::SendKey(bool down, uint8_t code, uint32_t keysym) {
  if (!welcome_.input) return absl::FailedPreconditionError("this viewer may send no input");
  if (code == 0 && keysym == 0) return absl::InvalidArgumentError("no key");
  return Send(Key{down, code, keysym});
}

absl::Status Viewer::SendPointer(const Pointer& pointer) {
  if (!welcome_.input) return absl::FailedPreconditionError("this viewer may send no input");
  return Send(pointer);
}

absl::Status Viewer::SendClipboard(absl::string_view text) {
  if (!welcome_.input) return absl::FailedPreconditionError("this viewer may send no input");
  return Send(Clipboard{std::string(text)});
}

absl::Status Viewer::SendPower(PowerAction action) {
  if (!welcome_.power) return absl::FailedPreconditionError("this viewer may not use the power");
  return Send(Power{action});
}

absl::Status Viewer::AskText() { return Send(console::AskText{}); }

absl::Status Viewer::SendSync(uint32_t id) { return Send(Sync{id}); }

const uint32_t* Viewer::Row(unsigned y) const {
  return reinterpret_cast<const uint32_t*>(memory_ + mode_->offset + uint64_t{mode_->stride} * y);
}

void Viewer::CopyOut(const ui::Rect& rect, ui::Surface& to) const {
  if (!mode_ || to.width != mode_->width || to.height != mode_->height) return;
  if (rect.x >= to.width || rect.y >= to.height) return;
  const unsigned width = std::min(rect.width, to.width - rect.x);
  const unsigned height = std::min(rect.height, to.height - rect.y);
  for (unsigned y = rect.y; y < rect.y + height; ++y) {
    memcpy(to.Row(y) + rect.x, Row(y) + rect.x, size_t{4} * width);
  }
}

}  // namespace atl::console
