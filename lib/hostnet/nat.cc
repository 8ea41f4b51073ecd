// SPDX-License-Identifier: Apache-2.0
#include "lib/hostnet/nat.h"

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"
#include "lib/host/filter.h"
#include "lib/hostnet/host_state.h"
#include "lib/hostnet/names.h"

namespace atl::hostnet {
namespace {

constexpr absl::string_view kTablePrefix = "atoll-";
constexpr absl::string_view kTableFamily = "ip";

// A rule's comment: the tag, and the interface it is for. "atoll:nat,kept br0".
std::string Comment(const Nat& nat) { return absl::StrCat(nat.tag.Text(), " ", nat.link); }

struct ParsedComment {
  Tag tag;
  std::string link;
};
std::optional<ParsedComment> ParseComment(absl::string_view comment) {
  const size_t space = comment.find(' ');
  if (space == absl::string_view::npos) return std::nullopt;
  std::optional<Tag> tag = Tag::Parse(comment.substr(0, space));
  const absl::string_view link = comment.substr(space + 1);
  if (!tag || tag->kind != "nat" || !CheckName(link).ok()) return std::nullopt;
  return ParsedComment{*tag, std::string(link)};
}

// The parts of the table, each a command of its own.
std::vector<std::string> TableCommands(const Nat& nat, bool owned) {
  const std::string table = absl::StrCat(kTableFamily, " ", NatTable(nat.link));
  const std::string subnet = nat.subnet.Network().Text();
  const std::string tail = absl::StrCat(" comment \"", Comment(nat), "\"");
  const std::string name = absl::StrCat("\"", nat.link, "\"");
  return {
      absl::StrCat("add table ", table, owned ? " { flags owner; }" : ""),
      absl::StrCat("add chain ", table, " postrouting { type nat hook postrouting priority 100; }"),
      absl::StrCat("add chain ", table, " forward { type filter hook forward priority 0; }"),
      absl::StrCat("add rule ", table, " postrouting ip saddr ", subnet, " oifname != ", name,
                   " masquerade", tail),
      absl::StrCat("add rule ", table, " forward oifname ", name, " ct status dnat accept", tail),
      absl::StrCat("add rule ", table, " forward oifname ", name, " iifname != ", name,
                   " ct state new drop", tail),
  };
}

// The same table, as one transaction of `nft -i`, which takes a line at a time.
std::string OwnedTableLine(const Nat& nat) { return absl::StrJoin(TableCommands(nat, true), "; "); }

bool TableIsThere(const Nat& nat, const Ruleset& rules) {
  const std::string comment = Comment(nat);
  size_t right = 0;
  size_t all = 0;
  for (const NftRule& rule : rules.rules) {
    if (rule.family != kTableFamily || rule.table != NatTable(nat.link)) continue;
    ++all;
    if (rule.comment != comment) continue;
    if (rule.chain == "postrouting" && rule.verdict == "masquerade" && rule.source &&
        rule.source->Network() == nat.subnet.Network()) {
      ++right;
    } else if (rule.chain == "forward" && rule.out == nat.link &&
               (rule.verdict == "accept" || rule.verdict == "drop")) {
      ++right;
    }
  }
  return right == 3 && all == 3;
}

// A line of the shell for each.
std::string NftText(const std::vector<std::string>& commands) {
  std::vector<std::string> lines;
  for (const std::string& c : commands) lines.push_back(absl::StrCat("nft ", ShellWord(c)));
  return absl::StrJoin(lines, "\n");
}

absl::Status Firewalld(const std::vector<std::string>& words) {
  ASSIGN_OR_RETURN(const host::FilterResult result, host::RunFilter(words));
  if (result.exit_code == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(absl::StrJoin(words, " "), ": ", result.errors));
}

void PlanSwitches(const std::string& link, Plan* plan) {
  for (const std::string& name :
       {std::string("net.ipv4.ip_forward"), InterfaceSwitch("ipv4", link, "forwarding")}) {
    const std::optional<int> now = ReadSwitch(name);
    if (now.value_or(1) != 0) continue;
    // Setting the first sets the second of every interface.
    if (!plan->empty()) continue;
    plan->Add(
        absl::StrCat("sysctl -w ", name, "=1"), [name] { return WriteSwitch(name, 1); },
        [name] { return WriteSwitch(name, 0); });
  }
}

}  // namespace

std::string NatTable(absl::string_view link) { return absl::StrCat(kTablePrefix, link); }

bool FirewalldRuns(const Ruleset& rules) {
  return rules.FindTable("inet", "firewalld") != nullptr ||
         rules.FindTable("ip", "firewalld") != nullptr;
}

std::string FirewalldChain(const Ruleset& rules, absl::string_view link) {
  for (const NftRule& rule : rules.rules) {
    if (rule.table == "firewalld" && rule.in == link && !rule.target.empty() &&
        (absl::StartsWith(rule.target, "filter_FWD") ||
         absl::StartsWith(rule.target, "filter_FORWARD") ||
         absl::StartsWith(rule.target, "filter_IN_"))) {
      return rule.target;
    }
  }
  return "";
}

namespace {

bool DropsAtItsEnd(const Ruleset& rules, const NftChain& chain) {
  const auto last = std::find_if(rules.rules.rbegin(), rules.rules.rend(), [&](const NftRule& r) {
    return r.family == chain.family && r.table == chain.table && r.chain == chain.name;
  });
  return last != rules.rules.rend() && (last->verdict == "drop" || last->verdict == "reject") &&
         last->in.empty() && last->out.empty() && !last->source && !last->other_matches;
}

}  // namespace

std::vector<AcceptPlace> DroppingChains(const Ruleset& rules, bool iptables_only) {
  std::vector<AcceptPlace> out;
  for (const NftChain& chain : rules.chains) {
    if (chain.hook != "forward" || chain.type != "filter") continue;
    if (!chain.drops && !DropsAtItsEnd(rules, chain)) continue;
    if (chain.family != "ip" && chain.family != "inet") continue;
    const bool iptables =
        chain.family == "ip" && chain.table == "filter" && chain.name == "FORWARD";
    if (iptables_only && !iptables) continue;
    const bool docker = iptables && rules.FindChain("ip", "filter", "DOCKER-USER") != nullptr;
    out.push_back({chain.family, chain.table, docker ? "DOCKER-USER" : chain.name});
  }
  return out;
}

namespace {

bool NameMatches(absl::string_view asked, absl::string_view link) {
  return absl::ConsumeSuffix(&asked, "*") ? absl::StartsWith(link, asked) : asked == link;
}

}  // namespace

bool Accepts(const Ruleset& rules, const AcceptPlace& place, absl::string_view link, bool in) {
  return std::any_of(rules.rules.begin(), rules.rules.end(), [&](const NftRule& rule) {
    const std::string& asked = in ? rule.in : rule.out;
    const std::string& other = in ? rule.out : rule.in;
    return rule.family == place.family && rule.table == place.table && rule.chain == place.chain &&
           rule.verdict == "accept" && !rule.other_matches && !rule.source && other.empty() &&
           (asked.empty() || NameMatches(asked, link));
  });
}

std::string AcceptCommand(const AcceptPlace& place, absl::string_view link, bool in,
                          absl::string_view comment) {
  // iptables refuses to work on a table with rules that it could not have made,
  // such as one with "ct state": these it shows as its own.
  return absl::StrCat("insert rule ", place.family, " ", place.table, " ", place.chain, " ",
                      in ? "iifname" : "oifname", " \"", link, "\" counter accept",
                      comment.empty() ? "" : absl::StrCat(" comment \"", comment, "\""));
}

std::vector<std::string> NatRemoval(absl::string_view link, const Ruleset& rules) {
  std::vector<std::string> commands;
  const std::string name = NatTable(link);
  if (const NftTable* table = rules.FindTable(kTableFamily, name)) {
    // A table with an owner goes with it, and can go in no other way.
    if (!table->owned) commands.push_back(absl::StrCat("delete table ", kTableFamily, " ", name));
  }
  for (const NftRule& rule : rules.rules) {
    if (rule.family == kTableFamily && rule.table == name) continue;
    const std::optional<ParsedComment> comment = ParseComment(rule.comment);
    if (!comment || comment->link != link) continue;
    commands.push_back(absl::StrCat("delete rule ", rule.family, " ", rule.table, " ", rule.chain,
                                    " handle ", rule.handle));
  }
  return commands;
}

Plan PlanNatRemoval(const std::string& link, const Ruleset& rules) {
  Plan plan;
  const std::vector<std::string> commands = NatRemoval(link, rules);
  if (!commands.empty()) {
    plan.Add(NftText(commands), [commands] { return RunNft(commands); });
  }
  const std::vector<FoundNat> nats = FindNats(rules);
  const bool ours = std::any_of(nats.begin(), nats.end(),
                                [&link](const FoundNat& nat) { return nat.link == link; });
  if (ours && FirewalldRuns(rules) && absl::StrContains(FirewalldChain(rules, link), "trusted")) {
    const std::vector<std::string> words = {"firewall-cmd", "--zone=trusted",
                                            absl::StrCat("--remove-interface=", link)};
    plan.Add(absl::StrJoin(words, " "), [words] { return Firewalld(words); });
  }
  return plan;
}

Plan PlanNat(const Nat& nat, const Ruleset& rules, NftOwner* owner) {
  Plan plan;
  PlanSwitches(nat.link, &plan);

  if (FirewalldRuns(rules) && !absl::StrContains(FirewalldChain(rules, nat.link), "trusted")) {
    const std::vector<std::string> words = {"firewall-cmd", "--zone=trusted",
                                            absl::StrCat("--change-interface=", nat.link)};
    const std::vector<std::string> back = {"firewall-cmd", "--zone=trusted",
                                           absl::StrCat("--remove-interface=", nat.link)};
    plan.Add(
        absl::StrJoin(words, " "), [words] { return Firewalld(words); },
        [back] { return Firewalld(back); });
  }

  const std::string comment = Comment(nat);
  std::vector<std::string> accepting;
  bool same = TableIsThere(nat, rules);
  for (const AcceptPlace& place : DroppingChains(rules, /*iptables_only=*/true)) {
    for (const bool in : {true, false}) {
      const bool there =
          std::any_of(rules.rules.begin(), rules.rules.end(), [&](const NftRule& rule) {
            return rule.family == place.family && rule.table == place.table &&
                   rule.chain == place.chain && rule.comment == comment &&
                   (in ? rule.in : rule.out) == nat.link;
          });
      if (!there) same = false;
      accepting.push_back(AcceptCommand(place, nat.link, in, comment));
    }
  }
  const NftChain* input = rules.FindChain("ip", "filter", "INPUT");
  if (nat.serves && input != nullptr && input->hook == "input" && input->drops) {
    for (const char* const what : {"tcp dport 53", "udp dport 53", "udp dport 67"}) {
      accepting.push_back(absl::StrCat("insert rule ip filter INPUT iifname \"", nat.link, "\" ",
                                       what, " counter accept comment \"", comment, "\""));
    }
  }
  if (same) return plan;

  std::vector<std::string> commands = NatRemoval(nat.link, rules);
  auto undo = [link = nat.link] {
    ASSIGN_OR_RETURN(const Ruleset now, ReadRuleset());
    const std::vector<std::string> removal = NatRemoval(link, now);
    return removal.empty() ? absl::OkStatus() : RunNft(removal);
  };
  if (owner == nullptr) {
    for (std::string& line : TableCommands(nat, false)) commands.push_back(std::move(line));
    for (std::string& line : accepting) commands.push_back(std::move(line));
    plan.Add(
        NftText(commands), [commands] { return RunNft(commands); }, undo);
    return plan;
  }
  for (std::string& line : accepting) commands.push_back(std::move(line));
  if (!commands.empty()) {
    plan.Add(
        NftText(commands), [commands] { return RunNft(commands); }, undo);
  }
  plan.Add(absl::StrCat("echo ", ShellWord(OwnedTableLine(nat)), " | nft -i"), [nat, owner] {
    return owner->Run({OwnedTableLine(nat)}, absl::StrCat(kTableFamily, " ", NatTable(nat.link)));
  });
  return plan;
}

std::vector<FoundNat> FindNats(const Ruleset& rules) {
  std::vector<FoundNat> found;
  auto entry = [&found](absl::string_view link) -> FoundNat* {
    for (FoundNat& f : found) {
      if (f.link == link) return &f;
    }
    return &found.emplace_back(FoundNat{.link = std::string(link)});
  };
  for (const NftTable& table : rules.tables) {
    absl::string_view link = table.name;
    if (table.family != kTableFamily || !absl::ConsumePrefix(&link, kTablePrefix) ||
        !CheckName(link).ok()) {
      continue;
    }
    // Only with a tagged rule in it is it ours, whatever it is called.
    const bool ours =
        std::any_of(rules.rules.begin(), rules.rules.end(), [&table](const NftRule& rule) {
          return rule.family == table.family && rule.table == table.name &&
                 ParseComment(rule.comment);
        });
    if (!ours) continue;
    FoundNat* nat = entry(link);
    nat->table = true;
    nat->owned = table.owned;
  }
  for (const NftRule& rule : rules.rules) {
    const std::optional<ParsedComment> comment = ParseComment(rule.comment);
    if (!comment) continue;
    FoundNat* nat = entry(comment->link);
    nat->tag = comment->tag;
    if (rule.verdict == "masquerade" && rule.source) nat->subnet = rule.source->Network();
  }
  return found;
}

}  // namespace atl::hostnet
