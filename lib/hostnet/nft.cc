// SPDX-License-Identifier: Apache-2.0
#include "lib/hostnet/nft.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"

namespace atl::hostnet {
namespace {

constexpr size_t kMostRuleset = size_t{64} << 20;
constexpr int kPatienceMs = 5000;

// The words of a line; what stands in quotes is one, without them.
std::vector<std::string> Words(absl::string_view line) {
  std::vector<std::string> words;
  size_t at = 0;
  while (at < line.size()) {
    if (absl::ascii_isspace(static_cast<unsigned char>(line[at]))) {
      ++at;
      continue;
    }
    const bool quoted = line[at] == '"';
    size_t end = quoted ? line.find('"', at + 1) : line.find_first_of(" \t\n", at);
    if (end == absl::string_view::npos) end = line.size();
    const size_t begin = quoted ? at + 1 : at;
    words.emplace_back(line.substr(begin, end - begin));
    at = quoted ? end + 1 : end;
  }
  return words;
}

// The rest of a line behind its last "# handle ", as a number; what stands before
// it is left in `line`.
uint64_t TakeHandle(absl::string_view* line) {
  constexpr absl::string_view kMark = " # handle ";
  const size_t at = line->rfind(kMark);
  uint64_t handle = 0;
  if (at == absl::string_view::npos) return 0;
  const absl::string_view rest = line->substr(at + kMark.size());
  if (!absl::SimpleAtoi(rest.substr(0, rest.find(' ')), &handle)) return 0;
  *line = line->substr(0, at);
  return handle;
}

// "iifname" and the like with one plain value; false for sets, ranges and "!=".
bool PlainValue(absl::string_view word) {
  constexpr absl::string_view kOperators[] = {"==", "!=", "<", ">", "<=", ">=", "{", "vmap", "map"};
  return !word.empty() && word[0] != '@' && word[0] != '$' &&
         std::find(std::begin(kOperators), std::end(kOperators), word) == std::end(kOperators);
}

NftRule ParseRule(absl::string_view line, const NftChain& chain) {
  NftRule rule = {.family = chain.family, .table = chain.table, .chain = chain.name};
  rule.handle = TakeHandle(&line);
  const std::vector<std::string> words = Words(line);
  auto word = [&words](size_t i) -> absl::string_view {
    return i < words.size() ? absl::string_view(words[i]) : "";
  };
  for (size_t i = 0; i < words.size(); ++i) {
    const absl::string_view w = words[i];
    if ((w == "iifname" || w == "oifname" || w == "iif" || w == "oif") && PlainValue(word(i + 1))) {
      (w[0] == 'i' ? rule.in : rule.out) = words[++i];
    } else if (w == "ip" && word(i + 1) == "saddr" && PlainValue(word(i + 2))) {
      absl::StatusOr<netlink::IpPrefix> source = netlink::ParseIpPrefix(word(i + 2));
      if (source.ok())
        rule.source = *source;
      else
        rule.other_matches = true;
      i += 2;
    } else if (w == "comment") {
      rule.comment = std::string(word(++i));
    } else if (w == "accept" || w == "drop" || w == "return" || w == "masquerade") {
      rule.verdict = words[i];
    } else if (w == "reject") {
      rule.verdict = "reject";
      while (i + 1 < words.size() && words[i + 1] != "comment") ++i;  // with icmp type ...
    } else if (w == "jump" || w == "goto") {
      rule.verdict = words[i];
      rule.target = std::string(word(++i));
    } else if (w == "log") {
      while (word(i + 1) == "prefix" || word(i + 1) == "level" || word(i + 1) == "group" ||
             word(i + 1) == "flags" || word(i + 1) == "snaplen" ||
             word(i + 1) == "queue-threshold") {
        i += 2;
      }
    } else if (w != "counter" && w != "packets" && w != "bytes") {
      rule.other_matches = true;
    }
  }
  return rule;
}

// "type filter hook forward priority filter; policy drop;"
void ParseHook(absl::string_view line, NftChain* chain) {
  std::vector<std::string> words = Words(absl::StrReplaceAll(line, {{";", " ;"}}));
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] == "type") chain->type = words[i + 1];
    if (words[i] == "hook") chain->hook = words[i + 1];
    if (words[i] == "policy") chain->drops = words[i + 1] == "drop";
  }
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

// Blocks are told by how far they are indented: a table ends with a brace at the
// first column, what is in it with one behind a tab. A rule may go on over
// several lines, up to its handle.
Ruleset ParseRuleset(absl::string_view text) {
  Ruleset out;
  std::string rule;
  enum class In { kNothing, kTable, kChain, kOther } in = In::kNothing;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, "table ")) {
      const std::vector<std::string> words = Words(line);
      if (words.size() < 4) continue;
      out.tables.push_back({.family = words[1], .name = words[2]});
      in = In::kTable;
    } else if (in == In::kNothing || line == "}") {
      in = In::kNothing;
    } else if (in == In::kTable) {
      const NftTable table = out.tables.back();
      const std::vector<std::string> words = Words(line);
      if (words.size() >= 3 && words[0] == "chain") {
        out.chains.push_back({.family = table.family, .table = table.name, .name = words[1]});
        in = In::kChain;
        rule.clear();
      } else if (!words.empty() && words[0] == "flags") {
        out.tables.back().owned = absl::StrContains(line, "owner");
      } else if (absl::StrContains(line, "{")) {
        in = In::kOther;
      }
    } else if (line == "\t}") {
      in = In::kTable;
    } else if (in == In::kChain) {
      const absl::string_view stripped = absl::StripAsciiWhitespace(line);
      if (rule.empty() && absl::StartsWith(stripped, "type ") &&
          absl::StrContains(stripped, " hook ")) {
        ParseHook(stripped, &out.chains.back());
        continue;
      }
      absl::StrAppend(&rule, rule.empty() ? "" : " ", stripped);
      if (!absl::StrContains(stripped, " # handle ")) continue;
      out.rules.push_back(ParseRule(rule, out.chains.back()));
      rule.clear();
    }
  }
  return out;
}

absl::StatusOr<Ruleset> ReadRuleset() {
  ASSIGN_OR_RETURN(const host::FilterResult result,
                   host::RunFilter({"nft", "-a", "-s", "list", "ruleset"}, "", kMostRuleset));
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
