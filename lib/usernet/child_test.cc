// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/child.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/base/unique_fd.h"
#include "lib/usernet/testing/guest.h"

namespace atl::usernet {
namespace {

using testing_guest::Bytes;

// What comes within five seconds; empty at the end.
Bytes Read(int fd) {
  pollfd p{fd, POLLIN, 0};
  if (poll(&p, 1, 5000) != 1) return {};
  Bytes out(65536);
  const ssize_t n = recv(fd, out.data(), out.size(), 0);
  out.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return out;
}

Bytes Framed(const Bytes& frame) {
  Bytes out(4 + frame.size());
  StoreBe(out.data(), static_cast<uint32_t>(frame.size()));
  std::copy(frame.begin(), frame.end(), out.begin() + 4);
  return out;
}

void Write(int fd, const Bytes& bytes) {
  ASSERT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
}

std::string Tell(const Child& child, const std::string& line) {
  Write(child.control.get(), Bytes(line.begin(), line.end()));
  const Bytes answer = Read(child.control.get());
  return {answer.begin(), answer.end()};
}

int Ended(pid_t pid) {
  int status = -1;
  for (int i = 0; i < 500; ++i) {
    if (waitpid(pid, &status, WNOHANG) == pid) return status;
    usleep(10'000);
  }
  kill(pid, SIGKILL);
  return -1;
}

TEST(Child, ServesItsGuestAndEndsWithIt) {
  // What the child must not have.
  const UniqueFd secret(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
  ASSERT_OK_AND_ASSIGN(Child child, StartChild({}, {}));
  Write(child.stream.get(), Framed(testing_guest::ArpRequest(0x0A00020F, 0x0A000202)));
  const Bytes reply = Read(child.stream.get());
  ASSERT_EQ(reply.size(), 4u + 42);
  EXPECT_EQ(Tell(child, "info\n").substr(0, 9), "guests 1\n");
  for (const auto& entry :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", child.pid, "/fd"))) {
    EXPECT_NE(std::filesystem::read_symlink(entry).string(), "/etc/passwd");
  }
  child.stream.reset();
  EXPECT_EQ(Ended(child.pid), 0);
}

TEST(Child, AnswersCommands) {
  ASSERT_OK_AND_ASSIGN(Child child, StartChild({}, {}));
  const auto tell = [&](absl::string_view command) {
    const absl::StatusOr<std::string> answer = TellChild(child.control.get(), command);
    return answer.ok() ? *answer : std::string(answer.status().message());
  };
  EXPECT_EQ(tell("info").substr(0, 9), "guests 1\n");
  EXPECT_EQ(tell("hostfwd_add tcp:127.0.0.1:1-11.0.0.1:1"),
            "tcp:127.0.0.1:1-11.0.0.1:1: 11.0.0.1 is no guest's address");
  EXPECT_EQ(tell("info\ninfo"), "a command is one line");
  EXPECT_EQ(tell("info").substr(0, 9), "guests 1\n");
  child.stream.reset();
  EXPECT_EQ(Ended(child.pid), 0);
  EXPECT_EQ(TellChild(child.control.get(), "info").status().code(), absl::StatusCode::kUnavailable);
}

TEST(Child, MakesConnectionsAndForwardsThoughItIsLockedDown) {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&at), size), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&at), &size);
  const uint16_t port = ntohs(at.sin_port);

  ASSERT_OK_AND_ASSIGN(const Child child, StartChild({}, {}));
  testing_guest::Tcp syn;
  syn.from = 4000;
  syn.to = port;
  syn.flags = 2;
  Write(child.stream.get(),
        Framed(testing_guest::TcpFrame(IpAddress::V4(0x0A00020F), IpAddress::V4(0x0A000202), syn)));
  const Bytes reply = Read(child.stream.get());
  const auto ip = testing_guest::ParseIp(std::span(reply).subspan(4));
  ASSERT_TRUE(ip);
  EXPECT_EQ(testing_guest::ParseTcp(*ip)->flags, 0x12);
  // A forward at the port that is taken, and at another.
  EXPECT_EQ(Tell(child, absl::StrCat("hostfwd_add tcp:127.0.0.1:", port, "-:22\n")),
            absl::StrCat("error: forward tcp:127.0.0.1:", port, "-10.0.2.15:22: 127.0.0.1:", port,
                         ": Address already in use\n"));
  EXPECT_EQ(Tell(child, absl::StrCat("hostfwd_add tcp:127.0.0.2:", port, "-:22\n")), "ok\n");
  EXPECT_EQ(Tell(child, absl::StrCat("hostfwd_remove tcp:127.0.0.2:", port, "\n")), "ok\n");
}

TEST(Child, SaysWhatCannotBeHad) {
  Options options;
  options.tftp = "/nosuch";
  const auto child = StartChild(options, {});
  ASSERT_FALSE(child.ok());
  EXPECT_EQ(child.status().message(), "tftp: /nosuch: No such file or directory");
  options = {};
  options.mtu = 1;
  EXPECT_FALSE(StartChild(options, {}).ok());
}

TEST(Child, EndsWithItsParent) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  const UniqueFd from(fds[0]);
  UniqueFd to(fds[1]);
  const pid_t parent = fork();
  if (parent == 0) {
    auto child = StartChild({}, {});
    const pid_t pid = child.ok() ? child->pid : -1;
    (void)!write(to.get(), &pid, sizeof pid);
    pause();
  }
  pid_t pid = -1;
  ASSERT_EQ(read(from.get(), &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
  ASSERT_GT(pid, 0);
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  // Nobody's child any more, so that it can only be looked for.
  const auto gone = [pid] {
    std::error_code none;
    return !std::filesystem::exists(absl::StrCat("/proc/", pid, "/exe"), none) ||
           std::filesystem::read_symlink(absl::StrCat("/proc/", pid, "/exe"), none).empty();
  };
  for (int i = 0; i < 500 && !gone(); ++i) usleep(10'000);
  EXPECT_TRUE(gone());
}

}  // namespace
}  // namespace atl::usernet
