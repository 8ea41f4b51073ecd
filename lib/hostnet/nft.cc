// SPDX-License-Identifier: Apache-2.0
#include "lib/hostnet/nft.h"

#include <jansson.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"

namespace atl::hostnet {
namespace {

constexpr size_t kMostRuleset = size_t{64} << 20;
constexpr int kPatienceMs = 5000;

struct JsonFree {
  void operator()(json_t* json) const { json_decref(json); }
};

std::string Text(const json_t* object, const char* key) {
  const json_t* value = json_object_get(object, key);
  if (!json_is_string(value)) return "";
  return std::string(json_string_value(value), json_string_length(value));
}

// The address or prefix of a match's right side.
std::optional<netlink::IpPrefix> Prefix(const json_t* right) {
  std::string text;
  if (json_is_string(right)) {
    text = json_string_value(right);
  } else if (const json_t* prefix = json_object_get(right, "prefix")) {
    const json_t* length = json_object_get(prefix, "len");
    text = absl::StrCat(Text(prefix, "addr"), "/",
                        json_is_integer(length) ? json_integer_value(length) : -1);
  }
  absl::StatusOr<netlink::IpPrefix> parsed = netlink::ParseIpPrefix(text);
  if (!parsed.ok()) return std::nullopt;
  return *parsed;
}

void TakeMatch(const json_t* match, NftRule* rule) {
  const json_t* left = json_object_get(match, "left");
  const json_t* right = json_object_get(match, "right");
  const std::string meta = Text(json_object_get(left, "meta"), "key");
  const json_t* payload = json_object_get(left, "payload");
  if (Text(match, "op") == "==" && json_is_string(right) && meta == "iifname") {
    rule->in = json_string_value(right);
  } else if (Text(match, "op") == "==" && json_is_string(right) && meta == "oifname") {
    rule->out = json_string_value(right);
  } else if (Text(match, "op") == "==" && Text(payload, "protocol") == "ip" &&
             Text(payload, "field") == "saddr") {
    rule->source = Prefix(right);
    if (!rule->source) rule->other_matches = true;
  } else {
    rule->other_matches = true;
  }
}

NftRule ParseRule(const json_t* json) {
  NftRule rule = {.family = Text(json, "family"),
                  .table = Text(json, "table"),
                  .chain = Text(json, "chain"),
                  .comment = Text(json, "comment")};
  const json_t* handle = json_object_get(json, "handle");
  if (json_is_integer(handle)) rule.handle = static_cast<uint64_t>(json_integer_value(handle));
  size_t i = 0;
  json_t* statement = nullptr;
  json_array_foreach(json_object_get(json, "expr"), i, statement) {
    for (const char* verdict : {"accept", "drop", "reject", "masquerade", "return"}) {
      if (json_object_get(statement, verdict) != nullptr) rule.verdict = verdict;
    }
    for (const char* verdict : {"jump", "goto"}) {
      const json_t* to = json_object_get(statement, verdict);
      if (to == nullptr) continue;
      rule.verdict = verdict;
      rule.target = Text(to, "target");
    }
    if (const json_t* match = json_object_get(statement, "match")) TakeMatch(match, &rule);
    // What this does not know (an extension of iptables, a limit, a set) may be a
    // condition.
    const char* key = json_object_iter_key(json_object_iter(statement));
    constexpr absl::string_view kNoCondition[] = {"match", "counter", "log",        "accept",
                                                  "drop",  "reject",  "masquerade", "jump",
                                                  "goto",  "return"};
    if (key == nullptr || std::find(std::begin(kNoCondition), std::end(kNoCondition), key) ==
                              std::end(kNoCondition)) {
      rule.other_matches = true;
    }
  }
  return rule;
}

// What nft printed, on one line.
std::string OneLine(absl::string_view text) {
  std::vector<absl::string_view> lines;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    // The line with carets under the place means nothing without its column.
    if (line.empty() || line.find_first_not_of("^~ ") == absl::string_view::npos) continue;
    lines.push_back(line);
    if (lines.size() == 4) break;
  }
  return absl::StrJoin(lines, "; ");
}

absl::Status NftError(absl::string_view text) {
  std::string line = OneLine(text);
  if (absl::StrContains(line, "Operation not permitted")) {
    return absl::PermissionDeniedError(absl::StrCat("nft: ", line, " (it takes CAP_NET_ADMIN)"));
  }
  return absl::InternalError(absl::StrCat("nft: ", line));
}

}  // namespace

const NftTable* Ruleset::FindTable(absl::string_view family, absl::string_view name) const {
  for (const NftTable& t : tables) {
    if (t.family == family && t.name == name) return &t;
  }
  return nullptr;
}

const NftChain* Ruleset::FindChain(absl::string_view family, absl::string_view table,
                                   absl::string_view name) const {
  for (const NftChain& c : chains) {
    if (c.family == family && c.table == table && c.name == name) return &c;
  }
  return nullptr;
}

absl::StatusOr<Ruleset> ParseRuleset(absl::string_view json) {
  json_error_t error;
  const std::unique_ptr<json_t, JsonFree> root(json_loadb(json.data(), json.size(), 0, &error));
  if (root == nullptr) {
    return absl::DataLossError(absl::StrCat("nft: its JSON is wrong at byte ", error.position));
  }
  Ruleset out;
  size_t i = 0;
  json_t* item = nullptr;
  json_array_foreach(json_object_get(root.get(), "nftables"), i, item) {
    if (const json_t* table = json_object_get(item, "table")) {
      // The only flags that nft 1.0 shows are "dormant" and, misspelt, the owner.
      const json_t* flags = json_object_get(table, "flags");
      const bool owned = flags != nullptr && Text(table, "flags") != "dormant";
      out.tables.push_back(
          {.family = Text(table, "family"), .name = Text(table, "name"), .owned = owned});
    } else if (const json_t* chain = json_object_get(item, "chain")) {
      out.chains.push_back({.family = Text(chain, "family"),
                            .table = Text(chain, "table"),
                            .name = Text(chain, "name"),
                            .hook = Text(chain, "hook"),
                            .type = Text(chain, "type"),
                            .drops = Text(chain, "policy") == "drop"});
    } else if (const json_t* rule = json_object_get(item, "rule")) {
      out.rules.push_back(ParseRule(rule));
    }
  }
  return out;
}

absl::StatusOr<Ruleset> ReadRuleset() {
  ASSIGN_OR_RETURN(const host::FilterResult result,
                   host::RunFilter({"nft", "-j", "list", "ruleset"}, "", kMostRuleset));
  if (result.exit_code != 0) return NftError(result.errors);
  return ParseRuleset(result.output);
}

absl::Status RunNft(const std::vector<std::string>& commands) {
  ASSIGN_OR_RETURN(
      const host::FilterResult result,
      host::RunFilter({"nft", "-f", "-"}, absl::StrCat(absl::StrJoin(commands, "\n"), "\n")));
  if (result.exit_code != 0) return NftError(result.errors);
  return absl::OkStatus();
}

absl::StatusOr<NftOwner> NftOwner::Start() {
  ASSIGN_OR_RETURN(host::Coprocess program, host::Coprocess::Start({"nft", "-i"}));
  return NftOwner(std::move(program));
}

absl::Status NftOwner::Run(const std::vector<std::string>& commands, absl::string_view table) {
  // A line is a transaction; what is listed behind it shows that it is done.
  RETURN_IF_ERROR(program_.Write(absl::StrCat(absl::StrJoin(commands, "; "), "\nlist tables\n")));
  const std::string wanted = absl::StrCat("table ", table, "\n");
  std::string text;
  for (;;) {
    pollfd ready = {.fd = program_.output_fd(), .events = POLLIN};
    const int n = poll(&ready, 1, kPatienceMs);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) return absl::DeadlineExceededError("nft: no answer within five seconds");
    char buffer[4096];
    const ssize_t got = read(program_.output_fd(), buffer, sizeof buffer);
    if (got <= 0) return NftError(absl::StrCat("it ended: ", text));
    text.append(buffer, static_cast<size_t>(got));
    if (absl::StrContains(text, "Error:")) return NftError(text);
    if (absl::StrContains(text, wanted)) return absl::OkStatus();
  }
}

}  // namespace atl::hostnet
