// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/cli/option.h"
#include "lib/cli/suggest.h"

namespace atl::cli {
namespace {

constexpr absl::string_view kUsagePayload = "atoll/usage";

bool Named(const Option& option, absl::string_view name) {
  return option.name == name || (!option.alias.empty() && option.alias == name);
}

std::vector<absl::string_view> Names(std::span<const Option> options) {
  std::vector<absl::string_view> names;
  for (const Option& o : options) {
    names.push_back(o.name);
    if (!o.alias.empty()) names.push_back(o.alias);
  }
  return names;
}

std::string RangeText(const Option& option) {
  auto show = [&](uint64_t v) {
    return option.kind == Kind::kSize ? FormatSize(v) : absl::StrCat(v);
  };
  if (option.max == std::numeric_limits<uint64_t>::max()) {
    return absl::StrCat("the least is ", show(option.min));
  }
  return absl::StrCat("valid is ", show(option.min), " to ", show(option.max));
}

absl::Status ToNumber(absl::string_view what, absl::string_view text, Given* given) {
  const Option& option = *given->option;
  if (option.kind == Kind::kSize) {
    absl::StatusOr<uint64_t> size = ParseSize(text, option.unit);
    if (!size.ok()) return UsageError(absl::StrCat(what, ": ", size.status().message()));
    given->number = *size;
  } else {
    const bool hex = absl::StartsWithIgnoreCase(text, "0x");
    // The library's parsers take blanks and signs too.
    const bool digits = !text.empty() && absl::ascii_isalnum(static_cast<unsigned char>(text[0]));
    if (!digits || absl::ascii_isspace(static_cast<unsigned char>(text.back())) ||
        !(hex ? absl::SimpleHexAtoi(text, &given->number)
              : absl::SimpleAtoi(text, &given->number))) {
      return UsageError(absl::StrCat(what, ": not a number: '", text, "'"));
    }
  }
  if (given->number < option.min || given->number > option.max) {
    return UsageError(absl::StrCat(what, ": ", text, " is out of range: ", RangeText(option)));
  }
  return absl::OkStatus();
}

std::optional<bool> ToBool(absl::string_view text) {
  if (text == "on" || text == "yes" || text == "true" || text == "y") return true;
  if (text == "off" || text == "no" || text == "false" || text == "n") return false;
  return std::nullopt;
}

// Fills `given` from its text; `what` names the option in errors.
absl::Status Convert(absl::string_view what, Given* given) {
  const Option& option = *given->option;
  switch (option.kind) {
    case Kind::kFlag:
    case Kind::kString:
      return absl::OkStatus();
    case Kind::kSize:
    case Kind::kUnsigned:
      return ToNumber(what, given->text, given);
    case Kind::kBool: {
      std::optional<bool> on = ToBool(given->text);
      if (!on) {
        return UsageError(absl::StrCat(what, ": '", given->text, "' is neither on nor off"));
      }
      given->on = *on;
      return absl::OkStatus();
    }
    case Kind::kEnum: {
      std::vector<absl::string_view> valid = absl::StrSplit(option.choices, ' ', absl::SkipEmpty());
      if (std::find(valid.begin(), valid.end(), given->text) != valid.end()) {
        return absl::OkStatus();
      }
      return UsageError(absl::StrCat(what, ": unknown value '", given->text, "'",
                                     DidYouMean(given->text, valid),
                                     " (valid: ", absl::StrJoin(valid, ", "), ")"));
    }
    case Kind::kKeyList: {
      ASSIGN_OR_RETURN(given->keys,
                       ParseKeyList(what, given->text, option.keys, option.implied_key));
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

absl::Status Add(absl::string_view what, Given given, Parsed* to) {
  RETURN_IF_ERROR(Convert(what, &given));
  if (given.option->repeat == Repeat::kError && to->Has(given.option->name)) {
    return UsageError(absl::StrCat(what, " is given twice"));
  }
  to->given.push_back(std::move(given));
  return absl::OkStatus();
}

absl::Status CheckRequired(absl::string_view what, std::span<const Option> options,
                           const Parsed& parsed) {
  for (const Option& o : options) {
    if (o.required && !parsed.Has(o.name)) {
      return UsageError(absl::StrCat(what, " '", o.name, o.arg.empty() ? "" : " ", o.arg,
                                     "' is missing: ", o.help));
    }
  }
  return absl::OkStatus();
}

// One command line on its way from words to a Parsed.
class Parser {
 public:
  Parser(const Command& command, std::span<const std::string> args)
      : command_(command), args_(args) {}

  absl::StatusOr<ParseResult> Run() {
    size_t end = args_.size();
    if (command_.last_is_operand && end > 0 && !IsHelp(args_[end - 1])) {
      --end;
    }
    const std::span<const std::string> all = args_;
    args_ = args_.first(end);
    while (at_ < args_.size() && !result_.help_wanted) {
      const std::string& word = args_[at_++];
      if (word == "--") {
        while (at_ < args_.size()) result_.args.operands.push_back(args_[at_++]);
      } else if (word.size() < 2 || word[0] != '-') {
        result_.args.operands.push_back(word);
      } else if (IsHelp(word)) {
        result_.help_wanted = true;
      } else if (command_.style == Style::kSingleDash || word[1] == '-') {
        RETURN_IF_ERROR(Long(word));
      } else {
        RETURN_IF_ERROR(Cluster(word));
      }
    }
    if (result_.help_wanted) return std::move(result_);
    if (end < all.size()) result_.args.operands.push_back(all[end]);
    RETURN_IF_ERROR(CheckRequired("option", command_.options, result_.args));
    RETURN_IF_ERROR(CheckOperands());
    return std::move(result_);
  }

 private:
  const Option* Find(absl::string_view name) const {
    for (const Option& o : command_.options) {
      if (Named(o, name)) return &o;
    }
    return nullptr;
  }

  bool IsHelp(absl::string_view word) const {
    if (word != "-h" && word != "--help" && word != "-help" && word != "-?") return false;
    if (word == "-help" && command_.style == Style::kGetopt) return false;
    return Find(word) == nullptr;
  }

  absl::Status Unknown(absl::string_view word) const {
    std::vector<absl::string_view> names = Names(command_.options);
    std::string hint = DidYouMean(word, names);
    if (hint.empty()) {
      hint = names.empty() ? " (no options are valid here)"
                           : absl::StrCat(" (valid: ", absl::StrJoin(names, ", "), ")");
    }
    return UsageError(absl::StrCat("unknown option '", word, "'", hint));
  }

  // The one long option that begins with `word`, as getopt_long() allows.
  absl::StatusOr<const Option*> Abbreviated(absl::string_view word) const {
    const Option* found = nullptr;
    absl::string_view found_name;
    for (const Option& o : command_.options) {
      for (absl::string_view name : {o.name, o.alias}) {
        if (word.size() < 3 || !absl::StartsWith(name, word)) continue;
        if (found != nullptr && found != &o) {
          return UsageError(
              absl::StrCat("option '", word, "' is ambiguous: '", found_name, "' or '", name, "'"));
        }
        found = &o;
        found_name = name;
      }
    }
    if (found == nullptr) return Unknown(word);
    return found;
  }

  absl::Status Take(const Option& option, absl::string_view as, std::optional<std::string> value) {
    if (option.kind == Kind::kFlag) {
      if (value) return UsageError(absl::StrCat("option '", as, "' takes no value"));
      return Add(absl::StrCat("option '", as, "'"), Given{.option = &option}, &result_.args);
    }
    if (!value) {
      if (at_ >= args_.size()) {
        return UsageError(absl::StrCat("option '", as, "' needs a value: ", as, " ", option.arg));
      }
      value = args_[at_++];
    }
    return Add(absl::StrCat("option '", as, "'"),
               Given{.option = &option, .text = std::move(*value)}, &result_.args);
  }

  absl::Status Long(absl::string_view word) {
    if (const Option* o = Find(word)) return Take(*o, word, std::nullopt);
    std::optional<std::string> value;
    absl::string_view name = word;
    if (absl::StartsWith(word, "--")) {
      size_t equals = word.find('=');
      if (equals != absl::string_view::npos) {
        name = word.substr(0, equals);
        value = std::string(word.substr(equals + 1));
        if (const Option* o = Find(name)) return Take(*o, name, std::move(value));
      }
    }
    if (command_.style == Style::kSingleDash) {
      if (absl::StartsWith(name, "--")) {
        if (const Option* o = Find(name.substr(1))) return Take(*o, name, std::move(value));
      }
      return Unknown(name);
    }
    ASSIGN_OR_RETURN(const Option* o, Abbreviated(name));
    return Take(*o, absl::StartsWith(o->name, name) ? o->name : o->alias, std::move(value));
  }

  // "-pq", "-S4k", "-S" "4k".
  absl::Status Cluster(absl::string_view word) {
    for (size_t i = 1; i < word.size(); ++i) {
      const std::string name = absl::StrCat("-", word.substr(i, 1));
      const Option* o = Find(name);
      if (o == nullptr) {
        if (name == "-h") {
          result_.help_wanted = true;
          return absl::OkStatus();
        }
        return Unknown(i == 1 ? word : absl::string_view(name));
      }
      if (o->kind == Kind::kFlag) {
        RETURN_IF_ERROR(Take(*o, name, std::nullopt));
        continue;
      }
      std::optional<std::string> value;
      if (i + 1 < word.size()) value = std::string(word.substr(i + 1));
      return Take(*o, name, std::move(value));
    }
    return absl::OkStatus();
  }

  absl::Status CheckOperands() const {
    const size_t n = result_.args.operands.size();
    if (n < command_.min_operands) {
      return UsageError(n == 0 ? absl::StrCat("expecting ", command_.operands)
                               : absl::StrCat("expecting ", command_.operands, ", got only '",
                                              absl::StrJoin(result_.args.operands, " "), "'"));
    }
    if (n > command_.max_operands) {
      return UsageError(absl::StrCat(
          "unexpected argument '", result_.args.operands[command_.max_operands], "'",
          command_.operands.empty() ? "" : absl::StrCat(": expecting ", command_.operands)));
    }
    return absl::OkStatus();
  }

  const Command& command_;
  std::span<const std::string> args_;
  size_t at_ = 0;
  ParseResult result_;
};

}  // namespace

absl::Status UsageError(absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kUsagePayload, absl::Cord());
  return status;
}

bool IsUsageError(const absl::Status& status) {
  return status.GetPayload(kUsagePayload).has_value();
}

const Given* Parsed::Find(absl::string_view name) const {
  for (auto it = given.rbegin(); it != given.rend(); ++it) {
    if (Named(*it->option, name)) return &*it;
  }
  return nullptr;
}

std::optional<std::string> Parsed::Text(absl::string_view name) const {
  const Given* g = Find(name);
  return g ? std::optional<std::string>(g->text) : std::nullopt;
}

std::string Parsed::TextOr(absl::string_view name, absl::string_view otherwise) const {
  const Given* g = Find(name);
  return g ? g->text : std::string(otherwise);
}

std::optional<uint64_t> Parsed::Number(absl::string_view name) const {
  const Given* g = Find(name);
  return g ? std::optional<uint64_t>(g->number) : std::nullopt;
}

uint64_t Parsed::NumberOr(absl::string_view name, uint64_t otherwise) const {
  const Given* g = Find(name);
  return g ? g->number : otherwise;
}

bool Parsed::OnOr(absl::string_view name, bool otherwise) const {
  const Given* g = Find(name);
  return g ? g->on : otherwise;
}

std::vector<const Given*> Parsed::All(absl::string_view name) const {
  std::vector<const Given*> all;
  for (const Given& g : given) {
    if (Named(*g.option, name)) all.push_back(&g);
  }
  return all;
}

std::vector<KeyItem> SplitKeyList(absl::string_view text) {
  std::vector<KeyItem> items;
  if (text.empty()) return items;
  std::string item;
  std::optional<size_t> equals;
  auto end_item = [&] {
    if (equals) {
      items.push_back({item.substr(0, *equals), item.substr(*equals + 1)});
    } else {
      items.push_back({item, std::nullopt});
    }
    item.clear();
    equals.reset();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ',') {
      if (i + 1 < text.size() && text[i + 1] == ',') {
        ++i;
      } else {
        end_item();
        continue;
      }
    } else if (text[i] == '=' && !equals) {
      equals = item.size();
    }
    item.push_back(text[i]);
  }
  end_item();
  return items;
}

std::string EscapeKeyValue(absl::string_view value) {
  std::string out;
  for (char c : value) {
    out.push_back(c);
    if (c == ',') out.push_back(c);
  }
  return out;
}

absl::StatusOr<Parsed> ParseKeyList(absl::string_view what, absl::string_view text,
                                    std::span<const Option> keys, absl::string_view implied_key) {
  Parsed parsed;
  const std::vector<KeyItem> items = SplitKeyList(text);
  for (size_t i = 0; i < items.size(); ++i) {
    absl::string_view name = items[i].key;
    std::optional<std::string> value = items[i].value;
    auto find = [&](absl::string_view key) -> const Option* {
      for (const Option& o : keys) {
        if (Named(o, key)) return &o;
      }
      return nullptr;
    };
    const Option* o = find(name);
    const bool bare_flag = o != nullptr && (o->kind == Kind::kBool || o->kind == Kind::kFlag);
    if (!value && i == 0 && !implied_key.empty() && !bare_flag) {
      value = std::string(name);
      name = implied_key;
      o = find(name);
    }
    if (o == nullptr) {
      if (name.empty()) {
        return UsageError(absl::StrCat(what, ": empty item in '", text, "'"));
      }
      const std::vector<absl::string_view> names = Names(keys);
      return UsageError(absl::StrCat(what, ": unknown key '", name, "'", DidYouMean(name, names),
                                     " (valid: ", absl::StrJoin(names, ", "), ")"));
    }
    const std::string key_what = absl::StrCat(what, ": key '", name, "'");
    if (!value) {
      if (!bare_flag) {
        return UsageError(absl::StrCat(key_what, " needs a value: ", name, "=", o->arg));
      }
      value = "on";
    } else if (o->kind == Kind::kFlag) {
      return UsageError(absl::StrCat(key_what, " takes no value"));
    }
    RETURN_IF_ERROR(Add(key_what, Given{.option = o, .text = std::move(*value)}, &parsed));
  }
  RETURN_IF_ERROR(CheckRequired(absl::StrCat(what, ": key"), keys, parsed));
  return parsed;
}

absl::StatusOr<ParseResult> Parse(const Command& command, std::span<const std::string> args) {
  return Parser(command, args).Run();
}

}  // namespace atl::cli
