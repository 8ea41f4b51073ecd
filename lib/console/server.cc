// SPDX-License-Identifier: Apache-2.0
#include "lib/console/server.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/console/shared_picture.h"
#include "lib/console/typist.h"
#include "lib/host/event_loop.h"
#include "lib/host/socket.h"

namespace atl::console {
namespace {

constexpr uint64_t kRetryAcceptNs = 1'000'000'000;
// When the guest has had time to set its lamps after a key; a busy one takes
// longer, so that they are looked at again after twice as long each time.
constexpr uint64_t kLampsNs = 60'000'000;
constexpr uint64_t kLampsMostNs = 4'000'000'000;

// What a viewer has not been told yet.
enum News : uint32_t {
  kNewMode = 1 << 0,
  kNewName = 1 << 1,
  kNewPointerMode = 1 << 2,
  kNewLeds = 1 << 3,
  kNewClipboard = 1 << 4,
  kNewText = 1 << 5,
  kNewSynced = 1 << 6,
  kNewCursor = 1 << 7,
  kNewsEnd = 1 << 8,
};

// A bit for each tile of the picture.
class TileMap {
 public:
  void Reset(const Mode& mode) {
    columns_ = (mode.width + kTile - 1) / kTile;
    rows_ = (mode.height + kTile - 1) / kTile;
    bits_.assign(Tiles::RowBytes(columns_) * rows_, 0);
    any_ = false;
  }
  void SetAll() {
    for (unsigned y = 0; y < rows_; ++y) SetRun(y, 0, columns_);
  }
  void Set(const ui::Rect& r) {
    for (unsigned y = r.y / kTile; y * kTile < r.y + r.height && y < rows_; ++y) {
      SetRun(y, r.x / kTile, std::min((r.x + r.width + kTile - 1) / kTile, columns_));
    }
  }
  bool any() const { return any_; }
  Tiles Take() {
    const size_t row = Tiles::RowBytes(columns_);
    const auto used = [&](unsigned y) {
      return std::any_of(bits_.begin() + y * row, bits_.begin() + (y + 1) * row,
                         [](uint8_t b) { return b != 0; });
    };
    unsigned first = 0, end = rows_;
    while (!used(first)) ++first;
    while (!used(end - 1)) --end;
    Tiles out;
    out.columns = static_cast<uint16_t>(columns_);
    out.first_row = static_cast<uint16_t>(first);
    out.rows = static_cast<uint16_t>(end - first);
    out.bits.assign(bits_.begin() + first * row, bits_.begin() + end * row);
    return out;
  }
  void Clear() {
    std::fill(bits_.begin(), bits_.end(), 0);
    any_ = false;
  }

 private:
  void SetRun(unsigned y, unsigned from, unsigned to) {
    uint8_t* const row = bits_.data() + y * Tiles::RowBytes(columns_);
    for (unsigned x = from; x < to; ++x) row[x / 8] |= static_cast<uint8_t>(1 << x % 8);
    any_ |= from < to;
  }

  unsigned columns_ = 0, rows_ = 0;
  std::vector<uint8_t> bits_;
  bool any_ = false;
};

struct Client {
  UniqueFd fd;
  std::unique_ptr<host::FdWatch> watch;
  std::unique_ptr<host::LoopTimer> greeting;
  ViewerHooks hooks;
  bool greeted = false;
  bool welcomed = false;
  bool view_only = false;
  bool over = false;
  bool asked = false;  // for damage
  uint32_t news = 0;
  TileMap damage;
  HeldKeys keys;
  uint8_t buttons = 0;
  std::optional<Pointer> last;  // absolute
  uint32_t sync_id = 0;
  std::optional<uint64_t> sync_at;  // of the typist's count
};

}  // namespace

class Server::Impl {
 public:
  Impl(ServerOptions options, ui::Screen& screen, ui::Input& input, ServerHooks hooks,
       std::unique_ptr<host::EventLoop> loop, std::unique_ptr<SharedPicture> picture)
      : options_(std::move(options)),
        screen_(screen),
        input_(input),
        hooks_(std::move(hooks)),
        loop_(std::move(loop)),
        picture_(std::move(picture)),
        typist_(*loop_, input, *options_.layout, [this] { OnDelivered(); }),
        look_timer_(loop_->NewTimer([this] { OnLookTimer(); })),
        lamps_timer_(loop_->NewTimer([this] { OnLampsTimer(); })),
        accept_timer_(loop_->NewTimer([this] { accept_watch_->SetEvents(EPOLLIN); })) {
    packet_.resize(kMaxPacket);
  }

  ~Impl() { Finish("the guest has ended"); }

  absl::Status Listen() {
    if (options_.path.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(host::UnixListener listener,
                     host::UnixListener::Create(options_.path, SOCK_SEQPACKET));
    listener_.emplace(std::move(listener));
    fcntl(listener_->fd(), F_SETFL, fcntl(listener_->fd(), F_GETFL) | O_NONBLOCK);
    ASSIGN_OR_RETURN(accept_watch_,
                     loop_->Watch(listener_->fd(), EPOLLIN, [this](uint32_t) { Accept(); }));
    return absl::OkStatus();
  }

  absl::StatusOr<UniqueFd> NewViewer(ViewerHooks hooks) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      return ErrnoError(errno, "console: socket");
    }
    UniqueFd ours(ends[0]), theirs(ends[1]);
    RETURN_IF_ERROR(Serve(std::move(ours), std::move(hooks)));
    return theirs;
  }

  absl::Status ServeUntil(int fd) {
    std::unique_ptr<host::FdWatch> watch;
    ASSIGN_OR_RETURN(watch, loop_->Watch(fd, EPOLLIN, [this, &watch](uint32_t) {
      // Once: a second Quit() would count for the next Run().
      watch->SetEvents(0);
      loop_->Quit();
    }));
    loop_->Run();
    return absl::OkStatus();
  }

  absl::Status Start() {
    thread_ = std::thread([this] { loop_->Run(); });
    return absl::OkStatus();
  }

  void SetClipboard(absl::string_view text) {
    loop_->Post([this, copy = std::string(text)] {
      clipboard_ = copy;
      Tell(kNewClipboard);
    });
  }

  void SetCursor(Cursor cursor) {
    loop_->Post([this, copy = std::move(cursor)] {
      cursor_ = copy;
      Tell(kNewCursor);
    });
  }

  void Finish(absl::string_view reason) {
    if (std::exchange(finished_, true)) return;
    if (thread_.joinable()) {
      loop_->Quit();
      thread_.join();
    }
    accept_watch_.reset();
    listener_.reset();
    const std::vector<uint8_t> bye = Encode(FromRun(Bye{std::string(reason)}));
    for (Client& c : clients_) {
      if (c.over) continue;
      // One that does not read learns it from the end of the connection.
      send(c.fd.get(), bye.data(), bye.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    clients_.clear();
    screen_.OnNextChange(seen_, nullptr);
  }

 private:
  // --- Who comes and goes ---

  void Accept() {
    absl::StatusOr<UniqueFd> fd = host::Accept(listener_->fd());
    if (absl::IsUnavailable(fd.status())) return;
    // No descriptors are left: somebody may close one.
    if (!fd.ok()) {
      accept_watch_->SetEvents(0);
      return accept_timer_->Arm(host::MonotonicNs() + kRetryAcceptNs);
    }
    if (clients_.size() >= kMaxViewers) {
      const std::vector<uint8_t> bye = Encode(FromRun(Bye{"too many viewers"}));
      send(fd->get(), bye.data(), bye.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      return;
    }
    Serve(*std::move(fd), {}).IgnoreError();
  }

  absl::Status Serve(UniqueFd fd, ViewerHooks hooks) {
    clients_.emplace_back();
    Client* const c = &clients_.back();
    c->fd = std::move(fd);
    c->hooks = std::move(hooks);
    absl::StatusOr<std::unique_ptr<host::FdWatch>> watch =
        loop_->Watch(c->fd.get(), EPOLLIN, [this, c](uint32_t events) { OnReady(*c, events); });
    if (!watch.ok()) {
      clients_.pop_back();
      return watch.status();
    }
    c->watch = *std::move(watch);
    c->greeting = loop_->NewTimer([this, c] { End(*c, "no greeting came"); });
    c->greeting->Arm(host::MonotonicNs() + kGreetingNs);
    return absl::OkStatus();
  }

  // The client goes at the end of the round: its callbacks may be running.
  void End(Client& c, absl::string_view reason) {
    if (std::exchange(c.over, true)) return;
    if (!reason.empty()) {
      const std::vector<uint8_t> bye = Encode(FromRun(Bye{std::string(reason)}));
      send(c.fd.get(), bye.data(), bye.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    c.watch->SetEvents(0);
    c.greeting->Disarm();
    typist_.Release(c.keys);
    if (c.buttons != 0) input_.Move(0, 0, 0, 0);
    loop_->Post([this, client = &c] {
      std::function<void()> gone;
      clients_.remove_if([&](Client& each) {
        if (&each != client) return false;
        gone = std::move(each.hooks.gone);
        return true;
      });
      if (clients_.empty()) Forget();
      if (gone) gone();
    });
  }

  // Nobody looks: the copy of the picture is memory for nothing.
  void Forget() {
    look_timer_->Disarm();
    look_at_ns_ = 0;
    screen_.OnNextChange(seen_, nullptr);
    seen_ = ui::Surface();
    drawn_ = false;
  }

  // --- What they say ---

  void OnReady(Client& c, uint32_t events) {
    if (c.over) return;
    if ((events & EPOLLOUT) != 0) Say(c);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) Read(c);
  }

  void Read(Client& c) {
    // Some at a time, so that one that never stops does not have the thread.
    constexpr int kAtOnce = 64;
    for (int i = 0; i < kAtOnce && !c.over; ++i) {
      const ssize_t n = recv(c.fd.get(), packet_.data(), packet_.size(), MSG_DONTWAIT | MSG_TRUNC);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (n <= 0) return End(c, "");
      if (static_cast<size_t>(n) > packet_.size()) return End(c, "a packet that is too long");
      absl::StatusOr<FromViewer> message =
          DecodeFromViewer(std::span<const uint8_t>(packet_).first(static_cast<size_t>(n)));
      if (!message.ok()) return End(c, message.status().message());
      if (!c.greeted) {
        const auto* hello = std::get_if<Hello>(&*message);
        if (hello == nullptr) return End(c, "no greeting first");
        Greet(c, *hello);
      } else {
        std::visit([&](const auto& m) { On(c, m); }, *message);
      }
    }
  }

  void Greet(Client& c, const Hello& hello) {
    if (hello.lowest > kVersion) {
      return End(c, absl::StrCat("version ", kVersion, " is the highest that is spoken here"));
    }
    c.view_only = hello.view_only;
    c.greeting->Disarm();
    if (!drawn_) Look();
    c.greeted = true;
    c.damage.Reset(picture_->mode());
    c.damage.SetAll();
    leds_ = input_.leds();
    absolute_ = input_.absolute();
    c.news = kNewMode | kNewName | kNewPointerMode | kNewLeds;
    if (cursor_.width != 0) c.news |= kNewCursor;
    Say(c);
    if (c.hooks.came) c.hooks.came();
  }

  void On(Client& c, const Hello&) { End(c, "a second greeting"); }
  void On(Client& c, const Update& m) {
    c.asked = true;
    if (m.all) c.damage.SetAll();
    // While nobody asked nobody looked.
    if (host::MonotonicNs() >= last_look_ns_ + BusyPause()) Look();
    Say(c);
    LookSoon();
  }
  void On(Client& c, const Key& m) {
    if (c.view_only) return;
    typist_.Key(c.keys, m.down, m.code, m.keysym);
    lamps_pause_ns_ = kLampsNs;
    lamps_timer_->Arm(host::MonotonicNs() + lamps_pause_ns_);
    ExpectChange();
  }
  void On(Client& c, const Pointer& m) {
    if (c.view_only) return;
    c.buttons = m.buttons;
    ExpectChange();
    if (!m.absolute) return input_.Move(m.x, m.y, m.wheel, m.buttons);
    const auto x = static_cast<unsigned>(m.x), y = static_cast<unsigned>(m.y);
    if (input_.absolute()) {
      input_.MoveTo({x, y, m.width, m.height}, m.wheel, m.buttons);
    } else {
      // The guest counts moves: as far as the viewer's own pointer went.
      const Pointer before = c.last.value_or(m);
      input_.Move(m.x - before.x, m.y - before.y, m.wheel, m.buttons);
    }
    c.last = m;
  }
  void On(Client& c, const AskText&) { Tell(c, kNewText); }
  void On(Client& c, const Sync& m) {
    c.sync_id = m.id;
    c.sync_at = typist_.asked();
    OnDelivered();
  }
  void On(Client& c, const Power& m) {
    if (!c.view_only && hooks_.power) hooks_.power(m.action);
  }
  void On(Client& c, const Clipboard& m) {
    if (!c.view_only && hooks_.clipboard) hooks_.clipboard(m.text);
  }

  void OnDelivered() {
    for (Client& c : clients_) {
      if (c.over || !c.sync_at || *c.sync_at > typist_.taken()) continue;
      c.sync_at.reset();
      Tell(c, kNewSynced);
    }
  }

  // --- What they are told ---

  void Tell(Client& c, uint32_t news) {
    if (!c.greeted || c.over) return;
    c.news |= news;
    Say(c);
  }
  void Tell(uint32_t news) {
    for (Client& c : clients_) Tell(c, news);
  }

  // As much of the news as the socket has room for. A packet is taken whole or
  // not at all.
  void Say(Client& c) {
    if (!c.greeted || c.over) return;
    if (!c.welcomed) {
      Welcome m;
      m.power = hooks_.power != nullptr && !c.view_only;
      m.input = !c.view_only;
      m.memory = picture_->size();
      if (!Send(c, m, picture_->fd())) return;
      c.welcomed = true;
    }
    for (uint32_t bit = 1; c.news != 0 && bit < kNewsEnd; bit <<= 1) {
      if ((c.news & bit) == 0) continue;
      if (!Send(c, MessageOf(c, bit))) return;
      c.news &= ~bit;
    }
    if (c.asked && c.damage.any()) {
      if (!Send(c, c.damage.Take())) return;
      c.damage.Clear();
      c.asked = false;
    }
    c.watch->SetEvents(EPOLLIN);
  }

  FromRun MessageOf(const Client& c, uint32_t bit) {
    switch (bit) {
      case kNewMode:
        return picture_->mode();
      case kNewName:
        return Name{options_.name};
      case kNewPointerMode:
        return PointerMode{absolute_};
      case kNewLeds:
        return Leds{leds_};
      case kNewClipboard:
        return Clipboard{clipboard_};
      case kNewCursor:
        return cursor_;
      case kNewText:
        return Text{screen_.Text().value_or(ui::TextScreen())};
      default:
        return Synced{c.sync_id};
    }
  }

  // False: not now, the socket is watched; or not at all, the client is over.
  bool Send(Client& c, const FromRun& message, int fd = -1) {
    const std::vector<uint8_t> packet = Encode(message);
    iovec part{const_cast<uint8_t*>(packet.data()), packet.size()};
    msghdr m{};
    m.msg_iov = &part;
    m.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    if (fd >= 0) {
      m.msg_control = control;
      m.msg_controllen = sizeof control;
      cmsghdr* const header = CMSG_FIRSTHDR(&m);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof fd);
      memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    if (sendmsg(c.fd.get(), &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return true;
    if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) {
      c.watch->SetEvents(EPOLLIN | EPOLLOUT);
    } else {
      End(c, "");
    }
    return false;
  }

  // --- The screen ---

  bool Wanted() const {
    return std::any_of(clients_.begin(), clients_.end(),
                       [](const Client& c) { return c.asked && !c.over && !c.damage.any(); });
  }

  // Sees to it that the screen is looked at when it changes.
  void LookSoon() {
    if (!Wanted()) return;
    const bool told = screen_.OnNextChange(seen_, [this] { loop_->Post([this] { OnChanged(); }); });
    if (!told) Arm(last_look_ns_ + pause_ns_);
  }

  void OnChanged() {
    // What is drawn next may not be told at once.
    pause_ns_ = std::min(pause_ns_, BusyPause());
    if (Wanted()) Arm(last_look_ns_ + BusyPause());
  }

  void Arm(uint64_t deadline_ns) {
    if (look_at_ns_ != 0 && look_at_ns_ <= deadline_ns) return;
    look_at_ns_ = deadline_ns;
    look_timer_->Arm(deadline_ns);
  }

  // A large picture is not looked at all the time.
  uint64_t BusyPause() const { return std::max(kBusyNs, 4 * look_took_ns_); }

  // Whoever types waits for what comes of it: the next looks are close together,
  // where looking is all that tells.
  void ExpectChange() {
    pause_ns_ = std::min(pause_ns_, BusyPause());
    if (look_at_ns_ != 0) Arm(last_look_ns_ + pause_ns_);
  }

  void OnLookTimer() {
    look_at_ns_ = 0;
    if (!Wanted()) return;
    Look();
    LookSoon();
  }

  void Look() {
    const uint64_t begin = host::MonotonicNs();
    // Before the picture: a mode that comes in between is seen at the next look.
    const ui::ScreenKind kind = screen_.kind();
    const ui::Damage damage = screen_.Refresh(seen_);
    const bool new_mode = damage.resized || !drawn_ || kind != picture_->mode().kind;
    if (new_mode) {
      picture_->SetMode(kind, seen_);
    } else {
      picture_->Draw(seen_, damage.rects);
    }
    drawn_ = true;
    for (Client& c : clients_) {
      if (!c.greeted || c.over) continue;
      if (new_mode) {
        c.news |= kNewMode;
        c.damage.Reset(picture_->mode());
        c.damage.SetAll();
      } else {
        for (const ui::Rect& r : damage.rects) c.damage.Set(r);
      }
      Say(c);
    }
    last_look_ns_ = host::MonotonicNs();
    look_took_ns_ = last_look_ns_ - begin;
    pause_ns_ = damage.empty() ? std::min(pause_ns_ + pause_ns_ / 4, kIdleNs) : BusyPause();
    LookAtLamps();
  }

  void OnLampsTimer() {
    LookAtLamps();
    lamps_pause_ns_ *= 2;
    if (lamps_pause_ns_ <= kLampsMostNs && !clients_.empty()) {
      lamps_timer_->Arm(host::MonotonicNs() + lamps_pause_ns_);
    }
  }

  void LookAtLamps() {
    const uint8_t leds = input_.leds();
    if (leds != std::exchange(leds_, leds)) Tell(kNewLeds);
    const bool absolute = input_.absolute();
    if (absolute != std::exchange(absolute_, absolute)) Tell(kNewPointerMode);
  }

  const ServerOptions options_;
  ui::Screen& screen_;
  ui::Input& input_;
  const ServerHooks hooks_;
  const std::unique_ptr<host::EventLoop> loop_;
  const std::unique_ptr<SharedPicture> picture_;
  std::vector<uint8_t> packet_;
  Typist typist_;
  std::optional<host::UnixListener> listener_;
  std::unique_ptr<host::FdWatch> accept_watch_;
  const std::unique_ptr<host::LoopTimer> look_timer_;
  const std::unique_ptr<host::LoopTimer> lamps_timer_;
  const std::unique_ptr<host::LoopTimer> accept_timer_;
  std::list<Client> clients_;

  ui::Surface seen_;    // the screen as it was last looked at
  bool drawn_ = false;  // and it is in the memory
  uint64_t last_look_ns_ = 0;
  uint64_t look_took_ns_ = 0;
  uint64_t pause_ns_ = kBusyNs;
  uint64_t look_at_ns_ = 0;  // what the timer is set to; 0: off
  uint64_t lamps_pause_ns_ = kLampsNs;
  uint8_t leds_ = 0;
  bool absolute_ = false;
  std::string clipboard_;
  Cursor cursor_;
  std::thread thread_;
  bool finished_ = false;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

absl::StatusOr<std::unique_ptr<Server>> Server::Create(ServerOptions options, ui::Screen& screen,
                                                       ui::Input& input, ServerHooks hooks) {
  ASSIGN_OR_RETURN(std::unique_ptr<host::EventLoop> loop, host::EventLoop::Create());
  ASSIGN_OR_RETURN(std::unique_ptr<SharedPicture> picture, SharedPicture::Create());
  auto impl = std::make_unique<Impl>(std::move(options), screen, input, std::move(hooks),
                                     std::move(loop), std::move(picture));
  RETURN_IF_ERROR(impl->Listen());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

absl::StatusOr<UniqueFd> Server::NewViewer(ViewerHooks hooks) {
  return impl_->NewViewer(std::move(hooks));
}
absl::Status Server::ServeUntil(int fd) { return impl_->ServeUntil(fd); }
absl::Status Server::Start() { return impl_->Start(); }
void Server::SetClipboard(absl::string_view text) { impl_->SetClipboard(text); }
void Server::SetCursor(Cursor cursor) { impl_->SetCursor(std::move(cursor)); }
void Server::Finish(absl::string_view reason) { impl_->Finish(reason); }

}  // namespace atl::console
