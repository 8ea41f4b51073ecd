// SPDX-License-Identifier: Apache-2.0
// Words divided by NUL, parsed in both styles. Whatever the words are, the
// result is values within the bounds of the table, or a usage error.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "lib/cli/help.h"
#include "lib/cli/option.h"

namespace {

using atl::cli::Command;
using atl::cli::Given;
using atl::cli::Kind;
using atl::cli::Option;
using atl::cli::Parsed;

constexpr Option kKeys[] = {
    {.name = "file", .arg = "FILE", .kind = Kind::kString},
    {.name = "if", .arg = "BUS", .kind = Kind::kEnum, .choices = "ide virtio none"},
    {.name = "index", .arg = "N", .kind = Kind::kUnsigned, .max = 3},
    {.name = "readonly", .arg = "ON", .kind = Kind::kBool},
    {.name = "size", .arg = "SIZE", .kind = Kind::kSize, .min = 512, .max = 1 << 30},
    {.name = "id", .kind = Kind::kFlag, .repeat = atl::cli::Repeat::kError},
};
constexpr Option kOptions[] = {
    {.name = "-m", .arg = "SIZE", .kind = Kind::kSize, .min = 1, .max = 1 << 20, .unit = 1024},
    {.name = "-smp", .arg = "N", .kind = Kind::kUnsigned, .min = 1, .max = 64},
    {.name = "-d",
     .alias = "--drive",
     .arg = "KEYS",
     .kind = Kind::kKeyList,
     .repeat = atl::cli::Repeat::kEach,
     .keys = kKeys,
     .implied_key = "file"},
    {.name = "-p", .alias = "--progress"},
    {.name = "--output", .arg = "FORM", .kind = Kind::kEnum, .choices = "human json"},
};

void Check(const Parsed& parsed) {
  for (const Given& g : parsed.given) {
    const bool number = g.option->kind == Kind::kSize || g.option->kind == Kind::kUnsigned;
    if (number && (g.number < g.option->min || g.number > g.option->max)) std::abort();
    if (g.option->kind == Kind::kFlag && !g.text.empty() && g.text != "on") std::abort();
    Check(g.keys);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const std::vector<std::string> words = absl::StrSplit(text, '\0');
  for (auto style : {atl::cli::Style::kGetopt, atl::cli::Style::kSingleDash}) {
    for (bool last : {false, true}) {
      Command command = {.name = "x",
                         .operands = "FILE...",
                         .options = kOptions,
                         .style = style,
                         .min_operands = 0,
                         .max_operands = 4,
                         .last_is_operand = last};
      absl::StatusOr<atl::cli::ParseResult> r = atl::cli::Parse(command, words);
      if (!r.ok() && !atl::cli::IsUsageError(r.status())) std::abort();
      if (r.ok()) Check(r->args);
      if (r.ok() && !r->help_wanted && r->args.operands.size() > 4) std::abort();
    }
  }
  // Escaping a value and splitting the list gives the value back.
  std::vector<atl::cli::KeyItem> items =
      atl::cli::SplitKeyList("k=" + atl::cli::EscapeKeyValue(text));
  if (items.size() != 1 || items[0].value != std::string(text)) std::abort();
  return 0;
}
