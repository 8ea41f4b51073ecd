// SPDX-License-Identifier: Apache-2.0
// A session over descriptors: a socket, or standard input and output. A client
// that reads slowly is read from slowly; one that reads nothing while events
// gather is cut off. Loop thread.
#ifndef LIB_QMP_CONNECTION_H_
#define LIB_QMP_CONNECTION_H_

#include <sys/types.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/qmp/session.h"

namespace atl::qmp {

class Connection {
 public:
  // Output that waits: from here on nothing is read; from there on the client
  // is cut off.
  static constexpr size_t kHighWater = 64 * 1024;
  static constexpr size_t kMaxOutput = 4 * 1024 * 1024;

  // `closed` is called, from the loop, when it is over; the connection may then
  // be destroyed from within the call.
  static absl::StatusOr<std::unique_ptr<Connection>> OverSocket(host::EventLoop& loop, UniqueFd fd,
                                                                Protocol protocol, Context& context,
                                                                std::function<void()> closed);
  static absl::StatusOr<std::unique_ptr<Connection>> OverStdio(host::EventLoop& loop,
                                                               Protocol protocol, Context& context,
                                                               std::function<void()> closed);
  // Sends what the other end takes at once.
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Event(absl::string_view text);

 private:
  Connection(host::EventLoop& loop, std::function<void()> closed)
      : loop_(loop), closed_(std::move(closed)) {}
  absl::Status Watch(int in, int out, Protocol protocol, Context& context);
  void OnReady(bool readable, bool writable);
  void Read();
  ssize_t Receive(char* to, size_t size);
  void Flush();
  ssize_t Send(size_t at);
  bool Step();
  void Advance();
  void End();

  host::EventLoop& loop_;
  const std::function<void()> closed_;
  UniqueFd socket_;
  int in_ = -1;
  int out_ = -1;
  std::unique_ptr<Session> session_;
  Context* context_ = nullptr;
  bool carries_fds_ = false;  // a unix socket
  // Descriptors that go with the byte of queue_ at `at`.
  struct Attached {
    size_t at;
    std::vector<UniqueFd> fds;
  };
  std::deque<Attached> attached_;
  // What came with the last bytes that had descriptors with them.
  std::vector<UniqueFd> received_;
  std::string queue_;       // output
  bool more_ = false;       // the session may have a whole message
  bool stepping_ = false;   // in the session's Step()
  bool ended_ = false;      // no more input comes
  bool over_ = false;       // closed_ was or will be called
  bool in_always_ = false;  // a file: epoll does not take it
  bool out_always_ = false;
  // Outlives the connection in what was posted to the loop.
  std::shared_ptr<Connection*> self_;
  std::unique_ptr<host::FdWatch> in_watch_;
  std::unique_ptr<host::FdWatch> out_watch_;  // null: in_watch_ is both
};

}  // namespace atl::qmp

#endif  // LIB_QMP_CONNECTION_H_
