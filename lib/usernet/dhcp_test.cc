// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/dhcp.h"

#include <cstring>
#include <map>
#include <string>

#include "gtest/gtest.h"
#include "lib/base/endian.h"

namespace atl::usernet {
namespace {

constexpr uint32_t kNet = 0x0A000200;

// A client's message of `type` (0: BOOTP) with further options.
std::vector<uint8_t> Message(uint8_t type, uint8_t host, const std::vector<uint8_t>& options = {}) {
  std::vector<uint8_t> m(240);
  m[0] = m[1] = 1;
  m[2] = 6;
  StoreBe<uint32_t>(&m[4], 0x12345678);
  m[28] = 0x52;
  m[33] = host;
  StoreBe<uint32_t>(&m[236], 0x63825363);
  if (type != 0) {
    for (const uint8_t b : {uint8_t{53}, uint8_t{1}, type}) m.push_back(b);
  }
  m.insert(m.end(), options.begin(), options.end());
  m.push_back(255);
  return m;
}

std::vector<uint8_t> Wanted(uint32_t address) {
  std::vector<uint8_t> out = {50, 4, 0, 0, 0, 0};
  StoreBe(&out[2], address);
  return out;
}

std::map<int, std::string> OptionsOf(const std::vector<uint8_t>& m) {
  std::map<int, std::string> out;
  for (size_t i = 240; i + 1 < m.size() && m[i] != 255; i += 2 + m[i + 1]) {
    out[m[i]] = std::string(m.begin() + static_cast<ptrdiff_t>(i) + 2,
                            m.begin() + static_cast<ptrdiff_t>(i) + 2 + m[i + 1]);
  }
  return out;
}

Options Completed1(Options o) { return *Completed(o); }

TEST(Dhcp, OffersAndAcknowledgesTheFirstAddress) {
  Options raw;
  raw.hostname = "guest";
  raw.search = {"a.example", "b.example"};
  const Options options = Completed1(raw);
  DhcpServer server(options);
  auto offer = server.Answer(Message(1, 1));
  ASSERT_TRUE(offer);
  EXPECT_EQ(LoadBe<uint32_t>(&offer->message[16]), kNet + 15);
  EXPECT_EQ(offer->to, 0xFFFFFFFFu);
  EXPECT_EQ(LoadBe<uint32_t>(&offer->message[4]), 0x12345678u);
  EXPECT_GE(offer->message.size(), 300u);
  auto o = OptionsOf(offer->message);
  EXPECT_EQ(o[53], "\x02");
  EXPECT_EQ(o[54], std::string("\x0a\x00\x02\x02", 4));
  EXPECT_EQ(o[1], std::string("\xff\xff\xff\x00", 4));
  EXPECT_EQ(o[3], std::string("\x0a\x00\x02\x02", 4));
  EXPECT_EQ(o[6], std::string("\x0a\x00\x02\x03", 4));
  EXPECT_EQ(o[12], "guest");
  EXPECT_EQ(o[119], std::string("\1a\7example\0\1b\7example\0", 22));
  EXPECT_EQ(o.count(26), 0u);
  auto ack = server.Answer(Message(3, 1, Wanted(kNet + 15)));
  ASSERT_TRUE(ack);
  EXPECT_EQ(OptionsOf(ack->message)[53], "\x05");
  ASSERT_TRUE(ack->lease);
  EXPECT_EQ(ack->lease->address, kNet + 15);
}

TEST(Dhcp, EachGuestKeepsItsAddress) {
  const Options options = Completed1({});
  DhcpServer server(options);
  for (uint8_t host = 1; host <= 3; ++host) server.Answer(Message(1, host));
  EXPECT_EQ(LoadBe<uint32_t>(&server.Answer(Message(1, 2))->message[16]), kNet + 16);
  server.Answer(Message(7, 2));  // released
  EXPECT_EQ(LoadBe<uint32_t>(&server.Answer(Message(1, 9))->message[16]), kNet + 16);
}

TEST(Dhcp, RefusesWhatAnotherHas) {
  const Options options = Completed1({});
  DhcpServer server(options);
  server.Answer(Message(1, 1));
  auto nak = server.Answer(Message(3, 2, Wanted(kNet + 15)));
  ASSERT_TRUE(nak);
  EXPECT_EQ(OptionsOf(nak->message)[53], "\x06");
  EXPECT_EQ(OptionsOf(server.Answer(Message(3, 3, Wanted(kNet + 2)))->message)[53], "\x06");
  // One that is free is given, as to a guest that had it before.
  EXPECT_EQ(OptionsOf(server.Answer(Message(3, 4, Wanted(kNet + 77)))->message)[53], "\x05");
}

TEST(Dhcp, TellsWhatToBoot) {
  Options raw;
  raw.tftp = "/srv";
  raw.bootfile = "pxelinux.0";
  raw.mtu = 9000;
  const Options options = Completed1(raw);
  DhcpServer server(options);
  auto offer = server.Answer(Message(1, 1));
  ASSERT_TRUE(offer);
  EXPECT_EQ(LoadBe<uint32_t>(&offer->message[20]), kNet + 2);
  EXPECT_STREQ(reinterpret_cast<const char*>(&offer->message[108]), "pxelinux.0");
  auto o = OptionsOf(offer->message);
  EXPECT_EQ(o[67], "pxelinux.0");
  EXPECT_EQ(o[66], "10.0.2.2");
  EXPECT_EQ(o[26], std::string("\x23\x28", 2));
  EXPECT_TRUE(server.Answer(Message(0, 2)));  // BOOTP
}

TEST(Dhcp, RestrictedGuestsHearOfNoWayOut) {
  Options raw;
  raw.restricted = true;
  const Options options = Completed1(raw);
  DhcpServer server(options);
  auto o = OptionsOf(server.Answer(Message(1, 1))->message);
  EXPECT_EQ(o.count(3) + o.count(6), 0u);
}

TEST(Dhcp, OneGuestOfManyAddressesUsesUpNothing) {
  const Options options = Completed1({});
  DhcpServer server(options);
  for (int i = 0; i < 5000; ++i) {
    std::vector<uint8_t> m = Message(1, 0);
    StoreBe<uint32_t>(&m[29], static_cast<uint32_t>(i) + 1000);
    EXPECT_TRUE(server.Answer(m)) << i;
  }
  EXPECT_LE(server.leases().size(), DhcpServer::kMaxLeases);
}

TEST(Dhcp, IgnoresWhatIsNoRequest) {
  const Options options = Completed1({});
  DhcpServer server(options);
  EXPECT_FALSE(server.Answer({}));
  std::vector<uint8_t> m = Message(1, 1);
  EXPECT_FALSE(server.Answer(std::span(m).first(239)));
  m[0] = 2;
  EXPECT_FALSE(server.Answer(m));
  m = Message(1, 1, {54, 4, 9, 9, 9, 9});  // another server's
  EXPECT_FALSE(server.Answer(m));
  EXPECT_FALSE(server.Answer(Message(99, 1)));
}

}  // namespace
}  // namespace atl::usernet
