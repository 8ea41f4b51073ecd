// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <list>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/host/socket.h"
#include "lib/rfb/clipboard.h"
#include "lib/rfb/connection.h"
#include "lib/rfb/desktop.h"
#include "lib/rfb/encoder_pool.h"
#include "lib/rfb/protocol.h"
#include "lib/rfb/recorder.h"

namespace atl::rfb {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
// From the connection to the end of the handshake.
constexpr uint64_t kHandshakeNs = 30 * kSecondNs;
// Who wants RFB's greeting is silent; who speaks first has done so by then.
constexpr uint64_t kSniffNs = kSecondNs / 10;
// What is left to say to one that is sent away.
constexpr uint64_t kLingerNs = 2 * kSecondNs;
// Failed attempts that an address has free, and what each more costs.
constexpr unsigned kFreeFailures = 4;
constexpr uint64_t kFirstPenaltyNs = 10 * kSecondNs;
constexpr uint64_t kMostPenaltyNs = 300 * kSecondNs;
constexpr size_t kMaxAddresses = 4096;
// Bytes from one viewer before another one's turn.
constexpr size_t kReadOnce = 64 * 1024;
// A picture that nobody asked about for this long is looked at anew before it is
// shown to somebody, and this long is waited for it.
constexpr uint64_t kStaleNs = kSecondNs / 20;
constexpr uint64_t kHoldNs = kSecondNs / 5;
constexpr int kUnsentLow = 128 * 1024;
constexpr unsigned kFirstWidth = 640, kFirstHeight = 400;

// The address without its port, and with it.
struct Peer {
  std::string address;
  std::string name;
};

Peer PeerOf(int fd) {
  sockaddr_storage a{};
  socklen_t size = sizeof a;
  char text[INET6_ADDRSTRLEN] = "";
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&a), &size) != 0) return {"", "?"};
  if (a.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(a);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return {text, absl::StrCat(text, ":", ntohs(v4.sin_port))};
  }
  if (a.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(a);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return {text, absl::StrCat("[", text, "]:", ntohs(v6.sin6_port))};
  }
  return {"", "unix"};
}

}  // namespace

class Server::Impl {
 public:
  Impl(host::EventLoop* loop, Guest* guest, ServerOptions options, std::vector<Listener> listeners)
      : loop_(*loop),
        guest_(*guest),
        options_(std::move(options)),
        listeners_(std::move(listeners)) {
    desktop_.width = kFirstWidth;
    desktop_.height = kFirstHeight;
    desktop_.name = options_.name;
    desktop_.shadow = std::make_unique<Shadow>(kFirstWidth, kFirstHeight);
    if (options_.encoder_threads > 0) {
      pool_ = std::make_unique<EncoderPool>(options_.encoder_threads);
    }
    surroundings_ = {&options_.access, &desktop_, &guest_, options_.web.get()};
    surroundings_.pool = pool_.get();
  }

  absl::Status Start() {
    for (Listener& l : listeners_) {
      const Connection::Speaks speaks = l.http_only   ? Connection::Speaks::kWeb
                                        : l.websocket ? Connection::Speaks::kEither
                                                      : Connection::Speaks::kRfb;
      const int flags = fcntl(l.fd.get(), F_GETFL);
      if (flags < 0 || fcntl(l.fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
        return ErrnoError(errno, l.name);
      }
      ASSIGN_OR_RETURN(std::unique_ptr<host::FdWatch> watch,
                       loop_.Watch(l.fd.get(), EPOLLIN, [this, &l, speaks](uint32_t) {
                         AcceptFrom(l.fd.get(), speaks);
                       }));
      accepting_.push_back(std::move(watch));
    }
    hold_timer_ = loop_.NewTimer([this] {
      if (!surroundings_.hold) return;
      surroundings_.hold = false;
      PumpAll();
    });
    if (options_.record.valid()) {
      ASSIGN_OR_RETURN(recorder_, Recorder::Create(std::move(options_.record), options_.record_name,
                                                   &desktop_, pool_.get()));
      record_timer_ = loop_.NewTimer([this] {
        Record();
        AskIfWanted();
      });
    }
    rest_ = loop_.NewTimer([this] {
      for (const auto& watch : accepting_) watch->SetEvents(EPOLLIN);
    });
    return absl::OkStatus();
  }

  void Adopt(UniqueFd fd, Peer peer, Connection::Speaks speaks) {
    const uint64_t now = host::MonotonicNs();
    if (!peer.address.empty()) {
      const auto it = failures_.find(peer.address);
      if (it != failures_.end() && it->second.until > now) {
        Log(absl::StrCat("denied ", peer.name, ": too many failed attempts"));
        return;
      }
    }
    if (clients_.size() >= options_.max_clients) {
      // Strangers who only sit there do not keep others out.
      const auto idler = std::find_if(clients_.begin(), clients_.end(),
                                      [](const auto& c) { return !c->seen && c->end.ok(); });
      if (idler != clients_.end()) {
        (*idler)->end = absl::UnavailableError("it had not come in, and another one wants to");
        Finish(idler->get());
      }
    }
    if (clients_.size() >= options_.max_clients) {
      Log(absl::StrCat("denied ", peer.name, ": ", clients_.size(), " viewers are there already"));
      return;
    }
    const int on = 1;
    // None of these matters for a unix socket.
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kUnsentLow, sizeof kUnsentLow);
    clients_.push_back(std::make_unique<Client>());
    Client* const c = clients_.back().get();
    c->fd = std::move(fd);
    c->peer = std::move(peer);
    c->connection = std::make_unique<Connection>(surroundings_, speaks, options_.view_only);
    absl::StatusOr<std::unique_ptr<host::FdWatch>> watch =
        loop_.Watch(c->fd.get(), EPOLLIN, [this, c](uint32_t events) {
          Serve(c, events);
          Finish(c);
        });
    if (!watch.ok()) {
      Log(absl::StrCat("denied ", c->peer.name, ": ", watch.status().message()));
      clients_.pop_back();
      return;
    }
    c->watch = std::move(*watch);
    c->timer = loop_.NewTimer([this, c] {
      TimeOut(c);
      Finish(c);
    });
    c->deadline = now + kHandshakeNs;
    c->connection->Start();
    if (c->connection->sniffing()) c->sniff_until = now + kSniffNs;
    Send(c);
    Finish(c);
  }

  void SetPicture(const Picture& picture) {
    picture_ = picture;
    const bool resized = picture.width != desktop_.width || picture.height != desktop_.height;
    if (resized) {
      desktop_.width = picture.width;
      desktop_.height = picture.height;
      unsigned width = picture.width, height = picture.height;
      // Viewers that cannot follow see black where the picture ends.
      const Session* asked = nullptr;
      for (const auto& c : clients_) {
        Session* const s = c->connection->session();
        if (s == nullptr || !s->normal()) continue;
        if (s->asked_for_size()) asked = s;
        if (s->follows_size()) continue;
        width = std::max(width, s->width());
        height = std::max(height, s->height());
      }
      desktop_.shadow = std::make_unique<Shadow>(width, height);
      ForEachSession([&](Session& s) { s.SizeChanged(asked); });
    }
    const ui::Rect all{0, 0, picture.width, picture.height};
    Take(std::span(&all, 1));
    PumpAll();
  }

  void Changed(std::span<const ui::Rect> damage) {
    asked_ = false;
    Take(damage);
    PumpAll();
  }

  void Refreshed() {
    fresh_at_ = host::MonotonicNs();
    surroundings_.hold = false;
  }

  void SetCursor(const Cursor& cursor) {
    if (cursor.width > Cursor::kMaxSide || cursor.height > Cursor::kMaxSide ||
        cursor.pixels.size() != size_t{cursor.width} * cursor.height) {
      return;
    }
    desktop_.cursor = cursor;
    desktop_.has_cursor = true;
    ForEachSession([](Session& s) { s.CursorChanged(); });
    PumpAll();
  }
  void SetLeds(uint8_t leds) {
    desktop_.leds = leds & 7;
    ForEachSession([](Session& s) { s.LedsChanged(); });
    PumpAll();
  }
  void SetPointerAbsolute(bool absolute) {
    if (absolute == desktop_.pointer_absolute) return;
    desktop_.pointer_absolute = absolute;
    ForEachSession([](Session& s) { s.PointerModeChanged(); });
    PumpAll();
  }
  void SetClipboard(absl::string_view text) {
    desktop_.clipboard = CleanUtf8(text.substr(0, kMaxCutText));
    ForEachSession([](Session& s) { s.ClipboardChanged(); });
    PumpAll();
  }
  void SetName(absl::string_view name) {
    desktop_.name = CleanUtf8(name.substr(0, 1024));
    ForEachSession([](Session& s) { s.NameChanged(); });
    PumpAll();
  }

  size_t clients() const { return clients_.size(); }

  void DisconnectAll(absl::string_view why) {
    if (recorder_ != nullptr) {
      const absl::Status status = recorder_->Pump(/*last=*/true);
      EndRecording(status.ok() ? why : status.message());
    }
    for (const auto& c : clients_) c->end = absl::UnavailableError(why);
    FinishAll();
  }

 private:
  struct Client {
    UniqueFd fd;
    Peer peer;
    std::unique_ptr<Connection> connection;
    std::unique_ptr<host::FdWatch> watch;
    std::unique_ptr<host::LoopTimer> timer;
    uint64_t armed = 0;        // what the timer is set to; 0: off
    uint64_t deadline = 0;     // of the handshake, or of what is left to say; 0: none
    uint64_t sniff_until = 0;  // 0: it is known what the peer speaks
    uint64_t attached_at = 0;
    uint64_t bytes = 0;
    bool seen = false;     // it was in when last looked at
    absl::Status end;      // why it is to end
    bool lingers = false;  // only until its bytes are out
  };
  struct Failures {
    unsigned count = 0;
    uint64_t until = 0;
  };

  void Log(absl::string_view line) const {
    if (options_.log) options_.log(line);
  }

  void AcceptFrom(int listener, Connection::Speaks speaks) {
    // A few at a time, so that those who are in get their turn.
    for (int i = 0; i < 8; ++i) {
      absl::StatusOr<UniqueFd> fd = host::Accept(listener);
      if (!fd.ok()) {
        if (absl::IsUnavailable(fd.status())) return;
        // Out of descriptors: who waits goes on waiting, and would wake us at once.
        Log(absl::StrCat("nobody is let in for a second: ", fd.status().message()));
        for (const auto& watch : accepting_) watch->SetEvents(0);
        rest_->Arm(host::MonotonicNs() + kSecondNs);
        return;
      }
      Peer peer = PeerOf(fd->get());
      Adopt(std::move(*fd), std::move(peer), speaks);
    }
  }

  // What is new goes into the recording, too.
  void Record() {
    if (recorder_ == nullptr || surroundings_.hold) return;
    const absl::Status status = recorder_->Pump();
    if (!status.ok()) {
      EndRecording(status.message());
    } else if (recorder_->wake_at()) {
      record_timer_->Arm(*recorder_->wake_at());
    }
  }

  void EndRecording(absl::string_view why) {
    if (recorder_ == nullptr) return;
    Log(absl::StrCat("recorded ", recorder_->bytes(), " bytes to ", recorder_->name(), ": ", why));
    recorder_.reset();
  }

  template <typename F>
  void ForEachSession(F f) {
    if (recorder_ != nullptr) f(recorder_->session());
    for (const auto& c : clients_) {
      if (Session* s = c->connection->session(); s != nullptr && s->normal()) f(*s);
    }
  }

  void Take(std::span<const ui::Rect> damage) {
    Refreshed();
    if (picture_.pixels == nullptr) return;
    const Change change = desktop_.shadow->Update(picture_, damage);
    if (change.tiles.empty()) return;
    ForEachSession([&](Session& s) { s.PictureChanged(change); });
  }

  void PumpAll() {
    Record();
    for (const auto& c : clients_) {
      if (c->end.ok()) c->end = c->connection->Pump();
      Send(c.get());
    }
    FinishAll();
  }

  // Damage is asked for when somebody would be sent it.
  void AskIfWanted() {
    if (asked_ || picture_.pixels == nullptr) return;
    if (recorder_ != nullptr && recorder_->session().hungry()) {
      asked_ = true;
      guest_.Ask(false);
      return;
    }
    for (const auto& c : clients_) {
      Session* const s = c->connection->session();
      if (s != nullptr && s->hungry() && c->end.ok() &&
          c->connection->wire().size() <= Session::kQuietBytes) {
        asked_ = true;
        guest_.Ask(false);
        return;
      }
    }
  }

  void Serve(Client* c, uint32_t events) {
    if (c->lingers) {
      // Nothing it says counts any more.
      uint8_t drop[4096];
      const ssize_t n = recv(c->fd.get(), drop, sizeof drop, MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno != EAGAIN)) c->deadline = 1;
      Send(c);
      return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !c->connection->stalled()) Read(c);
    RefreshFor(*c);
    if (c->end.ok()) c->end = c->connection->Pump();
    Send(c);
  }

  // Nobody has asked the guest for a while: what the shadow holds is old.
  void RefreshFor(const Client& c) {
    Session* const s = c.connection->session();
    if (asked_ || picture_.pixels == nullptr || s == nullptr || !s->wants_picture()) return;
    const uint64_t now = host::MonotonicNs();
    if (now - fresh_at_ < kStaleNs) return;
    asked_ = true;
    surroundings_.hold = true;
    hold_timer_->Arm(now + kHoldNs);
    guest_.Ask(true);
  }

  void Read(Client* c) {
    static thread_local uint8_t buffer[kReadOnce];
    const ssize_t n = recv(c->fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0) {
      if (errno != EAGAIN && errno != EINTR) c->end = ErrnoError(errno, "connection");
      return;
    }
    if (n == 0) {
      c->end = absl::OutOfRangeError("closed by the viewer");
      return;
    }
    c->sniff_until = 0;
    c->end = c->connection->Receive(std::span(buffer, static_cast<size_t>(n)));
    Session* const s = c->connection->session();
    if (s == nullptr) return;
    if (s->normal() && !c->seen) Attach(c, s);
    if (s->auth_failed()) NoteFailure(c);
  }

  void Attach(Client* c, Session* s) {
    c->seen = true;
    c->deadline = 0;
    c->attached_at = host::MonotonicNs();
    failures_.erase(c->peer.address);
    Log(absl::StrCat("attach ", c->peer.name, ": ", c->connection->Describe()));
    const bool alone =
        options_.sharing == Sharing::kExclusive ||
        (options_.sharing == Sharing::kAllowExclusive && !s->shared() && !s->view_only());
    if (!alone) return;
    for (const auto& other : clients_) {
      if (other.get() != c && other->seen && other->end.ok()) {
        other->end = absl::UnavailableError("another viewer wanted the guest for itself");
        loop_.Post([this] { FinishAll(); });
      }
    }
  }

  void NoteFailure(const Client* c) {
    if (c->peer.address.empty()) return;
    const uint64_t now = host::MonotonicNs();
    if (failures_.size() >= kMaxAddresses) {
      std::erase_if(failures_, [&](const auto& f) { return f.second.until <= now; });
      if (failures_.size() >= kMaxAddresses) failures_.clear();
    }
    Failures& f = failures_[c->peer.address];
    if (++f.count <= kFreeFailures) return;
    const unsigned more = std::min(f.count - kFreeFailures - 1, 5u);
    f.until = now + std::min(kFirstPenaltyNs << more, kMostPenaltyNs);
  }

  void Send(Client* c) {
    Output& wire = c->connection->wire();
    while (!wire.empty()) {
      const ssize_t n = send(c->fd.get(), wire.data(), wire.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) {
          if (c->end.ok()) c->end = ErrnoError(errno, "connection");
          wire.Clear();
        }
        break;
      }
      c->bytes += static_cast<uint64_t>(n);
      wire.Consume(static_cast<size_t>(n));
      // What waited for that may go now, into the socket's buffer.
      if (c->end.ok()) c->end = c->connection->WireTook();
    }
    SetWatch(c);
  }

  void SetWatch(Client* c) {
    const bool write = !c->connection->wire().empty();
    const bool read = c->lingers || !c->connection->stalled();
    const uint32_t events = (write ? uint32_t{EPOLLOUT} : 0) | (read ? uint32_t{EPOLLIN} : 0);
    if (c->watch->events() != events) c->watch->SetEvents(events);
    uint64_t at = c->deadline;
    const auto sooner = [&](uint64_t t) {
      if (t != 0 && (at == 0 || t < at)) at = t;
    };
    sooner(c->sniff_until);
    if (Session* s = c->connection->session(); s != nullptr && s->wake_at()) sooner(*s->wake_at());
    if (at == c->armed) return;
    c->armed = at;
    if (at != 0) {
      c->timer->Arm(at);
    } else {
      c->timer->Disarm();
    }
  }

  void TimeOut(Client* c) {
    const uint64_t now = host::MonotonicNs();
    c->armed = 0;
    if (c->deadline != 0 && now >= c->deadline) {
      if (c->end.ok()) c->end = absl::DeadlineExceededError("it did not finish the handshake");
      if (c->lingers) c->connection->wire().Clear();
    }
    if (c->sniff_until != 0 && now >= c->sniff_until) {
      c->sniff_until = 0;
      c->connection->SilenceIsRfb();
    }
    if (c->end.ok()) c->end = c->connection->Pump();
    Send(c);
  }

  // Ends it, if it is to end. `c` may be gone then.
  void Finish(Client* c) {
    if (c->end.ok()) {
      AskIfWanted();
      return;
    }
    if (!c->lingers) {
      LogEnd(*c);
      c->lingers = true;
      c->deadline = host::MonotonicNs() + kLingerNs;
      Send(c);
    }
    if (!c->connection->wire().empty() && c->deadline > host::MonotonicNs()) return;
    shutdown(c->fd.get(), SHUT_RDWR);
    const auto it =
        std::find_if(clients_.begin(), clients_.end(), [c](const auto& p) { return p.get() == c; });
    // Its watch and its timer may be what has called.
    std::unique_ptr<Client> gone = std::move(*it);
    clients_.erase(it);
  }

  void FinishAll() {
    std::vector<Client*> all;
    for (const auto& c : clients_) all.push_back(c.get());
    for (Client* c : all) {
      if (!c->end.ok()) Finish(c);
    }
    AskIfWanted();
  }

  void LogEnd(const Client& c) {
    if (c.seen) {
      Log(absl::StrCat("detach ", c.peer.name, ": ", c.end.message(), "; ",
                       c.connection->Describe(), ", ", c.bytes, " bytes, ",
                       c.connection->session()->updates(), " updates, ",
                       (host::MonotonicNs() - c.attached_at) / kSecondNs, " s"));
    } else if (c.connection->session() != nullptr ||
               c.end.code() != absl::StatusCode::kOutOfRange) {
      Log(absl::StrCat("denied ", c.peer.name, ": ", c.end.message(), "; ",
                       c.connection->Describe()));
    }
  }

  host::EventLoop& loop_;
  Guest& guest_;
  ServerOptions options_;
  std::vector<Listener> listeners_;
  Picture picture_;
  Desktop desktop_;
  std::unique_ptr<EncoderPool> pool_;
  Surroundings surroundings_;
  std::unique_ptr<Recorder> recorder_;
  std::unique_ptr<host::LoopTimer> record_timer_;
  std::list<std::unique_ptr<Client>> clients_;
  std::map<std::string, Failures> failures_;
  std::vector<std::unique_ptr<host::FdWatch>> accepting_;
  std::unique_ptr<host::LoopTimer> rest_;
  std::unique_ptr<host::LoopTimer> hold_timer_;
  uint64_t fresh_at_ = 0;  // when the guest last said what changed
  bool asked_ = false;     // the guest for changes
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

absl::StatusOr<std::unique_ptr<Server>> Server::Create(host::EventLoop* loop, Guest* guest,
                                                       ServerOptions options,
                                                       std::vector<Listener> listeners) {
  auto impl = std::make_unique<Impl>(loop, guest, std::move(options), std::move(listeners));
  RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

void Server::Adopt(UniqueFd fd, std::string peer, bool websocket) {
  std::string name = peer.empty() ? "inherited" : peer;
  impl_->Adopt(std::move(fd), {std::move(peer), std::move(name)},
               websocket ? Connection::Speaks::kEither : Connection::Speaks::kRfb);
}
void Server::SetPicture(const Picture& picture) { impl_->SetPicture(picture); }
void Server::Changed(std::span<const ui::Rect> damage) { impl_->Changed(damage); }
void Server::SetCursor(const Cursor& cursor) { impl_->SetCursor(cursor); }
void Server::SetLeds(uint8_t leds) { impl_->SetLeds(leds); }
void Server::SetPointerAbsolute(bool absolute) { impl_->SetPointerAbsolute(absolute); }
void Server::SetClipboard(absl::string_view text) { impl_->SetClipboard(text); }
void Server::SetName(absl::string_view name) { impl_->SetName(name); }
size_t Server::clients() const { return impl_->clients(); }
void Server::DisconnectAll(absl::string_view why) { impl_->DisconnectAll(why); }

}  // namespace atl::rfb
