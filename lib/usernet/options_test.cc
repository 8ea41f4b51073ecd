// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/options.h"

#include <string>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"

namespace atl::usernet {
namespace {

TEST(Forward, IsReadAsQemuWritesIt) {
  const struct {
    const char* text;
    const char* means;
  } kCases[] = {
      {"tcp:127.0.0.1:2222-10.0.2.15:22", "tcp:127.0.0.1:2222-10.0.2.15:22"},
      {"tcp::2222-:22", "tcp:0.0.0.0:2222-0.0.0.0:22"},
      {":2222-:22", "tcp:0.0.0.0:2222-0.0.0.0:22"},
      {"udp:localhost:69-10.0.2.20:69", "udp:127.0.0.1:69-10.0.2.20:69"},
      {"tcp:[::1]:80-[fec0::15]:8080", "tcp:[::1]:80-[fec0::15]:8080"},
  };
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const Forward f, ParseForward(c.text));
    EXPECT_EQ(f.ToString(), c.means) << c.text;
  }
  for (const char* bad : {"", "-", "tcp:", "tcp::22", "tcp::0-:22", "tcp::70000-:22", "tcp::x-:22",
                          "tcp:nohost:1-:2", "sctp::1-:2", "tcp::1-2", "tcp:[::1:1-:2"}) {
    EXPECT_FALSE(ParseForward(bad).ok()) << bad;
  }
}

TEST(Forward, IsNamedByItsHostSide) {
  ASSERT_OK_AND_ASSIGN(const Forward f, ParseForward("udp:127.0.0.1:5000-:22"));
  ASSERT_OK_AND_ASSIGN(const Forward same, ParseForwardHost("udp:127.0.0.1:5000"));
  EXPECT_EQ(f.host, same.host);
  EXPECT_EQ(f.udp, same.udp);
  ASSERT_OK_AND_ASSIGN(const Forward bare, ParseForwardHost("2222"));
  EXPECT_EQ(bare.host.port, 2222);
  EXPECT_FALSE(ParseForwardHost("tcp:1.2.3.4").ok());
}

TEST(Options, NetworksInEveryForm) {
  const struct {
    const char* text;
    uint32_t network;
    unsigned prefix;
  } kCases[] = {
      {"192.168.7.0/24", 0xC0A80700, 24},       {"192.168.7.9", 0xC0A80700, 24},
      {"192.168.7/24", 0xC0A80700, 24},         {"10/8", 0x0A000000, 8},
      {"10.1.2.3/255.255.0.0", 0x0A010000, 16},
  };
  for (const auto& c : kCases) {
    Options o;
    ASSERT_OK(ParseNetwork(c.text, &o));
    EXPECT_EQ(o.network, c.network) << c.text;
    EXPECT_EQ(o.prefix, c.prefix) << c.text;
  }
  Options o;
  for (const char* bad : {"", "x", "1.2.3.4/30", "1.2.3.4/7", "1.2.3.4/255.0.255.0", "1.2.3.4/24/1",
                          "fd00::/48", "1.2.3.4.5/8", "/24"}) {
    EXPECT_FALSE(ParseNetwork(bad, &o).ok()) << bad;
  }
  ASSERT_OK(ParseNetwork("fd00:1:2:3::7/64", &o));
  EXPECT_EQ(o.prefix6.ToString(), "fd00:1:2:3::");
}

TEST(Options, AddressesFollowFromTheNetwork) {
  Options o;
  ASSERT_OK(ParseNetwork("192.168.7.0/24", &o));
  ASSERT_OK_AND_ASSIGN(const Options done, Completed(o));
  EXPECT_EQ(IpAddress::V4(done.gateway).ToString(), "192.168.7.2");
  EXPECT_EQ(IpAddress::V4(done.nameserver).ToString(), "192.168.7.3");
  EXPECT_EQ(IpAddress::V4(done.first_lease).ToString(), "192.168.7.15");
  Options tiny;
  ASSERT_OK(ParseNetwork("192.168.7.0/29", &tiny));
  ASSERT_OK_AND_ASSIGN(tiny, Completed(tiny));
  EXPECT_EQ(IpAddress::V4(tiny.first_lease).ToString(), "192.168.7.4");
}

TEST(Options, WhatDoesNotFitIsRefused) {
  const auto refused = [](void (*change)(Options&)) {
    Options o;
    change(o);
    const auto done = Completed(o);
    return done.ok() ? std::string() : std::string(done.status().message());
  };
  EXPECT_EQ(refused([](Options& o) { o.gateway = 0x0B000001; }),
            "host: 11.0.0.1 is no guest's address of 10.0.2.0/24");
  EXPECT_EQ(refused([](Options& o) { o.gateway = o.nameserver = 0x0A000204; }),
            "dns: is the address of host");
  EXPECT_NE(refused([](Options& o) { o.first_lease = 0x0A0002FF; }), "");
  EXPECT_NE(refused([](Options& o) { o.ipv4 = o.ipv6 = false; }), "");
  EXPECT_NE(refused([](Options& o) { o.mtu = 70000; }), "");
  EXPECT_NE(refused([](Options& o) { o.bootfile = std::string(128, 'x'); }), "");
  EXPECT_NE(refused([](Options& o) { o.hostname = "two words"; }), "");
  EXPECT_EQ(refused([](Options&) {}), "");
}

}  // namespace
}  // namespace atl::usernet
