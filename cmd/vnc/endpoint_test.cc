// SPDX-License-Identifier: Apache-2.0
#include "cmd/vnc/endpoint.h"

#include <sys/socket.h>
#include <unistd.h>

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

}  // namespace
}  // namespace atl::vnc
