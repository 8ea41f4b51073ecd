// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/help.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "lib/base/units.h"

namespace atl::cli {
namespace {

constexpr size_t kTextColumn = 24;

// "-f FMT", "--output=FMT", "-q".
std::string WithValue(absl::string_view name, const Option& option, Style style) {
  if (option.kind == Kind::kFlag) return std::string(name);
  const bool equals = style == Style::kGetopt && absl::StartsWith(name, "--");
  return absl::StrCat(name, equals ? "=" : " ", option.arg);
}

// Breaks `text` at blanks into lines of `width` columns; the first begins at
// column `at`, the others are indented by `indent`.
std::string Wrap(absl::string_view text, size_t at, size_t indent, size_t width) {
  std::string out;
  bool first = true;
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (!first && at + 1 + word.size() > width) {
      absl::StrAppend(&out, "\n", std::string(indent, ' '));
      at = indent;
    } else if (!first) {
      out.push_back(' ');
      ++at;
    }
    absl::StrAppend(&out, word);
    at += word.size();
    first = false;
  }
  return out;
}

std::string Description(const Option& option) {
  std::string text(option.help);
  std::vector<std::string> remarks;
  if (option.kind == Kind::kEnum) {
    remarks.push_back(absl::StrCat(
        "one of ", absl::StrJoin(absl::StrSplit(option.choices, ' ', absl::SkipEmpty()), ", ")));
  }
  if (option.kind == Kind::kBool) remarks.push_back("on or off");
  if (option.kind == Kind::kUnsigned && option.max != std::numeric_limits<uint64_t>::max()) {
    remarks.push_back(absl::StrCat(option.min, " to ", option.max));
  }
  if (option.kind == Kind::kSize && option.max != std::numeric_limits<uint64_t>::max()) {
    remarks.push_back(absl::StrCat(FormatSize(option.min), " to ", FormatSize(option.max)));
  }
  if (!option.default_text.empty())
    remarks.push_back(absl::StrCat("default ", option.default_text));
  if (option.required) remarks.push_back("required");
  if (option.repeat == Repeat::kEach) remarks.push_back("may be repeated");
  if (!remarks.empty()) absl::StrAppend(&text, " (", absl::StrJoin(remarks, "; "), ")");
  return text;
}

void AppendEntry(std::string head, absl::string_view text, size_t width, std::string* out) {
  if (head.size() + 2 > kTextColumn) {
    absl::StrAppend(out, head, "\n", std::string(kTextColumn, ' '));
  } else {
    head.resize(kTextColumn, ' ');
    absl::StrAppend(out, head);
  }
  absl::StrAppend(out, Wrap(text, kTextColumn, kTextColumn, width), "\n");
}

void AppendOptions(const Command& command, size_t width, std::string* out) {
  // Options without a group first, then each group under its heading.
  std::vector<absl::string_view> groups = {""};
  for (const Option& o : command.options) {
    bool known = false;
    for (absl::string_view g : groups) known |= g == o.group;
    if (!known) groups.push_back(o.group);
  }
  for (absl::string_view group : groups) {
    std::string section;
    for (const Option& o : command.options) {
      if (o.group != group) continue;
      std::string head = absl::StrCat("  ", WithValue(o.name, o, command.style));
      if (!o.alias.empty()) absl::StrAppend(&head, ", ", WithValue(o.alias, o, command.style));
      AppendEntry(std::move(head), Description(o), width, &section);
      for (const Option& key : o.keys) {
        std::string key_head = absl::StrCat(
            "      ", key.name, key.kind == Kind::kFlag ? "" : absl::StrCat("=", key.arg));
        AppendEntry(std::move(key_head), Description(key), width, &section);
      }
    }
    if (section.empty()) continue;
    absl::StrAppend(out, "\n", group, group.empty() ? "" : ":\n", section);
  }
}

}  // namespace

std::string Synopsis(absl::string_view program, const Command& command) {
  std::string out(program);
  std::string flags;
  for (const Option& o : command.options) {
    if (o.kind == Kind::kFlag && o.name.size() == 2 && !o.required) flags.push_back(o.name[1]);
  }
  if (!flags.empty() && command.style == Style::kGetopt) absl::StrAppend(&out, " [-", flags, "]");
  for (const Option& o : command.options) {
    if (o.kind == Kind::kFlag && o.name.size() == 2 && !o.required &&
        command.style == Style::kGetopt) {
      continue;
    }
    const std::string option = WithValue(o.name, o, command.style);
    absl::StrAppend(&out, o.required ? absl::StrCat(" ", option) : absl::StrCat(" [", option, "]"),
                    o.repeat == Repeat::kEach ? "..." : "");
  }
  if (!command.operands.empty()) absl::StrAppend(&out, " ", command.operands);
  return out;
}

std::string CommandHelp(absl::string_view program, const Command& command, size_t width) {
  const std::string head = absl::StrCat("usage: ", program, " ");
  std::string synopsis = Synopsis("", command);
  // Keep an option and its value in one piece.
  std::string glued;
  int depth = 0;
  for (char c : synopsis) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    glued.push_back(c == ' ' && depth > 0 ? '\1' : c);
  }
  std::string usage = Wrap(glued, head.size(), std::min<size_t>(head.size(), kTextColumn), width);
  for (char& c : usage) {
    if (c == '\1') c = ' ';
  }
  std::string out = absl::StrCat(head, usage, "\n");
  if (!command.summary.empty()) absl::StrAppend(&out, "\n", command.summary, "\n");
  AppendOptions(command, width, &out);
  if (!command.notes.empty()) absl::StrAppend(&out, "\n", command.notes, "\n");
  return out;
}

}  // namespace atl::cli
