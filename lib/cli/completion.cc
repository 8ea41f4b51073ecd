// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/completion.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace atl::cli {
namespace {

std::string Words(const Option& o) {
  std::string words(o.choices);
  if (o.more_choices != nullptr)
    absl::StrAppend(&words, words.empty() ? "" : " ", o.more_choices());
  if (o.kind == Kind::kBool) words = "on off";
  return words;
}

// Inside single quotes of the shell.
std::string Quote(absl::string_view text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

std::string Names(const Command& command) {
  std::vector<std::string> names;
  for (const Option& o : command.options) {
    for (absl::string_view name : {o.name, o.alias}) {
      if (name.empty()) continue;
      const bool equals =
          command.style == Style::kGetopt && o.kind != Kind::kFlag && absl::StartsWith(name, "--");
      names.push_back(absl::StrCat(name, equals ? "=" : ""));
    }
  }
  return absl::StrJoin(names, " ");
}

// The lines of `case $cmd:$option in` for the values of one command's options.
std::string ValueCases(const Command& command) {
  std::string out;
  for (const Option& o : command.options) {
    if (o.kind == Kind::kFlag) continue;
    std::string pattern = absl::StrCat(Quote(absl::StrCat(command.name, ":", o.name)));
    if (!o.alias.empty()) {
      absl::StrAppend(&pattern, "|", Quote(absl::StrCat(command.name, ":", o.alias)));
    }
    const std::string words = Words(o);
    if (!o.keys.empty()) {
      std::vector<std::string> keys;
      for (const Option& key : o.keys) {
        const std::string values = Words(key);
        if (values.empty()) keys.push_back(absl::StrCat(key.name, "="));
        for (absl::string_view v : absl::StrSplit(values, ' ', absl::SkipEmpty())) {
          keys.push_back(absl::StrCat(key.name, "=", v));
        }
      }
      absl::StrAppend(&out, "    ", pattern, ") keys=", Quote(absl::StrJoin(keys, " ")), " ;;\n");
    } else if (!words.empty()) {
      absl::StrAppend(&out, "    ", pattern, ") words=", Quote(words), " ;;\n");
    } else {
      absl::StrAppend(&out, "    ", pattern,
                      absl::StrContains(o.arg, "FILE") ? ") files=1 ;;\n" : ") none=1 ;;\n");
    }
  }
  return out;
}

constexpr absl::string_view kHead = R"(# bash completion, generated from the option tables of atoll
_atoll_@P() {
  local cur prev word option cmd= i words= keys= files= none= options=
  # COMP_WORDS is split at '=' and ':': look at the line itself instead.
  local -a line
  read -r -a line <<<"${COMP_LINE:0:COMP_POINT}"
  [[ ${COMP_LINE:COMP_POINT-1:1} == [[:space:]] ]] && line+=("")
  cur=${line[-1]}
  prev=${line[-2]-}
@COMMAND  option=$prev
  word=$cur
  if [[ $cur == --*=* ]]; then
    option=${cur%%=*}
    word=${cur#*=}
  fi
  case $cmd:$option in
@VALUES  esac
  case $cmd in
@OPTIONS  esac
  COMPREPLY=()
  [[ -n $none ]] && return
  local -a found=()
  if [[ -n $keys ]]; then
    local before=
    [[ $word == *,* ]] && before=${word%,*},
    mapfile -t found < <(compgen -W "$keys" -P "$before" -- "${word##*,}")
    compopt -o nospace
  elif [[ -n $words ]]; then
    mapfile -t found < <(compgen -W "$words" -- "$word")
  elif [[ -z $files && $cur == -* && $cur != --*=* ]]; then
    mapfile -t found < <(compgen -W "$options --help" -- "$cur")
    [[ ${#found[@]} -eq 1 && ${found[0]} == *= ]] && compopt -o nospace
  else
    mapfile -t found < <(compgen -f -- "$word")
    compopt -o filenames
  fi
  # What readline replaces begins behind the last '=' or ':'.
  local typed=$word kept
  kept=${typed%"${typed##*[=:]}"}
  for i in "${found[@]}"; do COMPREPLY+=("${i#"$kept"}"); done
}
)";

constexpr absl::string_view kPickCommand = R"(  for word in "${line[@]:1:${#line[@]}-2}"; do
    [[ $word == -* ]] || { cmd=$word; break; }
  done
  if [[ -z $cmd && $cur != -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W @NAMES -- "$cur")
    return
  fi
)";

std::string Script(absl::string_view program, absl::string_view pick, absl::string_view values,
                   absl::string_view options) {
  std::string out = absl::StrReplaceAll(
      kHead, {{"@P", program}, {"@COMMAND", pick}, {"@VALUES", values}, {"@OPTIONS", options}});
  absl::StrAppend(&out, "complete -F _atoll_", program, " ", program, " atoll-", program, "\n");
  return out;
}

}  // namespace

std::string BashCompletion(absl::string_view program, std::span<const Command* const> commands) {
  std::vector<absl::string_view> names;
  std::string values;
  std::string options;
  for (const Command* c : commands) {
    names.push_back(c->name);
    absl::StrAppend(&values, ValueCases(*c));
    absl::StrAppend(&options, "    ", c->name, ") options=", Quote(Names(*c)), " ;;\n");
  }
  const std::string pick =
      absl::StrReplaceAll(kPickCommand, {{"@NAMES", Quote(absl::StrJoin(names, " "))}});
  return Script(program, pick, values, options);
}

std::string BashCompletion(absl::string_view program, const Command& command) {
  Command nameless = command;
  nameless.name = "";
  return Script(program, "", ValueCases(nameless),
                absl::StrCat("    *) options=", Quote(Names(command)), " ;;\n"));
}

}  // namespace atl::cli
