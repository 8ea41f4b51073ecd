// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/dns_relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/host_side.h"

namespace atl::usernet {
namespace {

using Bytes = std::vector<uint8_t>;

// At the loopback, a port that is free.
UniqueFd Bound(int type, uint32_t address = 0x7F000001) {
  UniqueFd fd(socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const SocketAddress at({IpAddress::V4(address), 0});
  EXPECT_EQ(bind(fd.get(), at.get(), at.size), 0);
  if (type == SOCK_STREAM) {
    EXPECT_EQ(listen(fd.get(), 64), 0);
  }
  return fd;
}

Endpoint Where(const UniqueFd& fd) {
  SocketAddress at;
  EXPECT_EQ(getsockname(fd.get(), at.get(), &at.size), 0);
  return at.endpoint();
}

UniqueFd Connected(const Endpoint& to, int type, uint32_t from = 0x7F000001) {
  UniqueFd fd = UniqueFd(socket(AF_INET, type | SOCK_CLOEXEC, 0));
  const SocketAddress source({IpAddress::V4(from), 0});
  EXPECT_EQ(bind(fd.get(), source.get(), source.size), 0);
  const SocketAddress at(to);
  EXPECT_EQ(connect(fd.get(), at.get(), at.size), 0);
  return fd;
}

Bytes Ask(uint16_t id, uint8_t label, uint16_t flags = 0x0100) {
  Bytes out = {0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, label, 0, 0, 1, 0, 1};
  StoreBe(out.data(), id);
  StoreBe(out.data() + 2, flags);
  return out;
}

class DnsRelayTest : public testing::Test {
 protected:
  void SetUp() override {
    resolver_ = Bound(SOCK_DGRAM);
    // The same port for connections.
    resolver_listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const SocketAddress at(Where(resolver_));
    ASSERT_EQ(bind(resolver_listener_.get(), at.get(), at.size), 0);
    ASSERT_EQ(listen(resolver_listener_.get(), 64), 0);
    Start({Where(resolver_)});
  }
  void Start(std::vector<Endpoint> resolvers) {
    UniqueFd questions = Bound(SOCK_DGRAM), listener = Bound(SOCK_STREAM);
    questions_ = Where(questions);
    listener_ = Where(listener);
    ASSERT_OK_AND_ASSIGN(
        relay_, DnsRelay::Create(std::move(questions), std::move(listener), std::move(resolvers)));
  }
  void Turn(int ms = 100) {
    pollfd p{relay_->fd(), POLLIN, 0};
    if (poll(&p, 1, ms) > 0) relay_->Serve();
  }
  // What comes to `fd` within a while, as the relay works; empty: nothing, or the end.
  Bytes Receive(const UniqueFd& fd, SocketAddress* from = nullptr) {
    for (int i = 0; i < 20; ++i) {
      Bytes bytes(8192);
      SocketAddress who;
      const ssize_t n =
          recvfrom(fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT, who.get(), &who.size);
      if (n >= 0) {
        bytes.resize(static_cast<size_t>(n));
        if (from != nullptr) *from = who;
        return bytes;
      }
      Turn(10);
    }
    return {};
  }
  void Send(const UniqueFd& fd, const Bytes& bytes) {
    ASSERT_EQ(send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // The connection that reaches the resolver.
  UniqueFd Accept() {
    for (int i = 0; i < 20; ++i) {
      UniqueFd fd(accept4(resolver_listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (fd.valid()) return fd;
      Turn(10);
    }
    return UniqueFd();
  }

  UniqueFd resolver_, resolver_listener_;
  std::unique_ptr<DnsRelay> relay_;
  Endpoint questions_, listener_;
};

TEST_F(DnsRelayTest, AnswersFindTheirQuestion) {
  const UniqueFd a = Connected(questions_, SOCK_DGRAM), b = Connected(questions_, SOCK_DGRAM);
  Send(a, Ask(1, 'a'));
  Send(b, Ask(1, 'b'));
  std::array<SocketAddress, 2> from;
  EXPECT_EQ(Receive(resolver_, &from[0]), Ask(1, 'a'));
  EXPECT_EQ(Receive(resolver_, &from[1]), Ask(1, 'b'));
  EXPECT_EQ(relay_->questions(), 2u);
  const auto answer = [this, &from](size_t to, const Bytes& bytes) {
    sendto(resolver_.get(), bytes.data(), bytes.size(), 0, from[to].get(), from[to].size);
    Turn(20);
  };
  // What answers nothing is not passed on, and the question waits further.
  answer(0, Ask(2, 'a', 0x8180));
  answer(0, Ask(1, 'b', 0x8180));
  answer(0, Ask(1, 'a'));
  answer(0, Bytes(4));
  answer(0, {});
  EXPECT_EQ(relay_->questions(), 2u);
  // From elsewhere it does not get in.
  const UniqueFd stranger = Bound(SOCK_DGRAM);
  const Bytes forged = Ask(1, 'a', 0x8180);
  sendto(stranger.get(), forged.data(), forged.size(), 0, from[0].get(), from[0].size);
  Turn(20);
  EXPECT_EQ(relay_->questions(), 2u);
  answer(1, Ask(1, 'b', 0x8180));
  answer(0, Ask(1, 'A', 0x8180));
  EXPECT_EQ(Receive(b), Ask(1, 'b', 0x8180));
  EXPECT_EQ(Receive(a), Ask(1, 'A', 0x8180));
  EXPECT_EQ(relay_->questions(), 0u);
}

TEST_F(DnsRelayTest, WhatIsNoQuestionGoesNowhere) {
  const UniqueFd guest = Connected(questions_, SOCK_DGRAM);
  for (const Bytes& bytes : {Bytes(), Bytes(11), Bytes(12), Ask(1, 'a', 0x8180), Bytes(6000)}) {
    Send(guest, bytes);
  }
  Send(guest, Ask(9, 'z'));
  EXPECT_EQ(Receive(resolver_), Ask(9, 'z'));
  EXPECT_EQ(relay_->questions(), 1u);
}

TEST_F(DnsRelayTest, AResolverThatIsNotThereGivesWayToTheNext) {
  Endpoint nobody;
  { nobody = Where(Bound(SOCK_DGRAM)); }
  Start({nobody, Where(resolver_)});
  const UniqueFd guest = Connected(questions_, SOCK_DGRAM);
  Send(guest, Ask(1, 'a'));
  for (int i = 0; i < 20 && relay_->questions() == 0; ++i) Turn(10);
  for (int i = 0; i < 20 && relay_->questions() != 0; ++i) Turn(10);
  Send(guest, Ask(2, 'a'));
  EXPECT_EQ(Receive(resolver_), Ask(2, 'a'));
}

TEST_F(DnsRelayTest, AFloodOfQuestionsHasABoundAndLeavesOthersTheirs) {
  const UniqueFd other = Connected(questions_, SOCK_DGRAM, 0x7F000002);
  Send(other, Ask(7, 'o'));
  SocketAddress from;
  ASSERT_EQ(Receive(resolver_, &from), Ask(7, 'o'));
  const UniqueFd guest = Connected(questions_, SOCK_DGRAM);
  for (int i = 0; i < 2000; ++i) {
    Send(guest, Ask(static_cast<uint16_t>(i), 'a'));
    Turn(0);
    EXPECT_LE(relay_->questions(), DnsRelay::kMaxQuestionsOfOne + 1);
  }
  const Bytes answer = Ask(7, 'o', 0x8180);
  sendto(resolver_.get(), answer.data(), answer.size(), 0, from.get(), from.size);
  EXPECT_EQ(Receive(other), answer);
  // By many addresses.
  for (uint32_t i = 0; i < 500; ++i) {
    Send(Connected(questions_, SOCK_DGRAM, 0x7F000100 + i), Ask(1, 'a'));
    Turn(0);
  }
  EXPECT_LE(relay_->questions(), DnsRelay::kMaxQuestions);
}

TEST_F(DnsRelayTest, ConnectionsGoBothWaysAndEnd) {
  const UniqueFd guest = Connected(listener_, SOCK_STREAM);
  UniqueFd there = Accept();
  ASSERT_TRUE(there.valid());
  EXPECT_EQ(relay_->talks(), 1u);
  Send(guest, Bytes(300, 'q'));
  EXPECT_EQ(Receive(there), Bytes(300, 'q'));
  // As large as answers get, to a guest that does not read at once.
  Bytes answer(65537);
  for (size_t i = 0; i < answer.size(); ++i) answer[i] = static_cast<uint8_t>(i * 7);
  Send(there, answer);
  Bytes got;
  while (got.size() < answer.size()) {
    const Bytes more = Receive(guest);
    ASSERT_FALSE(more.empty());
    got.insert(got.end(), more.begin(), more.end());
  }
  EXPECT_EQ(got, answer);
  // Half of it ends, then the other.
  shutdown(guest.get(), SHUT_WR);
  for (int i = 0; i < 5; ++i) Turn(10);
  EXPECT_EQ(recv(there.get(), got.data(), 1, MSG_DONTWAIT), 0);
  Send(there, {'x'});
  EXPECT_EQ(Receive(guest), Bytes{'x'});
  there.reset();
  for (int i = 0; i < 20 && relay_->talks() != 0; ++i) Turn(10);
  EXPECT_EQ(relay_->talks(), 0u);
}

TEST_F(DnsRelayTest, AnEndThatBreaksEndsTheOther) {
  for (const bool by_guest : {true, false}) {
    UniqueFd guest = Connected(listener_, SOCK_STREAM);
    UniqueFd there = Accept();
    ASSERT_TRUE(there.valid());
    UniqueFd& breaks = by_guest ? guest : there;
    const linger now = {1, 0};
    setsockopt(breaks.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    breaks.reset();
    for (int i = 0; i < 20 && relay_->talks() != 0; ++i) Turn(10);
    EXPECT_EQ(relay_->talks(), 0u);
    pollfd p{(by_guest ? there : guest).get(), POLLIN, 0};
    EXPECT_EQ(poll(&p, 1, 1000), 1);
  }
  // Nothing is left that would keep it busy.
  pollfd p{relay_->fd(), POLLIN, 0};
  if (poll(&p, 1, 1200) > 0) relay_->Serve();  // the timer
  EXPECT_EQ(poll(&p, 1, 50), 0);
}

TEST_F(DnsRelayTest, AConnectionToNobodyEnds) {
  Endpoint nobody;
  { nobody = Where(Bound(SOCK_STREAM)); }
  Start({nobody});
  const UniqueFd guest = Connected(listener_, SOCK_STREAM);
  for (int i = 0; i < 5; ++i) Turn(10);
  EXPECT_EQ(relay_->talks(), 0u);
  uint8_t byte;
  EXPECT_LE(recv(guest.get(), &byte, 1, MSG_DONTWAIT), 0);
  EXPECT_NE(errno, EAGAIN);
}

TEST_F(DnsRelayTest, AFloodOfConnectionsHasABoundAndLeavesOthersTheirs) {
  const UniqueFd other = Connected(listener_, SOCK_STREAM, 0x7F000002);
  const UniqueFd there = Accept();
  ASSERT_TRUE(there.valid());
  std::vector<UniqueFd> flood;
  for (int i = 0; i < 200; ++i) {
    flood.push_back(Connected(listener_, SOCK_STREAM));
    Turn(10);
    EXPECT_LE(relay_->talks(), DnsRelay::kMaxTalksOfOne + 1);
    UniqueFd(accept4(resolver_listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  Send(other, {'q'});
  EXPECT_EQ(Receive(there), Bytes{'q'});
  for (uint32_t i = 0; i < 100; ++i) {
    flood.push_back(Connected(listener_, SOCK_STREAM, 0x7F000100 + i));
    Turn(10);
    EXPECT_LE(relay_->talks(), DnsRelay::kMaxTalks);
    UniqueFd(accept4(resolver_listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
}

}  // namespace
}  // namespace atl::usernet
