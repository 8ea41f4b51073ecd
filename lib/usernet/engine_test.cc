// SPDX-License-Identifier: Apache-2.0
// The engine with a guest whose every packet the test writes. The kernel's own stack as
// the guest is in tests/usernet.
#include "lib/usernet/engine.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/checksum.h"
#include "lib/usernet/layout.h"
#include "lib/usernet/testing/guest.h"

namespace atl::usernet {
namespace {

using testing_guest::Bytes;
using testing_guest::Tcp;

const IpAddress kGuest = *IpAddress::Parse("10.0.2.15");
const IpAddress kGateway = *IpAddress::Parse("10.0.2.2");
const IpAddress kGuest6 = *IpAddress::Parse("fec0::15");
const IpAddress kGateway6 = *IpAddress::Parse("fec0::2");
constexpr uint64_t kSecond = 1'000'000'000;

class EngineTest : public testing::Test {
 protected:
  void Start(const Options& options = {}, bool vnet = false) {
    vnet_ = vnet;
    loop_ = *host::EventLoop::Create();
    auto engine = Engine::Create(loop_.get(), options);
    ASSERT_OK(engine.status());
    engine_ = *std::move(engine);
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    guest_.reset(fds[0]);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    ASSERT_OK(engine_->AddStream(UniqueFd(fds[1]), vnet));
    Say(testing_guest::ArpRequest(kGuest.v4(), kGateway.v4()));
    ASSERT_TRUE(Hear());
  }
  // The server's end of a TCP connection of the guest.
  void Listen(const char* address = "127.0.0.1") {
    listener_.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    inet_pton(AF_INET, address, &at.sin_addr);
    ASSERT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    ASSERT_EQ(listen(listener_.get(), 8), 0);
    socklen_t size = sizeof at;
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
  }
  void Turn(int times = 1) {
    for (int i = 0; i < times; ++i) {
      loop_->Quit();
      loop_->Run();
    }
  }
  void Raw(const Bytes& bytes) {
    ASSERT_EQ(send(guest_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void Say(const Bytes& frame, const Bytes& vnet_header = Bytes(12)) {
    Bytes out(4);
    const Bytes head = vnet_ ? vnet_header : Bytes{};
    StoreBe(out.data(), static_cast<uint32_t>(head.size() + frame.size()));
    out.insert(out.end(), head.begin(), head.end());
    out.insert(out.end(), frame.begin(), frame.end());
    Raw(out);
    Turn();
  }
  // The next frame for the guest, if one comes within `ns`.
  std::optional<Bytes> Hear(uint64_t ns = kSecond / 5) {
    const uint64_t until = host::MonotonicNs() + ns;
    for (;;) {
      uint8_t bytes[65536];
      const ssize_t n = recv(guest_.get(), bytes, sizeof bytes, 0);
      if (n > 0) heard_.insert(heard_.end(), bytes, bytes + n);
      if (heard_.size() >= 4) {
        const Bytes length(heard_.begin(), heard_.begin() + 4);
        const size_t size = LoadBe<uint32_t>(length.data());
        if (heard_.size() >= 4 + size) {
          Bytes out(heard_.begin() + 4, heard_.begin() + 4 + static_cast<ptrdiff_t>(size));
          heard_.erase(heard_.begin(), heard_.begin() + 4 + static_cast<ptrdiff_t>(size));
          if (vnet_) {
            header_.assign(out.begin(), out.begin() + 12);
            out.erase(out.begin(), out.begin() + 12);
            if (header_[0] & 1) FillChecksum(&out);
          }
          return out;
        }
      }
      if (n > 0) continue;
      if (host::MonotonicNs() > until) return std::nullopt;
      Turn();
      pollfd p{guest_.get(), POLLIN, 0};
      poll(&p, 1, 1);
    }
  }
  // What the sender has left to us.
  void FillChecksum(Bytes* frame) const {
    const size_t start = LoadLe<uint16_t>(&header_[6]);
    Checksum sum;
    sum.Add(std::span(*frame).subspan(start));
    StoreBe(&(*frame)[start + LoadLe<uint16_t>(&header_[8])], sum.Value());
  }
  std::optional<Tcp> HearTcp(uint64_t ns = kSecond / 5) {
    const uint64_t until = host::MonotonicNs() + ns;
    while (host::MonotonicNs() < until) {
      const auto frame = Hear(ns);
      if (!frame) return std::nullopt;
      const auto ip = testing_guest::ParseIp(*frame);
      if (const auto tcp = ip ? testing_guest::ParseTcp(*ip) : std::nullopt) return tcp;
    }
    return std::nullopt;
  }
  void SayTcp(uint8_t flags, const Bytes& payload = {}, int32_t shift = 0) {
    Tcp tcp = Segment(flags, payload, shift);
    Say(testing_guest::TcpFrame(kGuest, kGateway, tcp));
    if (shift == 0) {
      sequence_ += static_cast<uint32_t>(payload.size()) + ((flags & (kSyn | kFin)) != 0 ? 1 : 0);
    }
  }
  Tcp Segment(uint8_t flags, const Bytes& payload, int32_t shift) const {
    Tcp tcp;
    tcp.from = 4000;
    tcp.to = port_;
    tcp.flags = flags;
    tcp.sequence = sequence_ + static_cast<uint32_t>(shift);
    tcp.acknowledgement = flags & kAck ? acknowledge_ : 0;
    tcp.window = window_;
    if (flags & kSyn) {
      tcp.options = selective_ ? Bytes{2, 4, 5, 0xB4, 1, 3, 3, 0, 1, 1, 4, 2}
                               : Bytes{2, 4, 5, 0xB4, 1, 3, 3, 0};
    }
    tcp.payload = payload;
    return tcp;
  }
  void Connect() {
    SayTcp(kSyn);
    const auto answer = HearTcp();
    ASSERT_TRUE(answer);
    ASSERT_EQ(answer->flags, kSyn | kAck);
    EXPECT_EQ(answer->acknowledgement, sequence_);
    acknowledge_ = answer->sequence + 1;
    SayTcp(kAck);
    peer_.reset(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    ASSERT_TRUE(peer_.valid());
    while (HearTcp(kSecond / 50)) {
    }
  }
  std::string Got() {
    std::string out(100000, 0);
    Turn(3);
    const ssize_t n = recv(peer_.get(), out.data(), out.size(), 0);
    out.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return out;
  }
  void Put(const std::string& text) {
    ASSERT_EQ(send(peer_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
    Turn(2);
  }
  static Bytes Text(absl::string_view text) { return Bytes(text.begin(), text.end()); }
  static std::string Text(const Bytes& bytes) { return {bytes.begin(), bytes.end()}; }

  bool vnet_ = false;
  std::unique_ptr<host::EventLoop> loop_;
  std::unique_ptr<Engine> engine_;
  UniqueFd guest_, listener_, peer_;
  std::deque<uint8_t> heard_;
  Bytes header_;
  uint16_t port_ = 0;
  uint16_t window_ = 65535;
  bool selective_ = false;
  uint32_t sequence_ = 0xFFFFFF00;  // wraps soon
  uint32_t acknowledge_ = 0;
};

TEST_F(EngineTest, AnswersForItsAddressesAlone) {
  Start();
  Say(testing_guest::ArpRequest(kGuest.v4(), 0x0A000203));
  const auto reply = Hear();
  ASSERT_TRUE(reply);
  EXPECT_EQ(LoadBe<uint16_t>(&(*reply)[20]), 2);
  EXPECT_EQ(LoadBe<uint32_t>(&(*reply)[28]), 0x0A000203u);
  Say(testing_guest::ArpRequest(kGuest.v4(), 0x0A000204));
  EXPECT_FALSE(Hear(kSecond / 50));
}

TEST_F(EngineTest, AnswersPingInBothFamilies) {
  Start();
  Say(testing_guest::PingFrame(kGuest, kGateway, 7, Text("abc")));
  auto ip = testing_guest::ParseIp(*Hear());
  ASSERT_TRUE(ip);
  EXPECT_EQ(ip->payload[0], 0);
  EXPECT_EQ(Text(Bytes(ip->payload.begin() + 8, ip->payload.end())), "abc");
  Say(testing_guest::PingFrame(kGuest6, kGateway6, 7, Text("abc")));
  ip = testing_guest::ParseIp(*Hear());
  ASSERT_TRUE(ip);
  EXPECT_EQ(ip->payload[0], 129);
}

TEST_F(EngineTest, CarriesBytesAndEndsBothWays) {
  Start();
  Listen();
  Connect();
  SayTcp(kAck | kPsh, Text("to the host"));
  EXPECT_EQ(Got(), "to the host");
  EXPECT_EQ(HearTcp()->acknowledgement, sequence_);
  Put("to the guest");
  auto data = HearTcp();
  ASSERT_TRUE(data);
  EXPECT_EQ(Text(data->payload), "to the guest");
  acknowledge_ += 12;
  SayTcp(kAck | kFin);
  EXPECT_EQ(HearTcp()->acknowledgement, sequence_);
  EXPECT_EQ(Got(), "");
  char byte;
  EXPECT_EQ(recv(peer_.get(), &byte, 1, 0), 0);  // the end, no error
  Put("still");                                  // the other half is open
  data = HearTcp();
  EXPECT_EQ(Text(data->payload), "still");
  acknowledge_ += 5;
  SayTcp(kAck);
  peer_.reset();
  const auto fin = HearTcp();
  ASSERT_TRUE(fin);
  EXPECT_TRUE(fin->flags & kFin);
  ++acknowledge_;
  SayTcp(kAck);
  EXPECT_FALSE(HearTcp(kSecond / 50));
  // The connection is over, and forgotten soon.
  for (int i = 0; i < 300 && engine_->tcp().size() != 0; ++i) Hear(kSecond / 100);
  EXPECT_EQ(engine_->tcp().size(), 0u);
}

TEST_F(EngineTest, RefusesWhatTheHostRefuses) {
  Start();
  Listen();
  listener_.reset();  // a port where nobody listens
  SayTcp(kSyn);
  const auto answer = HearTcp();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->flags, kRst | kAck);
  EXPECT_EQ(answer->acknowledgement, sequence_);
}

TEST_F(EngineTest, ResetsWhatItDoesNotKnow) {
  Start();
  port_ = 9;
  acknowledge_ = 1234;
  SayTcp(kAck, Text("x"));
  const auto answer = HearTcp();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->flags, kRst);
  EXPECT_EQ(answer->sequence, 1234u);
  SayTcp(kRst);
  EXPECT_FALSE(HearTcp(kSecond / 50));
}

TEST_F(EngineTest, PutsSegmentsInOrder) {
  Start();
  Listen();
  Connect();
  const uint32_t begin = sequence_;
  SayTcp(kAck, Text("ef"), 4);
  EXPECT_EQ(HearTcp()->acknowledgement, begin);  // at once, and again
  SayTcp(kAck, Text("ij"), 8);
  EXPECT_EQ(HearTcp()->acknowledgement, begin);
  SayTcp(kAck, Text("cde"), 2);
  EXPECT_EQ(HearTcp()->acknowledgement, begin);
  EXPECT_EQ(Got(), "");
  SayTcp(kAck, Text("ab"));
  EXPECT_EQ(HearTcp()->acknowledgement, begin + 6);
  SayTcp(kAck, Text("abcdefgh"), -2);  // much of it again
  EXPECT_EQ(HearTcp()->acknowledgement, begin + 10);
  EXPECT_EQ(Got(), "abcdefghij");
}

TEST_F(EngineTest, SaysWhichPiecesHaveComeToAGuestThatAsks) {
  selective_ = true;
  Start();
  Listen();
  Connect();
  const uint32_t begin = sequence_;
  using Pieces = std::vector<std::pair<int, int>>;
  // The option's pieces, as offsets from `begin`.
  const auto told = [&]() -> Pieces {
    const auto answer = HearTcp();
    if (!answer) return {{-1, -1}};
    const Bytes& o = answer->options;
    Pieces out;
    if (o.empty()) return out;
    EXPECT_EQ(Bytes(o.begin(), o.begin() + 3), (Bytes{1, 1, 5}));
    EXPECT_EQ(o[3], o.size() - 2);
    for (size_t at = 4; at + 8 <= o.size(); at += 8) {
      out.emplace_back(LoadBe<uint32_t>(&o[at]) - begin, LoadBe<uint32_t>(&o[at + 4]) - begin);
    }
    return out;
  };
  SayTcp(kAck, Text("ef"), 4);
  EXPECT_EQ(told(), (Pieces{{4, 6}}));
  SayTcp(kAck, Text("ij"), 8);
  EXPECT_EQ(told(), (Pieces{{8, 10}, {4, 6}}));
  SayTcp(kAck, Text("ef"), 4);  // again: the last one is the first
  EXPECT_EQ(told(), (Pieces{{4, 6}, {8, 10}}));
  SayTcp(kAck, Text("gh"), 6);  // all become one
  EXPECT_EQ(told(), (Pieces{{4, 10}}));
  // Of more than there is room for, the last four.
  for (int at = 12; at <= 20; at += 2) {
    SayTcp(kAck, Text("x"), at);
    while (at != 20 && HearTcp(kSecond / 50)) {
    }
  }
  EXPECT_EQ(told(), (Pieces{{20, 21}, {18, 19}, {16, 17}, {14, 15}}));
  // What is acknowledged is ahead no more; what was passed over is not forgotten.
  SayTcp(kAck, Text("abcd"));
  EXPECT_EQ(told(), (Pieces{{20, 21}, {18, 19}, {16, 17}, {14, 15}}));
  sequence_ = begin + 10;
  SayTcp(kAck, Text("klmnopqrst"));
  EXPECT_EQ(told(), Pieces{});
  EXPECT_EQ(Got(), "abcdefghijklmnopqrstx");
}

TEST_F(EngineTest, SaysNothingOfPiecesToAGuestThatDoesNotAsk) {
  Start();
  Listen();
  Connect();
  SayTcp(kAck, Text("ef"), 4);
  EXPECT_EQ(HearTcp()->options, Bytes{});
}

TEST_F(EngineTest, RepeatsWhatIsNotAcknowledged) {
  Start();
  Listen();
  Connect();
  Put("lost");
  EXPECT_EQ(Text(HearTcp()->payload), "lost");
  const auto again = HearTcp(kSecond * 2);
  ASSERT_TRUE(again);
  EXPECT_EQ(Text(again->payload), "lost");
  EXPECT_EQ(again->sequence, acknowledge_);
  acknowledge_ += 4;
  SayTcp(kAck);
  EXPECT_FALSE(HearTcp(kSecond));
}

TEST_F(EngineTest, ThreeDuplicatesBringTheMissingSegment) {
  Start();
  Listen();
  Connect();
  Put(std::string(1460, 'a') + std::string(1460 * 5, 'b'));
  while (HearTcp(kSecond / 50)) {
  }
  for (int i = 0; i < 3; ++i) SayTcp(kAck);
  const auto again = HearTcp(kSecond / 20);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->sequence, acknowledge_);
  EXPECT_EQ(Text(again->payload), std::string(1460, 'a'));
}

TEST_F(EngineTest, KeepsToTheGuestsWindow) {
  Start();
  Listen();
  Connect();
  window_ = 1000;
  SayTcp(kAck);
  Put(std::string(5000, 'x'));
  size_t got = 0;
  while (const auto s = HearTcp(kSecond / 50)) got += s->payload.size();
  EXPECT_EQ(got, 1000u);
  // Shut; a probe asks from time to time, and nothing breaks.
  acknowledge_ += 1000;
  window_ = 0;
  SayTcp(kAck);
  const auto probe = HearTcp(kSecond * 2);
  ASSERT_TRUE(probe);
  EXPECT_EQ(probe->payload.size(), 1u);
  SayTcp(kAck);
  window_ = 65535;
  SayTcp(kAck);
  got = 0;
  while (const auto s = HearTcp(kSecond / 20)) {
    if (s->sequence != acknowledge_) continue;
    got += s->payload.size();
    acknowledge_ += static_cast<uint32_t>(s->payload.size());
    SayTcp(kAck);
  }
  EXPECT_EQ(got, 4000u);
}

TEST_F(EngineTest, OffersNoMoreThanItHolds) {
  Start();
  Listen();
  Connect();
  // The peer does not read: what was accepted is bounded, whatever is sent.
  uint64_t sent = 0;
  const Bytes block(60000, 'z');
  for (int i = 0; i < 1000; ++i) {
    const uint32_t before = sequence_;
    SayTcp(kAck, block);
    uint32_t acknowledged = before;
    while (const auto s = HearTcp(kSecond / 500)) acknowledged = s->acknowledgement;
    sent += acknowledged - before;
    sequence_ = acknowledged;
    if (acknowledged == before) break;
  }
  EXPECT_GT(sent, 100'000u);
  EXPECT_LE(engine_->tcp().memory().used, 2 * TcpFlow::kMaxRing);
  // And arrives when it does.
  uint64_t got = 0;
  for (std::string part; !(part = Got()).empty();) {
    EXPECT_EQ(part.find_first_not_of('z'), std::string::npos);
    got += part.size();
  }
  EXPECT_EQ(got, sent);
}

TEST_F(EngineTest, OnlyAnExactResetEnds) {
  Start();
  Listen();
  Connect();
  SayTcp(kRst, {}, 5);
  EXPECT_EQ(HearTcp()->flags, kAck);  // asked about
  SayTcp(kSyn, {}, 5);
  EXPECT_EQ(HearTcp()->flags, kAck);
  EXPECT_EQ(engine_->tcp().size(), 1u);
  SayTcp(kRst);
  EXPECT_EQ(engine_->tcp().size(), 0u);
  char byte;
  EXPECT_EQ(recv(peer_.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

// Both come in one read: the old connection is among those to be served while the new one takes
// its place in the table.
TEST_F(EngineTest, ANumberIsUsedAgainBehindItsReset) {
  Start();
  Listen();
  Connect();
  Bytes both;
  const auto add = [&](uint8_t flags) {
    const Bytes frame = testing_guest::TcpFrame(kGuest, kGateway, Segment(flags, {}, 0));
    both.resize(both.size() + 4);
    StoreBe(&both[both.size() - 4], static_cast<uint32_t>(frame.size()));
    both.insert(both.end(), frame.begin(), frame.end());
  };
  add(kRst);
  sequence_ += 100000;
  add(kSyn);
  Raw(both);
  Turn();
  ++sequence_;
  const auto answer = HearTcp();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->flags, kSyn | kAck);
  EXPECT_EQ(answer->acknowledgement, sequence_);
  EXPECT_EQ(engine_->tcp().size(), 1u);
  acknowledge_ = answer->sequence + 1;
  char byte;
  EXPECT_EQ(recv(peer_.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
  SayTcp(kAck);
  peer_.reset(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  ASSERT_TRUE(peer_.valid());
  SayTcp(kAck, Text("again"));
  EXPECT_EQ(Got(), "again");
}

TEST_F(EngineTest, WrongChecksumsAreDropped) {
  Start();
  Listen();
  Bytes frame = testing_guest::TcpFrame(kGuest, kGateway, Segment(kSyn, {}, 0));
  frame.back() ^= 1;
  Say(frame);
  EXPECT_FALSE(HearTcp(kSecond / 20));
  EXPECT_EQ(engine_->tcp().size(), 0u);
}

TEST_F(EngineTest, RestrictedGuestsReachNothing) {
  Options options;
  options.restricted = true;
  Start(options);
  Listen();
  SayTcp(kSyn);
  EXPECT_EQ(HearTcp()->flags, kRst | kAck);
  for (const char* to : {"10.0.2.3", "8.8.8.8", "127.0.0.1"}) {
    Say(testing_guest::UdpFrame({kGuest, 99}, {*IpAddress::Parse(to), 53}, Text("q")));
    const auto ip = testing_guest::ParseIp(*Hear());
    ASSERT_TRUE(ip);
    EXPECT_EQ(ip->protocol, kIcmp);
    EXPECT_EQ(ip->payload[0], 3);
  }
}

TEST_F(EngineTest, TheHostsOwnAddressesAreNotReachedByTheirNames) {
  Start();
  Listen();
  for (const char* to : {"127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.2.3", "255.255.255.254"}) {
    Say(testing_guest::TcpFrame(kGuest, *IpAddress::Parse(to), Segment(kSyn, {}, 0)));
    const auto answer = HearTcp(kSecond / 20);
    if (answer) {
      EXPECT_EQ(answer->flags, kRst | kAck) << to;
    }
    EXPECT_EQ(engine_->tcp().size(), 0u) << to;
  }
  // Under cover of IPv6.
  Say(testing_guest::IpFrame(kGuest6, *IpAddress::Parse("::1"), kTcp, Bytes(20)));
  Bytes mapped = testing_guest::IpFrame(kGuest6, kGateway6, kTcp, Bytes(20));
  const Bytes target = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 127, 0, 0, 1};
  std::copy(target.begin(), target.end(), mapped.begin() + 38);
  Say(mapped);
  EXPECT_EQ(engine_->tcp().size(), 0u);
}

TEST_F(EngineTest, NoLoopbackClosesTheGatewaysDoor) {
  Options options;
  options.loopback = false;
  Start(options);
  Listen();
  SayTcp(kSyn);
  EXPECT_EQ(HearTcp()->flags, kRst | kAck);
}

TEST_F(EngineTest, AFloodOfConnectionsHasABound) {
  Options options;
  options.max_connections = 64;
  Start(options);
  Listen();
  for (uint16_t port = 1; port < 3000; ++port) {
    Tcp tcp = Segment(kSyn, {}, 0);
    tcp.from = port;
    Say(testing_guest::TcpFrame(kGuest, kGateway, tcp));
    while (Hear(0)) {
    }
  }
  EXPECT_LE(engine_->tcp().size(), 64u);
}

TEST_F(EngineTest, AStreamThatIsNoneIsClosed) {
  Start();
  size_t gone = 0;
  engine_->SetGuestGone([&] { ++gone; });
  Raw({0x7F, 0, 0, 0, 1, 2, 3});
  Turn(2);
  EXPECT_EQ(gone, 1u);
  EXPECT_EQ(engine_->guests(), 0u);
}

TEST_F(EngineTest, FramesInPiecesAndTooShort) {
  Start();
  Raw({0, 0, 0, 3, 1, 2, 3});  // shorter than a frame: passed over
  const Bytes frame = testing_guest::PingFrame(kGuest, kGateway, 1, Text("x"));
  Bytes out(4);
  StoreBe(out.data(), static_cast<uint32_t>(frame.size()));
  out.insert(out.end(), frame.begin(), frame.end());
  for (const uint8_t byte : out) {
    Raw({byte});
    Turn();
  }
  EXPECT_TRUE(Hear());
}

TEST_F(EngineTest, LeavesNothingToAGuestThatHasNotSaidSo) {
  Start({}, /*vnet=*/true);
  Listen();
  Connect();
  Put(std::string(4000, 'y'));
  size_t got = 0;
  while (const auto s = HearTcp(kSecond / 50)) {
    EXPECT_EQ(header_[0] | header_[1], 0);
    got += s->payload.size();
  }
  EXPECT_EQ(got, 4000u);
}

TEST_F(EngineTest, LeavesSegmentationToAGuestThatDoesIt) {
  Start({}, /*vnet=*/true);
  Listen();
  Say({}, {7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  Connect();
  const std::string text(40000, 'y');
  Put(text);
  const auto frame = Hear();
  ASSERT_TRUE(frame);
  EXPECT_EQ(header_[0], 1);                        // needs a checksum
  EXPECT_EQ(header_[1], 1);                        // TCPv4
  EXPECT_EQ(LoadLe<uint16_t>(&header_[2]), 54);    // headers
  EXPECT_EQ(LoadLe<uint16_t>(&header_[4]), 1460);  // the guest's segment size
  EXPECT_EQ(LoadLe<uint16_t>(&header_[6]), 34);    // where TCP begins
  EXPECT_EQ(LoadLe<uint16_t>(&header_[8]), 16);    // its checksum
  EXPECT_GE(frame->size(), 40000u);
  EXPECT_TRUE(testing_guest::ParseIp(*frame));
  // And the other way: one frame of many segments, its checksum not made.
  Tcp tcp = Segment(kAck, Bytes(30000, 'w'), 0);
  Bytes big = testing_guest::TcpFrame(kGuest, kGateway, tcp);
  big[50] ^= 0x55;  // the checksum's place
  const Bytes head = {1, 1, 54, 0, 0xB4, 5, 34, 0, 16, 0, 0, 0};
  Say(big, head);
  EXPECT_EQ(Got(), std::string(30000, 'w'));
}

TEST_F(EngineTest, CommandsAreAnswered) {
  Start();
  EXPECT_EQ(engine_->Command("hostfwd_add tcp:127.0.0.1:0-:1").substr(0, 7), "error: ");
  EXPECT_EQ(engine_->Command("hostfwd_add tcp:127.0.0.1:1-11.0.0.1:1"),
            "error: tcp:127.0.0.1:1-11.0.0.1:1: 11.0.0.1 is no guest's address\n");
  EXPECT_EQ(engine_->Command("hostfwd_remove 5"),
            "error: nothing is forwarded from tcp:0.0.0.0:5\n");
  EXPECT_EQ(engine_->Command("info").substr(0, 9), "guests 1\n");
}

}  // namespace
}  // namespace atl::usernet
