// SPDX-License-Identifier: Apache-2.0
#include "cmd/vnc/endpoint.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"

namespace atl::vnc {
namespace {

TEST(Endpoint, DisplaysAndPorts) {
  ASSERT_OK_AND_ASSIGN(const Endpoint d, ParseEndpoint("localhost:1"));
  EXPECT_EQ(d.host, "localhost");
  EXPECT_EQ(d.port, 5901);
  EXPECT_EQ(d.web_port, 5701);
  EXPECT_TRUE(d.local);
  ASSERT_OK_AND_ASSIGN(const Endpoint p, ParseEndpoint("10.0.0.1::80"));
  EXPECT_EQ(p.port, 80);
  EXPECT_FALSE(p.web_port);
  EXPECT_FALSE(p.local);
  ASSERT_OK_AND_ASSIGN(const Endpoint v6, ParseEndpoint("[::1]:2"));
  EXPECT_EQ(v6.host, "::1");
  EXPECT_TRUE(v6.local);
  ASSERT_OK_AND_ASSIGN(const Endpoint u, ParseEndpoint("unix:/run/x"));
  EXPECT_EQ(u.path, "/run/x");
  EXPECT_TRUE(u.local);
}

// What is reached from elsewhere is never taken for local.
TEST(Endpoint, OnlyTheLoopbackIsLocal) {
  for (const char* const text : {"0.0.0.0:1", "*:1", "[::]:1", "example.org:1", "128.0.0.1:1",
                                 "127.evil.example:1", "localhost.evil.example:1"}) {
    ASSERT_OK_AND_ASSIGN(const Endpoint e, ParseEndpoint(text));
    EXPECT_FALSE(e.local) << text;
  }
  for (const char* const text : {":1", "127.0.0.1:1", "127.9.9.9::1"}) {
    ASSERT_OK_AND_ASSIGN(const Endpoint e, ParseEndpoint(text));
    EXPECT_TRUE(e.local) << text;
  }
}

TEST(Endpoint, WrongOnesAreNamed) {
  for (const char* const text :
       {"", "localhost", "localhost:", "localhost:x", "localhost:-1", "localhost::65536",
        "localhost:60000", "[::1", "[::1]", "unix:", "fd:", "fd:x", "fd:-1", "fd:999"}) {
    EXPECT_THAT(ParseEndpoint(text), StatusIs(absl::StatusCode::kInvalidArgument, "option '-l'"))
        << text;
  }
}

TEST(Endpoint, DescriptorsMustListen) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  EXPECT_THAT(ParseEndpoint("fd:" + std::to_string(pair[0])),
              StatusIs(absl::StatusCode::kInvalidArgument, "not a socket that listens"));
  close(pair[0]);
  close(pair[1]);
}

// What systemd passes begins at descriptor 3, whatever this process has there.
TEST(Endpoint, SystemdPassesListeningSockets) {
  const int kept[2] = {fcntl(3, F_DUPFD_CLOEXEC, 100), fcntl(4, F_DUPFD_CLOEXEC, 100)};
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  const int other = fcntl(socket(AF_INET, SOCK_STREAM, 0), F_DUPFD_CLOEXEC, 100);
  const int far = fcntl(listener, F_DUPFD_CLOEXEC, 100);
  ASSERT_EQ(dup2(far, 3), 3);
  ASSERT_EQ(dup2(other, 4), 4);
  setenv("LISTEN_FDS", "2", 1);
  setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
  const std::vector<Endpoint> passed = SystemdEndpoints();
  // For somebody else.
  setenv("LISTEN_PID", "1", 1);
  EXPECT_TRUE(SystemdEndpoints().empty());
  unsetenv("LISTEN_FDS");
  unsetenv("LISTEN_PID");
  ASSERT_EQ(passed.size(), 1u);
  EXPECT_EQ(passed[0].fd, 3);
  EXPECT_EQ(passed[0].kind, Endpoint::Kind::kFd);
  EXPECT_FALSE(passed[0].local);
  EXPECT_EQ(fcntl(3, F_GETFD), FD_CLOEXEC);
  for (int i = 0; i < 2; ++i) {
    close(3 + i);
    if (kept[i] >= 0) dup2(kept[i], 3 + i);
  }
}

}  // namespace
}  // namespace atl::vnc
