// SPDX-License-Identifier: Apache-2.0
// The parts of hostnet that need no kernel's help; tests/net has the others.
#include <unistd.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/hostnet/acl.h"
#include "lib/hostnet/check.h"
#include "lib/hostnet/host_state.h"
#include "lib/hostnet/names.h"
#include "lib/hostnet/nat.h"
#include "lib/hostnet/nft.h"
#include "lib/hostnet/steps.h"
#include "lib/hostnet/tag.h"
#include "lib/netlink/address.h"

namespace atl::hostnet {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Names, FifteenCharactersAndNoMore) {
  EXPECT_OK(CheckName("abcdefghijklmno"));
  EXPECT_THAT(CheckName("abcdefghijklmnop"), StatusIs(StatusCode::kInvalidArgument, "16"));
  for (const char* wrong : {"", ".", "..", "-a", "a b", "a/b", "a\nb", "a'b", "a%d", "é"}) {
    EXPECT_FALSE(CheckName(wrong).ok()) << wrong;
  }
  EXPECT_OK(CheckNamePattern("tap%d"));
  EXPECT_OK(CheckNamePattern("%d"));
  EXPECT_FALSE(CheckNamePattern("a%db%d").ok());
  EXPECT_FALSE(CheckNamePattern("a%s").ok());
  EXPECT_FALSE(CheckNamePattern("abcdefghijklmno%d").ok());
}

TEST(Names, MacsDifferAndAreLocal) {
  std::set<netlink::MacAddress> seen;
  for (int vm = 0; vm < 1000; ++vm) {
    for (uint32_t index = 0; index < 8; ++index) {
      const netlink::MacAddress mac = GuestMac("vm" + std::to_string(vm), index);
      EXPECT_EQ(mac[0] & 3, 2);
      EXPECT_NE(mac[0], 0xfe);
      seen.insert(mac);
    }
  }
  EXPECT_EQ(seen.size(), 8000u);
  // The addresses of machines must not change with the program.
  EXPECT_EQ(GuestMac("gtes11", 0), GuestMac("gtes11", 0));
  EXPECT_EQ(TapMac("a")[0], 0xfe);
  EXPECT_EQ(BridgeMac("a")[0] & 0x83, 2);
}

TEST(Names, ShellWordsAreOneWord) {
  EXPECT_EQ(ShellWord("br0"), "br0");
  EXPECT_EQ(ShellWord(""), "''");
  EXPECT_EQ(ShellWord("a'b; c"), "'a'\\''b; c'");
}

TEST(Tags, TextAndBack) {
  Tag tag{.kind = "bridge", .kept = true};
  EXPECT_EQ(tag.Text(), "atoll:bridge,kept");
  tag.address = netlink::Ipv4(0x0a000101, 24);
  tag.address_state = Tag::AddressState::kAdding;
  tag.by = Process::Self();
  const std::optional<Tag> back = Tag::Parse(tag.Text());
  ASSERT_TRUE(back);
  EXPECT_EQ(back->Text(), tag.Text());
  EXPECT_FALSE(back->Dead());
  EXPECT_FALSE(back->HalfChanged());
  for (const char* foreign :
       {"", "atoll", "atoll:", "atoll:tap", "atoll:tap,", "atoll:cow,kept", "atoll:tap,by=1",
        "atoll:tap,by=1.2", "atoll:tap,by=0.2.3", "atoll:tap,by=-1.2.3", "atoll:tap,kept,what=x",
        "atoll:tap,kept,address=10", "my uplink"}) {
    EXPECT_FALSE(Tag::Parse(foreign)) << foreign;
  }
}

TEST(Tags, DeathIsToldFromReuse) {
  Process self = Process::Self();
  EXPECT_TRUE(self.Alive());
  EXPECT_EQ(Process::Parse(self.Text()), self);
  Process earlier = self;
  --earlier.start;
  EXPECT_FALSE(earlier.Alive()) << "the id was another process'";
  earlier.pid_namespace += 1;
  EXPECT_TRUE(earlier.Alive()) << "cannot be seen from here";
  EXPECT_TRUE(Process::Running(getpid()));
  EXPECT_EQ(MakerOfGroup(MakingGroup(1234567)), 1234567);
  EXPECT_FALSE(MakerOfGroup(0));
  EXPECT_FALSE(MakerOfGroup(1234567));
}

TEST(Steps, WhatWasDoneIsUndoneInReverse) {
  std::vector<std::string> log;
  Plan plan;
  auto add = [&](const std::string& name, bool works, bool undoable) {
    plan.Add(
        name,
        [&log, name, works] {
          log.push_back(name);
          return works ? absl::OkStatus() : absl::InternalError(name + " failed");
        },
        [&log, name, undoable] {
          log.push_back("undo " + name);
          return undoable ? absl::OkStatus() : absl::InternalError("stuck");
        });
  };
  add("one", true, true);
  add("two\nlines", true, false);
  add("three", false, true);
  add("four", true, true);
  EXPECT_THAT(plan.Lines(), ElementsAre("one", "two", "lines", "three", "four"));
  EXPECT_THAT(plan.Make(), StatusIs(StatusCode::kInternal,
                                    "three failed; could not be undone: two\nlines: stuck"));
  EXPECT_THAT(log, ElementsAre("one", "two\nlines", "three", "undo two\nlines", "undo one"));
}

TEST(Subnets, FreeOnesOverlapNothing) {
  HostState state;
  netlink::Route everywhere{.destination = netlink::Ipv4(0, 0), .index = 1};
  state.routes.push_back(everywhere);
  ASSERT_OK_AND_ASSIGN(const netlink::IpPrefix first, FreeSubnet(state));
  EXPECT_EQ(first.Text(), "10.77.1.1/24");
  state.addresses.push_back({.index = 1, .prefix = netlink::Ipv4(0x0a4d0105, 25)});
  netlink::Route wide{.destination = netlink::Ipv4(0x0a4d0000, 20), .index = 1};
  state.routes.push_back(wide);
  ASSERT_OK_AND_ASSIGN(const netlink::IpPrefix next, FreeSubnet(state));
  EXPECT_EQ(next.Text(), "10.77.16.1/24");
  state.routes.push_back({.destination = netlink::Ipv4(0x0a000000, 8), .index = 1});
  EXPECT_THAT(FreeSubnet(state), StatusIs(StatusCode::kNotFound, "--subnet"));
}

constexpr char kRuleset[] = R"(# Warning: table ip filter is managed by iptables-nft, do not touch!
table ip filter { # handle 1
	chain FORWARD { # handle 1
		type filter hook forward priority filter; policy drop;
		oifname "br0" counter accept comment "atoll:nat,kept br0" # handle 4
		iifname "br0" ct state new counter log prefix "a # handle 3 x" level warn accept # handle 5
		iifname "vm*" accept # handle 6
		iifname { "a", "b",
			  "c" } ip saddr 10.0.0.0/8 reject with icmp type host-unreachable comment "x y" # handle 7
		counter jump DOCKER-USER # handle 8
	}
}
table inet mine { # handle 2
	comment "chain lies {"
	set s { # handle 3
		type ipv4_addr
		elements = { 1.1.1.1,
			     table ip atoll-br7 { }
	}

	chain y { # handle 9
		type filter hook forward priority filter + 10; policy accept;
		iifname != "br0" drop # handle 10
		drop # handle 11
	}
}
table ip atoll-br0 { # handle 3 progname nft
	flags owner

	chain postrouting { # handle 1
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.0.0.0/24 oifname != "br0" masquerade comment "atoll:nat,kept br0" # handle 4
	}
}
table ip atoll-mine { # handle 5
}
)";

TEST(Rules, AreReadFromNftsText) {
  const Ruleset rules = ParseRuleset(kRuleset);
  std::vector<uint64_t> handles;
  for (const NftRule& rule : rules.rules) handles.push_back(rule.handle);
  EXPECT_THAT(handles, ElementsAre(4, 5, 6, 7, 8, 10, 11, 4));
  EXPECT_EQ(rules.rules[0].out, "br0");
  EXPECT_EQ(rules.rules[0].comment, "atoll:nat,kept br0");
  EXPECT_EQ(rules.rules[0].verdict, "accept");
  EXPECT_FALSE(rules.rules[0].other_matches);
  EXPECT_EQ(rules.rules[1].in, "br0");
  EXPECT_TRUE(rules.rules[1].other_matches) << "ct state";
  EXPECT_EQ(rules.rules[3].verdict, "reject");
  EXPECT_EQ(rules.rules[3].comment, "x y");
  EXPECT_EQ(rules.rules[3].source->Text(), "10.0.0.0/8");
  EXPECT_TRUE(rules.rules[3].other_matches) << "a set";
  EXPECT_EQ(rules.rules[4].target, "DOCKER-USER");
  EXPECT_TRUE(rules.rules[5].other_matches) << "!=";
  ASSERT_EQ(rules.tables.size(), 4u);
  EXPECT_TRUE(rules.FindTable("ip", "atoll-br0")->owned);
  EXPECT_FALSE(rules.FindTable("ip", "filter")->owned);
  EXPECT_EQ(rules.FindTable("ip", "atoll-br7"), nullptr);
  EXPECT_TRUE(rules.FindChain("ip", "filter", "FORWARD")->drops);
  EXPECT_EQ(rules.FindChain("inet", "mine", "y")->hook, "forward");
  const std::vector<FoundNat> nats = FindNats(rules);
  ASSERT_EQ(nats.size(), 1u) << "a table that is only called so is not ours";
  EXPECT_EQ(nats[0].link, "br0");
  EXPECT_EQ(nats[0].subnet->Text(), "10.0.0.0/24");
  // A table with an owner goes with it; the rule in another's table does not.
  EXPECT_THAT(NatRemoval("br0", rules), ElementsAre("delete rule ip filter FORWARD handle 4"));
  EXPECT_THAT(NatRemoval("br1", rules), IsEmpty());
  const std::vector<AcceptPlace> places = DroppingChains(rules, true);
  ASSERT_EQ(places.size(), 1u);
  EXPECT_EQ(DroppingChains(rules, false).size(), 2u) << "mine y drops at its end";
  EXPECT_TRUE(Accepts(rules, places[0], "br0", false));
  EXPECT_FALSE(Accepts(rules, places[0], "br0", true));
  EXPECT_TRUE(Accepts(rules, places[0], "vm3", true));
}

TEST(Rules, OddTextHasFewRules) {
  for (const char* odd : {"", "table", "table ip", "}\n\t}\n\t\tdrop # handle 1",
                          "table ip x {\n\tchain y {\n\t\tdrop", "table ip x {\n\tchain"}) {
    EXPECT_THAT(ParseRuleset(odd).rules, IsEmpty()) << odd;
  }
}

absl::Status Acl(const std::map<std::string, std::string>& files, const std::string& bridge) {
  return CheckBridgeAllowed("main", bridge,
                            [&files](const std::string& path) -> absl::StatusOr<std::string> {
                              const auto it = files.find(path);
                              if (it == files.end()) return absl::NotFoundError(path + " missing");
                              return it->second;
                            });
}

TEST(Acl, MeansWhatItMeansToQemu) {
  EXPECT_OK(Acl({{"main", "allow br0\n"}}, "br0"));
  EXPECT_OK(Acl({{"main", "# all\n\n  allow\tall # every\n"}}, "br7"));
  EXPECT_THAT(Acl({{"main", ""}}, "br0"),
              StatusIs(StatusCode::kPermissionDenied, "no line of main"));
  EXPECT_THAT(Acl({{"main", "allow br0\n"}}, "br1"), StatusIs(StatusCode::kPermissionDenied, ""));
  // A denial counts wherever it stands.
  EXPECT_THAT(Acl({{"main", "deny br0\nallow all\n"}}, "br0"),
              StatusIs(StatusCode::kPermissionDenied, "main:1 denies"));
  EXPECT_THAT(Acl({{"main", "allow br0\ninclude x\n"}, {"x", "deny all"}}, "br0"),
              StatusIs(StatusCode::kPermissionDenied, "x:1 denies"));
  EXPECT_OK(Acl({{"main", "include x\n"}, {"x", "allow br0"}}, "br0"));
  // Nothing is let through by a file that is not understood.
  for (const char* wrong : {"allow br0\nallw br1\n", "allow br0\ndeny\n", "allow br0\ndeny a b\n",
                            "allow br0\ninclude main\n"}) {
    EXPECT_THAT(Acl({{"main", wrong}}, "br0"), StatusIs(StatusCode::kInvalidArgument, "main"))
        << wrong;
  }
  EXPECT_THAT(Acl({{"main", "allow br0\ninclude gone\n"}}, "br0"),
              StatusIs(StatusCode::kNotFound, "main:2"));
}

TEST(Check, MissingModulesAreFaults) {
  Findings findings;
  findings.tun_device = findings.bridge_module = findings.nft_program = findings.nf_tables = false;
  std::vector<std::string> fixes;
  for (const Fault& fault : Check(findings, {}, "net")) fixes.push_back(fault.fix);
  EXPECT_THAT(fixes, ElementsAre("modprobe tun", "modprobe bridge", "apt-get install nftables",
                                 "modprobe nf_tables"));
}

TEST(Check, NamesOfInterfacesAreQuotedInFixes) {
  Findings findings;
  findings.read_switch = [](absl::string_view) { return 0; };
  netlink::Link link{.index = 2, .name = "a;reboot", .kind = "bridge"};
  findings.state.links.push_back(link);
  findings.state.addresses.push_back({.index = 2, .prefix = netlink::Ipv4(0x0a000001, 24)});
  findings.read_switch = [](absl::string_view name) {
    return absl::string_view(name).find("a;reboot.forwarding") != absl::string_view::npos ? 0 : 1;
  };
  const std::vector<Fault> faults = Check(findings, {"a;reboot"}, "net");
  ASSERT_FALSE(faults.empty());
  for (const Fault& fault : faults) {
    const size_t at = fault.fix.find("a;reboot");
    if (at == std::string::npos) continue;
    EXPECT_NE(fault.fix.find('\''), std::string::npos) << fault.fix;
  }
}

}  // namespace
}  // namespace atl::hostnet
