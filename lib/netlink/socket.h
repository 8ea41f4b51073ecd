// SPDX-License-Identifier: Apache-2.0
// A socket to the kernel's routing family (rtnetlink(7)): one request at a time,
// answered before the call returns.
#ifndef LIB_NETLINK_SOCKET_H_
#define LIB_NETLINK_SOCKET_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/netlink/message.h"

namespace atl::netlink {

// One thread at a time. The socket belongs to the network namespace that the
// thread was in when it was opened, whatever namespace the caller is in later.
class Socket {
 public:
  // With NETLINK_EXT_ACK, so that errors have the kernel's own words.
  static absl::StatusOr<Socket> Open();

  // Asks for something to be done. `what` begins the error: "bridge br0".
  // Where `visit` is given it gets what the kernel sends before it acknowledges.
  absl::Status Request(const MessageBuilder& message, absl::string_view what,
                       const std::function<void(const Message&)>& visit = {});

  // Asks for a list; `visit` gets each entry. A list that changed while it was
  // read is read again from its beginning: `restart` says so to the caller.
  absl::Status Dump(const MessageBuilder& message, absl::string_view what,
                    const std::function<void()>& restart,
                    const std::function<absl::Status(const Message&)>& visit);

 private:
  explicit Socket(UniqueFd fd) : fd_(std::move(fd)) {}
  absl::Status Send(const MessageBuilder& message, absl::string_view what);
  // The messages of the next datagram that answer the last request.
  absl::StatusOr<std::vector<Message>> Receive(absl::string_view what);

  UniqueFd fd_;
  uint32_t sequence_ = 0;
  std::vector<uint8_t> buffer_;
};

}  // namespace atl::netlink

#endif  // LIB_NETLINK_SOCKET_H_
