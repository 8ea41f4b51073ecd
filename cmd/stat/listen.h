// SPDX-License-Identifier: Apache-2.0
// Serves a text over HTTP/1.1, as much of it as a scraper of metrics needs: GET of
// any path, one request a connection. Loop thread.
#ifndef CMD_STAT_LISTEN_H_
#define CMD_STAT_LISTEN_H_

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/host/socket.h"

namespace atl::stat {

class Listener {
 public:
  static constexpr size_t kMaxClients = 16;
  static constexpr size_t kMaxRequest = 8192;

  // "unix:PATH", or the loopback and a port: "127.0.0.1:9100", "[::1]:9100".
  static absl::StatusOr<std::unique_ptr<Listener>> Create(host::EventLoop& loop,
                                                          absl::string_view address,
                                                          std::function<std::string()> text);
  ~Listener();

 private:
  struct Client {
    UniqueFd fd;
    std::string request;
    std::string reply;
    std::unique_ptr<host::FdWatch> watch;
    std::unique_ptr<host::LoopTimer> limit;
  };

  Listener(host::EventLoop& loop, std::function<std::string()> text)
      : loop_(loop), text_(std::move(text)) {}
  int fd() const { return unix_ ? unix_->fd() : tcp_.get(); }
  void Accept();
  void Ready(std::list<Client>::iterator client, uint32_t events);

  host::EventLoop& loop_;
  const std::function<std::string()> text_;
  std::optional<host::UnixListener> unix_;
  UniqueFd tcp_;
  std::unique_ptr<host::FdWatch> watch_;
  std::list<Client> clients_;
};

// The whole answer to a request, or nothing where more of it is to come.
std::optional<std::string> HttpReply(absl::string_view request,
                                     const std::function<std::string()>& text);

}  // namespace atl::stat

#endif  // CMD_STAT_LISTEN_H_
