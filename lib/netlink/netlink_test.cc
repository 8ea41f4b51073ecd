// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/netlink/address.h"
#include "lib/netlink/message.h"
#include "lib/netlink/rtnetlink.h"
#include "lib/netlink/socket.h"
#include "lib/netlink/testing/namespace.h"

namespace atl::netlink {
namespace {

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

TEST(Address, MacsAreParsedStrictly) {
  ASSERT_OK_AND_ASSIGN(const MacAddress mac, ParseMac("FE:00:1a:2B:3c:4d"));
  EXPECT_EQ(FormatMac(mac), "fe:00:1a:2b:3c:4d");
  EXPECT_OK(ParseMac("52-54-00-12-34-56"));
  for (const char* wrong : {"", "52:54:00:12:34", "52:54:00:12:34:5g", "52:54-00:12:34:56",
                            "525400123456", "52:54:00:12:34:56:78", "00:00:00:00:00:00"}) {
    EXPECT_THAT(ParseMac(wrong), StatusIs(kInvalid, "MAC address")) << wrong;
  }
  EXPECT_THAT(ParseMac("53:54:00:12:34:56"), StatusIs(kInvalid, "group"));
}

TEST(Address, PrefixesKnowTheirNetworks) {
  ASSERT_OK_AND_ASSIGN(const IpPrefix a, ParseIpPrefix("10.1.2.3/20"));
  EXPECT_EQ(a.Network().Text(), "10.1.0.0/20");
  EXPECT_EQ(a.V4(), 0x0a010203u);
  EXPECT_EQ(Ipv4(0x0a010203, 20), a);
  ASSERT_OK_AND_ASSIGN(const IpPrefix b, ParseIpPrefix("10.1.15.0/24"));
  ASSERT_OK_AND_ASSIGN(const IpPrefix c, ParseIpPrefix("10.1.16.0/24"));
  EXPECT_TRUE(a.Contains(b));
  EXPECT_FALSE(b.Contains(a));
  EXPECT_TRUE(b.Overlaps(a));
  EXPECT_FALSE(a.Overlaps(c));
  ASSERT_OK_AND_ASSIGN(const IpPrefix six, ParseIpPrefix("fd00:1::5/33"));
  EXPECT_EQ(six.Network().Text(), "fd00:1::/33");
  EXPECT_FALSE(six.Overlaps(a));
  ASSERT_OK_AND_ASSIGN(const IpPrefix all, ParseIpPrefix("0.0.0.0/0"));
  EXPECT_TRUE(all.Contains(a));
  EXPECT_FALSE(all.Contains(six));
  for (const char* wrong :
       {"", "10.0.0", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/-1", "::1/129", "10.0.0.1/ 8", "x/8"}) {
    EXPECT_THAT(ParseIpPrefix(wrong), StatusIs(kInvalid, "")) << wrong;
  }
}

TEST(Messages, WhatIsBuiltIsParsed) {
  MessageBuilder builder(RTM_NEWLINK, NLM_F_REQUEST);
  builder.Header(ifinfomsg{.ifi_index = 7});
  builder.Text(IFLA_IFNAME, "br0").Number<uint32_t>(IFLA_MTU, 9000);
  builder.BeginNested(IFLA_LINKINFO).Text(IFLA_INFO_KIND, "bridge");
  builder.BeginNested(IFLA_INFO_DATA).Number<uint32_t>(IFLA_BR_FORWARD_DELAY, 3).EndNested();
  builder.EndNested().Text(IFLA_IFALIAS, "words");
  const std::vector<uint8_t> bytes = builder.Finish(5);
  ASSERT_OK_AND_ASSIGN(const std::vector<Message> messages, SplitMessages(bytes));
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].sequence, 5u);
  const std::optional<Link> link = ParseLink(messages[0]);
  ASSERT_TRUE(link);
  EXPECT_EQ(link->index, 7);
  EXPECT_EQ(link->name, "br0");
  EXPECT_EQ(link->mtu, 9000u);
  EXPECT_EQ(link->kind, "bridge");
  ASSERT_TRUE(link->bridge);
  EXPECT_EQ(link->bridge->forward_delay, 3u);
  EXPECT_EQ(link->alias, "words");
  // Every shorter datagram is an error or has less, and never more.
  for (size_t n = 0; n < bytes.size(); ++n) {
    const auto cut = SplitMessages(std::span(bytes).first(n));
    EXPECT_EQ(cut.ok(), n == 0) << n;
  }
}

TEST(Messages, WrongLengthsEndTheAttributes) {
  // A u16 length and type, then what it covers; the second claims too much.
  const uint8_t bytes[] = {5, 0, 1, 0, 'a', 0, 0, 0, 200, 0, 2, 0, 'b', 0, 0, 0};
  const Attributes attributes(bytes);
  EXPECT_EQ(attributes.Text(1), "a");
  EXPECT_EQ(attributes.Find(2), std::nullopt);
  EXPECT_EQ(attributes.Number<uint32_t>(1), std::nullopt);
  // A length of less than its own header would never end.
  const uint8_t endless[] = {0, 0, 1, 0, 0, 0, 0, 0};
  EXPECT_EQ(Attributes(endless).Find(2), std::nullopt);
  EXPECT_EQ(AttributesBehind(bytes, 17).Find(1), std::nullopt);
}

TEST(Messages, ErrorsHaveTheKernelsWords) {
  MessageBuilder builder(NLMSG_ERROR, NLM_F_ACK_TLVS | NLM_F_CAPPED);
  builder.Header(nlmsgerr{.error = -EBUSY, .msg = {.nlmsg_len = 1000}});
  builder.Text(NLMSGERR_ATTR_MSG, "The moon\x1b[2J is full");
  const std::vector<uint8_t> bytes = builder.Finish(1);
  ASSERT_OK_AND_ASSIGN(const std::vector<Message> messages, SplitMessages(bytes));
  const absl::Status status = AckStatus(messages[0], "bridge br0");
  EXPECT_EQ(status.message(),
            "bridge br0: Device or resource busy: kernel says: The moon?[2J is full");
  MessageBuilder fine(NLMSG_ERROR, 0);
  fine.Header(nlmsgerr{});
  const std::vector<uint8_t> fine_bytes = fine.Finish(1);
  ASSERT_OK_AND_ASSIGN(const std::vector<Message> ack, SplitMessages(fine_bytes));
  EXPECT_OK(AckStatus(ack[0], "x"));
}

TEST(Kernel, BridgesAreMadeChangedAndDeleted) {
  ASSERT_OK_AND_ASSIGN(Socket socket, Socket::Open());
  const MacAddress mac = {0xfe, 1, 2, 3, 4, 5};
  ASSERT_OK(NewBridge(&socket, "nltest0", mac, 1400, 77));
  ASSERT_OK_AND_ASSIGN(Link link, FindLink(&socket, "nltest0"));
  EXPECT_EQ(link.mac, mac);
  EXPECT_EQ(link.mtu, 1400u);
  EXPECT_EQ(link.group, 77u);
  EXPECT_TRUE(link.up());
  ASSERT_TRUE(link.bridge);
  EXPECT_EQ(link.bridge->forward_delay, 0u);
  EXPECT_FALSE(link.bridge->nf_call_iptables);
  EXPECT_THAT(NewBridge(&socket, "nltest0", mac, 0, 0),
              StatusIs(absl::StatusCode::kAlreadyExists, "making bridge nltest0: File exists"));

  ASSERT_OK(ChangeLink(&socket, "nltest0", {.up = false, .alias = "a tag", .group = 0}));
  ASSERT_OK_AND_ASSIGN(link, FindLink(&socket, "nltest0"));
  EXPECT_FALSE(link.up());
  EXPECT_EQ(link.alias, "a tag");
  EXPECT_EQ(link.group, 0u);
  ASSERT_OK(ChangeLink(&socket, "nltest0", {.up = true, .alias = ""}));
  ASSERT_OK_AND_ASSIGN(link, FindLink(&socket, "nltest0"));
  EXPECT_EQ(link.alias, "");

  ASSERT_OK_AND_ASSIGN(const IpPrefix four, ParseIpPrefix("10.9.8.1/24"));
  ASSERT_OK_AND_ASSIGN(const IpPrefix six, ParseIpPrefix("fd12::1/64"));
  ASSERT_OK(AddAddress(&socket, "nltest0", four, 0x61));
  ASSERT_OK(AddAddress(&socket, "nltest0", six, 0x61));
  ASSERT_OK_AND_ASSIGN(const std::vector<Address> addresses, ListAddresses(&socket));
  std::vector<std::string> texts;
  for (const Address& a : addresses) {
    if (a.index == link.index && a.protocol == 0x61) texts.push_back(a.prefix.Text());
  }
  EXPECT_THAT(texts, testing::UnorderedElementsAre("10.9.8.1/24", "fd12::1/64"));
  ASSERT_OK_AND_ASSIGN(const std::vector<Route> routes, ListRoutes(&socket, AF_INET));
  ASSERT_EQ(routes.size(), 1u);
  EXPECT_EQ(routes[0].destination.Text(), "10.9.8.0/24");
  EXPECT_EQ(routes[0].index, link.index);
  ASSERT_OK(DeleteAddress(&socket, "nltest0", four));
  EXPECT_THAT(std::string(DeleteAddress(&socket, "nltest0", four).message()),
              testing::HasSubstr("Cannot assign requested address"));
  ASSERT_OK(DeleteLink(&socket, "nltest0"));
  EXPECT_THAT(FindLink(&socket, "nltest0"), StatusIs(absl::StatusCode::kNotFound, "nltest0"));
}

TEST(Kernel, TheMtuOfABridgeStaysWhenPortsCome) {
  ASSERT_OK_AND_ASSIGN(Socket socket, Socket::Open());
  for (const uint32_t mtu : {1400u, 1500u}) {
    ASSERT_OK(NewBridge(&socket, "nltest1", {0xfe, 1, 2, 3, 4, 5}, mtu, 0));
    ASSERT_OK_AND_ASSIGN(const Link bridge, FindLink(&socket, "nltest1"));
    EXPECT_EQ(bridge.mtu, mtu);
    MessageBuilder request(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE);
    request.Header(ifinfomsg{}).Text(IFLA_IFNAME, "nlveth0").Number<uint32_t>(IFLA_MTU, 9000);
    request.BeginNested(IFLA_LINKINFO).Text(IFLA_INFO_KIND, "veth").EndNested();
    ASSERT_OK(socket.Request(request, "nlveth0"));
    ASSERT_OK(ChangeLink(&socket, "nlveth0", {.master = bridge.index}));
    ASSERT_OK_AND_ASSIGN(const Link after, FindLink(&socket, "nltest1"));
    EXPECT_EQ(after.mtu, mtu);
    ASSERT_OK(DeleteLink(&socket, "nlveth0"));
    ASSERT_OK_AND_ASSIGN(const Link empty, FindLink(&socket, "nltest1"));
    EXPECT_EQ(empty.mtu, mtu);
    ASSERT_OK(DeleteLink(&socket, "nltest1"));
  }
}

TEST(Kernel, RefusalsHaveItsWords) {
  ASSERT_OK_AND_ASSIGN(Socket socket, Socket::Open());
  MessageBuilder request(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE);
  request.Header(ifinfomsg{}).Text(IFLA_IFNAME, "x");
  request.BeginNested(IFLA_LINKINFO).Text(IFLA_INFO_KIND, "no-such-kind").EndNested();
  EXPECT_THAT(socket.Request(request, "x"),
              StatusIs(absl::StatusCode::kUnimplemented, "kernel says: Unknown device type"));
}

TEST(Kernel, LongListsComeWhole) {
  ASSERT_OK_AND_ASSIGN(Socket socket, Socket::Open());
  constexpr int kMany = 40;
  for (int i = 0; i < kMany; ++i) {
    ASSERT_OK(NewBridge(&socket, "many" + std::to_string(i),
                        {0xfe, 0, 0, 0, 1, static_cast<uint8_t>(i)}, 0, 0));
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<Link> links, ListLinks(&socket));
  int found = 0;
  for (const Link& link : links) found += link.name.rfind("many", 0) == 0;
  EXPECT_EQ(found, kMany);
  for (int i = 0; i < kMany; ++i) ASSERT_OK(DeleteLink(&socket, "many" + std::to_string(i)));
}

}  // namespace
}  // namespace atl::netlink

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const absl::Status entered = atl::netlink::EnterNamespace();
  if (!entered.ok()) {
    std::fprintf(stderr, "%s\n", std::string(entered.message()).c_str());
    return 1;
  }
  return RUN_ALL_TESTS();
}
