// SPDX-License-Identifier: Apache-2.0
#include "lib/block/formats.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/block/format.h"

namespace atl::block {
namespace {

// The whole list. Raw first: it is what everything else is not.
constexpr const Format* kFormats[] = {&kRaw, &kQcow, &kQcow2};

bool IsBool(absl::string_view v) {
  return v == "on" || v == "off" || v == "yes" || v == "no" || v == "true" || v == "false" ||
         v == "y" || v == "n";
}

absl::Status CheckValue(const FormatOption& option, absl::string_view value) {
  auto bad = [&](absl::string_view expects) {
    return absl::InvalidArgumentError(
        absl::StrCat("Parameter '", option.name, "' expects ", expects, ", not '", value, "'"));
  };
  switch (option.type) {
    case FormatOption::Type::kString:
      return absl::OkStatus();
    case FormatOption::Type::kSize:
    case FormatOption::Type::kNumber:
      if (!ParseSize(value).ok()) {
        return bad(option.type == FormatOption::Type::kSize ? "a size" : "a number");
      }
      return absl::OkStatus();
    case FormatOption::Type::kBool:
      return IsBool(value) ? absl::OkStatus() : bad("'on' or 'off'");
    case FormatOption::Type::kChoice: {
      std::vector<absl::string_view> choices = absl::StrSplit(option.choices, '|');
      if (std::find(choices.begin(), choices.end(), value) != choices.end()) {
        return absl::OkStatus();
      }
      return bad(absl::StrCat("one of ", absl::StrJoin(choices, ", ")));
    }
  }
  return absl::InternalError("option type");
}

}  // namespace

std::span<const Format* const> Formats() { return kFormats; }

const Format* FindFormat(absl::string_view name) {
  for (const Format* f : kFormats) {
    if (name == f->name) return f;
  }
  return nullptr;
}

const Format& ProbeFormat(std::span<const uint8_t> header) {
  const Format* best = kFormats[0];
  int score = 0;
  for (const Format* f : kFormats) {
    int s = f->probe(header);
    if (s > score) {
      score = s;
      best = f;
    }
  }
  return *best;
}

absl::string_view OptionValue(const FormatOptions& options, absl::string_view name) {
  for (auto it = options.rbegin(); it != options.rend(); ++it) {
    if (it->first == name) return it->second;
  }
  return {};
}

bool BoolOption(const FormatOptions& options, absl::string_view name) {
  absl::string_view v = OptionValue(options, name);
  return v == "on" || v == "yes" || v == "true" || v == "y";
}

uint64_t SizeOption(const FormatOptions& options, absl::string_view name) {
  absl::string_view v = OptionValue(options, name);
  return v.empty() ? 0 : ParseSize(v).value_or(0);
}

Preallocation PreallocationOption(const FormatOptions& options) {
  absl::string_view v = OptionValue(options, "preallocation");
  if (v == "metadata") return Preallocation::kMetadata;
  if (v == "falloc") return Preallocation::kFalloc;
  if (v == "full") return Preallocation::kFull;
  return Preallocation::kOff;
}

absl::StatusOr<FormatOptions> CompleteOptions(const Format& format, const FormatOptions& given) {
  for (const auto& given_option : given) {
    const std::string &name = given_option.first, &value = given_option.second;
    auto it = std::find_if(format.options.begin(), format.options.end(),
                           [&](const FormatOption& o) { return name == o.name; });
    if (it == format.options.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "Invalid parameter '", name, "': format ", format.name, " has ",
          absl::StrJoin(format.options, ", ",
                        [](std::string* out, const FormatOption& o) { out->append(o.name); })));
    }
    RETURN_IF_ERROR(CheckValue(*it, value));
  }
  FormatOptions all;
  for (const FormatOption& o : format.options) {
    bool is_given =
        std::any_of(given.begin(), given.end(), [&](const auto& g) { return g.first == o.name; });
    if (!is_given && o.default_value != nullptr) all.emplace_back(o.name, o.default_value);
  }
  all.insert(all.end(), given.begin(), given.end());
  return all;
}

}  // namespace atl::block
