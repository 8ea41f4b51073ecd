// SPDX-License-Identifier: Apache-2.0
// Taps in a network namespace of the test's own: frames go in by the tap and
// come out of a packet socket on the interface, and the other way round.
#include "lib/net/tap.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/status_matchers.h"
#include "lib/net/testing/fake_port.h"
#include "lib/net/vnet_header.h"
#include "lib/netlink/testing/namespace.h"

namespace atl::net {
namespace {

constexpr uint16_t kEtherType = 0x88B5;  // for experiments

std::vector<uint8_t> TestFrame(uint8_t seed, size_t size = 100) {
  std::vector<uint8_t> out(size, seed);
  memset(out.data(), 0xFF, 6);
  out[6] = 2;
  out[12] = kEtherType >> 8;
  out[13] = kEtherType & 0xFF;
  return out;
}

void SetUp(const std::string& name) {
  const UniqueFd s(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  ASSERT_EQ(ioctl(s.get(), SIOCSIFFLAGS, &request), 0) << strerror(errno);
}

UniqueFd PacketSocket(const std::string& name) {
  UniqueFd s(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(kEtherType)));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(kEtherType);
  address.sll_ifindex = static_cast<int>(if_nametoindex(name.c_str()));
  EXPECT_EQ(bind(s.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return s;
}

class TapTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { ASSERT_OK_AND_ASSIGN(loop_, host::EventLoop::Create()); }
  void TearDown() override { tap_.reset(); }
  void Connect() {
    port_.Connect(tap_.get());
    ASSERT_OK(tap_->Start(*loop_, port_, nullptr));
  }
  void RunLoop(int rounds = 20) {
    for (int i = 0; i < rounds; ++i) {
      loop_->Post([this] { loop_->Quit(); });
      loop_->Run();
      usleep(1000);
    }
  }
  size_t CountSent(uint8_t seed) {
    size_t n = 0;
    for (const FakePort::Sent& s : port_.sent) n += s.bytes == TestFrame(seed);
    return n;
  }
  std::unique_ptr<host::EventLoop> loop_;
  FakePort port_;
  std::unique_ptr<Backend> tap_;
};

INSTANTIATE_TEST_SUITE_P(Headers, TapTest, testing::Bool());

TEST_P(TapTest, CarriesFramesBothWays) {
  ASSERT_OK_AND_ASSIGN(tap_, OpenTap({.ifname = "atltap0", .vnet_header = GetParam()}));
  EXPECT_EQ(tap_->description(), "tap atltap0");
  Connect();
  net::SetUp("atltap0");
  const UniqueFd host = PacketSocket("atltap0");
  EXPECT_TRUE(tap_->Receive({TestFrame(3), {}}));
  std::vector<uint8_t> got(2000);
  ssize_t n = -1;
  for (int i = 0; i < 100 && n < 0; ++i) {
    n = recv(host.get(), got.data(), got.size(), 0);
    if (n < 0) usleep(10000);
  }
  ASSERT_EQ(n, 100);
  got.resize(100);
  EXPECT_EQ(got, TestFrame(3));
  ASSERT_EQ(send(host.get(), TestFrame(4).data(), 100, 0), 100);
  RunLoop();
  EXPECT_EQ(CountSent(4), 1u);
}

TEST_P(TapTest, HoldsAFrameThatTheGuestHasNoRoomFor) {
  ASSERT_OK_AND_ASSIGN(tap_, OpenTap({.ifname = "atltap0", .vnet_header = GetParam()}));
  Connect();
  net::SetUp("atltap0");
  RunLoop();
  const UniqueFd host = PacketSocket("atltap0");
  port_.room = 0;
  ASSERT_EQ(send(host.get(), TestFrame(5).data(), 100, 0), 100);
  RunLoop();
  EXPECT_EQ(CountSent(5), 0u);
  port_.MakeRoom(1000);
  RunLoop();
  EXPECT_EQ(CountSent(5), 1u);
}

TEST_P(TapTest, OneThatSomebodyElseHasOpened) {
  UniqueFd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (GetParam()) request.ifr_flags |= IFF_VNET_HDR;
  ASSERT_EQ(ioctl(fd.get(), TUNSETIFF, &request), 0);
  ASSERT_OK_AND_ASSIGN(tap_, AdoptTap(std::move(fd), {}));
  EXPECT_EQ(tap_->description(), std::string("tap ") + request.ifr_name);
  Connect();
  EXPECT_EQ(tap_->offloads().checksum, GetParam());
  EXPECT_EQ(tap_->offloads().tcp4, GetParam());
  net::SetUp(request.ifr_name);
  const UniqueFd host = PacketSocket(request.ifr_name);
  ASSERT_EQ(send(host.get(), TestFrame(6).data(), 100, 0), 100);
  RunLoop();
  EXPECT_EQ(CountSent(6), 1u);
}

std::string Script(const char* name, const std::string& text) {
  const std::string path = std::string(getenv("TEST_TMPDIR")) + "/" + name;
  std::ofstream(path) << "#!/bin/sh\n" << text << "\n";
  chmod(path.c_str(), 0700);
  return path;
}
std::string Content(const std::string& path) {
  std::ifstream file(path);
  std::stringstream out;
  out << file.rdbuf();
  return out.str();
}

TEST(TapScript, GetsTheInterfaceThatIsThere) {
  const std::string log = std::string(getenv("TEST_TMPDIR")) + "/script.log";
  TapOptions options;
  options.ifname = "atltap1";
  options.script = Script("up", "test -e /proc/sys/net/ipv4/conf/$1 && echo up $1 $# >>" + log);
  options.downscript = Script("down", "echo down $1 >>" + log);
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<Backend> tap, OpenTap(options));
  EXPECT_EQ(Content(log), "up atltap1 1\n");
  EXPECT_OK(tap->Close());
  EXPECT_EQ(Content(log), "up atltap1 1\ndown atltap1\n");
}

TEST(TapScript, ThatFailsIsAnErrorWithWhatItSaid) {
  TapOptions options;
  options.ifname = "atltap2";
  options.script = Script("bad", "echo no bridge br7 for $1 >&2; exit 9");
  EXPECT_THAT(OpenTap(options), StatusIs(absl::StatusCode::kAborted,
                                         "failed with status 9: no bridge br7 for "
                                         "atltap2"));
  EXPECT_EQ(if_nametoindex("atltap2"), 0u) << "nothing is left";
  options.script = "/no/such/script";
  EXPECT_THAT(OpenTap(options), StatusIs(absl::StatusCode::kNotFound, "/no/such/script"));
}

TEST(Tap, NamesAndDescriptorsAreChecked) {
  EXPECT_OK(CheckInterfaceName("tap0"));
  EXPECT_OK(CheckInterfaceName("fifteen-bytes-x"));
  for (const char* wrong : {"", "sixteen-bytes-xx", "a/b", "a b", "a:1", ".", ".."}) {
    EXPECT_FALSE(CheckInterfaceName(wrong).ok()) << wrong;
  }
  EXPECT_THAT(OpenTap({.ifname = "sixteen-bytes-xx"}),
              StatusIs(absl::StatusCode::kInvalidArgument, "longer than 15"));
  EXPECT_THAT(OpenTap({.ifname = "lo"}), StatusIs(absl::StatusCode::kFailedPrecondition, "lo"));
  EXPECT_THAT(AdoptTap(UniqueFd(open("/dev/null", O_RDWR)), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, "is no tap"));
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<Backend> tap, OpenTap({.ifname = "atltap3"}));
  EXPECT_THAT(OpenTap({.ifname = "atltap3"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, "another program"));
}

}  // namespace
}  // namespace atl::net

int main(int argc, char** argv) {
  const absl::Status entered = atl::netlink::EnterNamespace();
  if (!entered.ok()) {
    std::fprintf(stderr, "%s\n", std::string(entered.message()).c_str());
    return 1;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
