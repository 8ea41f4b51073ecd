// SPDX-License-Identifier: Apache-2.0
#include "lib/qmp/server.h"

#include <fcntl.h>
#include <jansson.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/ui/screen.h"

namespace atl::qmp {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;

}  // namespace

// Chords one after the other, each held for its time.
class Server::Keys {
 public:
  static constexpr size_t kMaxWaiting = 256;
  static constexpr uint64_t kPauseMs = 20;  // between two chords

  Keys(host::EventLoop& loop, ui::Input& input)
      : input_(input), timer_(loop.NewTimer([this] { OnTimer(); })) {}

  absl::Status Send(Chord chord) {
    if (waiting_.size() >= kMaxWaiting) {
      return absl::ResourceExhaustedError("too many keys wait to be pressed");
    }
    waiting_.push_back(std::move(chord));
    if (!busy_) Press();
    return absl::OkStatus();
  }

 private:
  void Press() {
    busy_ = down_ = true;
    for (const uint8_t code : waiting_.front().codes) input_.Key(code, true);
    Arm(waiting_.front().hold_ms);
  }
  void OnTimer() {
    if (std::exchange(down_, false)) {
      const std::vector<uint8_t>& codes = waiting_.front().codes;
      std::for_each(codes.rbegin(), codes.rend(), [this](uint8_t c) { input_.Key(c, false); });
      waiting_.pop_front();
      return Arm(kPauseMs);
    }
    busy_ = false;
    if (!waiting_.empty()) Press();
  }
  void Arm(uint64_t ms) { timer_->Arm(host::MonotonicNs() + ms * kNsPerMs); }

  ui::Input& input_;
  std::deque<Chord> waiting_;  // the first is the one that is down
  bool busy_ = false;
  bool down_ = false;
  const std::unique_ptr<host::LoopTimer> timer_;
};

struct Server::Monitor {
  MonitorConfig config;
  std::optional<host::UnixListener> unix_listener;
  UniqueFd socket;  // another listener, or a connection before Start()
  std::unique_ptr<host::FdWatch> watch;
  // Watches again after there were no descriptors left.
  std::unique_ptr<host::LoopTimer> retry;
  std::list<std::unique_ptr<Connection>> clients;
  bool came = false;

  int listener() const { return unix_listener ? unix_listener->fd() : socket.get(); }
};

Server::Server(host::EventLoop& loop, absl::string_view version) : loop_(loop) {
  context_.version = std::string(version);
  context_.chardevs = [this] { return Chardevs(); };
  // The seed of the JSON library's hash tables is read from a file that a
  // locked-down process cannot open.
  json_object_seed(0);
}

Server::~Server() { Finish(); }

absl::StatusOr<std::unique_ptr<Server>> Server::Create(host::EventLoop& loop,
                                                       const std::vector<MonitorConfig>& monitors,
                                                       absl::string_view version) {
  std::unique_ptr<Server> out(new Server(loop, version));
  for (const MonitorConfig& m : monitors) RETURN_IF_ERROR(out->Open(m));
  return out;
}

absl::Status Server::Open(const MonitorConfig& config) {
  auto monitor = std::make_unique<Monitor>();
  monitor->config = config;
  switch (config.carrier) {
    case Carrier::kUnix:
      if (config.listens) {
        ASSIGN_OR_RETURN(host::UnixListener listener, host::UnixListener::Create(config.path));
        monitor->unix_listener.emplace(std::move(listener));
      } else {
        ASSIGN_OR_RETURN(monitor->socket, host::ConnectUnix(config.path));
      }
      break;
    case Carrier::kTcp:
      if (config.listens) {
        ASSIGN_OR_RETURN(monitor->socket, host::ListenLoopback(config.host, config.port));
      } else {
        ASSIGN_OR_RETURN(monitor->socket, host::ConnectLoopback(config.host, config.port));
      }
      break;
    case Carrier::kFd: {
      struct stat st;
      if (fstat(config.fd, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return absl::InvalidArgumentError(
            absl::StrCat("monitor ", config.label, ": fd ", config.fd, " is no open socket"));
      }
      fcntl(config.fd, F_SETFD, FD_CLOEXEC);
      monitor->socket.reset(config.fd);
      break;
    }
    case Carrier::kStdio:
    case Carrier::kNull:
      break;
  }
  monitors_.push_back(std::move(monitor));
  return absl::OkStatus();
}

bool Server::waits() const {
  return std::any_of(monitors_.begin(), monitors_.end(), [](const auto& m) {
    return m->config.listens && m->config.waits && !m->came;
  });
}

absl::Status Server::Start(vm::MachineControl& machine, std::function<void()> came) {
  context_.machine = &machine;
  came_ = std::move(came);
  keys_ = std::make_unique<Keys>(loop_, machine.input());
  context_.send_keys = [this](Chord chord) { return keys_->Send(std::move(chord)); };
  for (const std::unique_ptr<Monitor>& m : monitors_) {
    if (m->config.listens) {
      RETURN_IF_ERROR(Listen(*m));
    } else if (m->config.carrier != Carrier::kNull) {
      RETURN_IF_ERROR(Serve(*m, std::move(m->socket)));
    }
  }
  return absl::OkStatus();
}

absl::Status Server::Listen(Monitor& monitor) {
  Monitor* const m = &monitor;
  monitor.retry = loop_.NewTimer([m] { m->watch->SetEvents(EPOLLIN); });
  // Whoever was accepted and went away again must not block accept().
  const int flags = fcntl(monitor.listener(), F_GETFL);
  fcntl(monitor.listener(), F_SETFL, flags | O_NONBLOCK);
  ASSIGN_OR_RETURN(monitor.watch,
                   loop_.Watch(monitor.listener(), EPOLLIN, [this, m](uint32_t) { Accept(*m); }));
  return absl::OkStatus();
}

void Server::Accept(Monitor& monitor) {
  absl::StatusOr<UniqueFd> fd = host::Accept(monitor.listener());
  if (absl::IsUnavailable(fd.status())) return;
  // No descriptors are left: somebody may close one.
  if (!fd.ok()) {
    monitor.watch->SetEvents(0);
    monitor.retry->Arm(host::MonotonicNs() + 1000 * kNsPerMs);
    return;
  }
  if (monitor.clients.size() >= kMaxClients) return;
  if (!Serve(monitor, *std::move(fd)).ok()) return;
  if (std::exchange(monitor.came, true)) return;
  if (monitor.config.waits && !waits() && came_) came_();
}

absl::Status Server::Serve(Monitor& monitor, UniqueFd fd) {
  Monitor* const m = &monitor;
  m->clients.emplace_back();
  const auto at = std::prev(m->clients.end());
  const auto closed = [m, at] { m->clients.erase(at); };
  absl::StatusOr<std::unique_ptr<Connection>> connection =
      m->config.carrier == Carrier::kStdio
          ? Connection::OverStdio(loop_, m->config.protocol, context_, closed)
          : Connection::OverSocket(loop_, std::move(fd), m->config.protocol, context_, closed);
  if (!connection.ok()) {
    m->clients.erase(at);
    return connection.status();
  }
  *at = *std::move(connection);
  return absl::OkStatus();
}

void Server::OnEvent(const vm::MachineEvent& event) {
  if (context_.machine == nullptr) return;
  const std::optional<std::string> text = EventText(event, context_.machine->config());
  if (!text) return;
  for (const std::unique_ptr<Monitor>& m : monitors_) {
    for (const std::unique_ptr<Connection>& c : m->clients) {
      if (c != nullptr) c->Event(*text);
    }
  }
}

void Server::Finish() {
  shared_.reset();
  for (const std::unique_ptr<Monitor>& m : monitors_) {
    m->watch.reset();
    m->retry.reset();
    m->clients.clear();
  }
  monitors_.clear();
  keys_.reset();
  context_.machine = nullptr;
}

std::vector<ChardevState> Server::Chardevs() const {
  std::vector<ChardevState> out;
  for (const std::unique_ptr<Monitor>& m : monitors_) {
    const MonitorConfig& c = m->config;
    std::string name;
    switch (c.carrier) {
      case Carrier::kStdio:
        name = "stdio";
        break;
      case Carrier::kUnix:
        name = absl::StrCat(c.listens ? "" : "disconnected:", "unix:", c.path,
                            c.listens ? ",server=on" : "");
        break;
      case Carrier::kTcp:
        name = absl::StrCat("tcp:", c.host, ":", c.port, c.listens ? ",server=on" : "");
        break;
      case Carrier::kFd:
        name = absl::StrCat("fd:", c.fd);
        break;
      case Carrier::kNull:
        name = "null";
        break;
    }
    out.push_back({c.label, std::move(name), !m->clients.empty()});
  }
  return out;
}

// The terminal is raw while the monitor is in front: this is the little of a
// terminal's own editing that people cannot do without.
class TerminalEditor {
 public:
  TerminalEditor(vm::MuxedConsole& console, Session& session)
      : console_(console), session_(session) {}

  void Front(bool front) {
    line_.clear();
    console_.Write("\n");
    if (front && !std::exchange(greeted_, true)) {
      session_.Begin();
    } else if (front) {
      console_.Write("(run) ");
    }
  }
  void Type(absl::string_view bytes) {
    for (const char c : bytes) Key(c);
  }

 private:
  void Key(char c) {
    constexpr char kCtrlC = 3;
    constexpr char kCtrlU = 21;
    constexpr char kDelete = 127;
    if (c == '\r' || c == '\n') {
      console_.Write("\n");
      session_.Feed(absl::StrCat(line_, "\n"));
      line_.clear();
      while (session_.Step()) {
      }
    } else if (c == kDelete || c == '\b') {
      Erase(1);
    } else if (c == kCtrlU || c == kCtrlC) {
      Erase(line_.size());
    } else if (absl::ascii_isprint(c) && line_.size() < 1024) {
      line_.push_back(c);
      console_.Write({&c, 1});
    }
  }
  void Erase(size_t n) {
    for (n = std::min(n, line_.size()); n > 0; --n) {
      line_.pop_back();
      console_.Write("\b \b");
    }
  }

  vm::MuxedConsole& console_;
  Session& session_;
  std::string line_;
  bool greeted_ = false;
};

void Server::Share(vm::MuxedConsole& console) {
  shared_ = NewSession(Protocol::kHuman, context_, "\n",
                       [&console](absl::string_view text) { console.Write(text); });
  auto editor = std::make_shared<TerminalEditor>(console, *shared_);
  console.Attach(
      [this, editor](bool front) {
        if (shared_ != nullptr) editor->Front(front);
      },
      [this, editor](absl::string_view bytes) {
        if (shared_ != nullptr) editor->Type(bytes);
      });
}

}  // namespace atl::qmp
