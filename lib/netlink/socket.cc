// SPDX-License-Identifier: Apache-2.0
#include "lib/netlink/socket.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::netlink {
namespace {

// The kernel fills at most 32 KiB of a dump at a time, unless one entry is larger.
constexpr size_t kBufferBytes = 256 << 10;
// How often a list may change under the reader before that is an error.
constexpr int kDumpTries = 20;

}  // namespace

absl::StatusOr<Socket> Socket::Open() {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd.valid()) return ErrnoError(errno, "rtnetlink socket");
  const int on = 1;
  // Kernels before 4.12 and 4.20 lack these; then errors have fewer words.
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  // The kernel always answers; a bug must not hang whoever waits for a tool.
  const timeval patience = {.tv_sec = 10, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return Socket(std::move(fd));
}

absl::Status Socket::Send(const MessageBuilder& message, absl::string_view what) {
  const std::vector<uint8_t> bytes = message.Finish(++sequence_);
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  const ssize_t n = sendto(fd_.get(), bytes.data(), bytes.size(), 0,
                           reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel);
  if (n < 0) return ErrnoError(errno, what);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Message>> Socket::Receive(absl::string_view what) {
  buffer_.resize(kBufferBytes);
  for (;;) {
    sockaddr_nl from = {};
    iovec iov = {.iov_base = buffer_.data(), .iov_len = buffer_.size()};
    msghdr header = {};
    header.msg_name = &from;
    header.msg_namelen = sizeof from;
    header.msg_iov = &iov;
    header.msg_iovlen = 1;
    const ssize_t n = recvmsg(fd_.get(), &header, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat(what, ": the kernel's answer"));
    if (from.nl_pid != 0) continue;  // another process: not the kernel
    if ((header.msg_flags & MSG_TRUNC) != 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat(what, ": the kernel's answer is longer than ", kBufferBytes, " bytes"));
    }
    absl::StatusOr<std::vector<Message>> all =
        SplitMessages(std::span(buffer_).first(static_cast<size_t>(n)));
    if (!all.ok()) return Annotate(all.status(), what);
    // Leftovers of a request that failed half-way.
    std::erase_if(*all, [this](const Message& m) { return m.sequence != sequence_; });
    if (!all->empty()) return all;
  }
}

absl::Status Socket::Request(const MessageBuilder& message, absl::string_view what,
                             const std::function<void(const Message&)>& visit) {
  RETURN_IF_ERROR(Send(message, what));
  for (;;) {
    ASSIGN_OR_RETURN(const std::vector<Message> answer, Receive(what));
    for (const Message& m : answer) {
      if (m.type == NLMSG_ERROR) return AckStatus(m, what);
      if (visit) visit(m);
    }
  }
}

absl::Status Socket::Dump(const MessageBuilder& message, absl::string_view what,
                          const std::function<void()>& restart,
                          const std::function<absl::Status(const Message&)>& visit) {
  for (int tries = 0; tries < kDumpTries; ++tries) {
    restart();
    RETURN_IF_ERROR(Send(message, what));
    bool interrupted = false;
    for (bool done = false; !done;) {
      ASSIGN_OR_RETURN(const std::vector<Message> answer, Receive(what));
      for (const Message& m : answer) {
        if ((m.flags & NLM_F_DUMP_INTR) != 0) interrupted = true;
        if (m.type == NLMSG_ERROR) return AckStatus(m, what);
        if (m.type == NLMSG_DONE) {
          done = true;
          break;
        }
        RETURN_IF_ERROR(visit(m));
      }
    }
    if (!interrupted) return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat(what, ": the list changes faster than it can be read"));
}

}  // namespace atl::netlink
