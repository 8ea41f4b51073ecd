// SPDX-License-Identifier: Apache-2.0
// The monitors of a machine: who may connect where, and everybody who has. Made
// before the machine, so that what cannot be listened on is known early; loop
// thread, or before the loop runs.
#ifndef LIB_QMP_SERVER_H_
#define LIB_QMP_SERVER_H_

#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/host/socket.h"
#include "lib/qmp/command.h"
#include "lib/qmp/connection.h"
#include "lib/qmp/session.h"
#include "lib/vm/console.h"
#include "lib/vm/control.h"
#include "lib/vm/machine_event.h"

namespace atl::qmp {

enum class Carrier : uint8_t {
  kStdio,
  kUnix,
  kTcp,  // on the loopback
  kFd,   // a socket that was inherited
  kNull,
};

struct MonitorConfig {
  Protocol protocol = Protocol::kControl;
  std::string label;  // "compat_monitor0"
  Carrier carrier = Carrier::kNull;
  std::string path;  // of kUnix
  std::string host;  // of kTcp
  uint16_t port = 0;
  int fd = -1;
  bool listens = false;  // clients come; else we go to one that listens
  bool waits = false;    // the guest starts when the first client has come
};

class Server {
 public:
  static constexpr size_t kMaxClients = 16;  // of one monitor

  // Listens and connects.
  static absl::StatusOr<std::unique_ptr<Server>> Create(host::EventLoop& loop,
                                                        const std::vector<MonitorConfig>& monitors,
                                                        absl::string_view version);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Whether a client is to come before the guest starts.
  bool waits() const;
  // From now on clients are served. `machine` lives until Finish(). `came` is
  // called when nobody is waited for any more; not where waits() is false.
  absl::Status Start(vm::MachineControl& machine, std::function<void()> came);
  // A human monitor behind a serial port's terminal; after Start().
  void Share(vm::MuxedConsole& console);
  // From now on the process can open little: errors say so.
  void SetSandboxed() { context_.sandboxed = true; }
  void OnEvent(const vm::MachineEvent& event);
  // Ends all conversations, sending what is sent at once. Before the machine goes.
  void Finish();

 private:
  struct Monitor;
  class Keys;

  Server(host::EventLoop& loop, absl::string_view version);
  absl::Status Open(const MonitorConfig& config);
  absl::Status Listen(Monitor& monitor);
  void Accept(Monitor& monitor);
  absl::Status Serve(Monitor& monitor, UniqueFd fd);
  std::vector<ChardevState> Chardevs() const;

  host::EventLoop& loop_;
  Context context_;
  std::function<void()> came_;
  std::unique_ptr<Keys> keys_;
  std::vector<std::unique_ptr<Monitor>> monitors_;
  std::unique_ptr<Session> shared_;  // behind the serial port
};

}  // namespace atl::qmp

#endif  // LIB_QMP_SERVER_H_
