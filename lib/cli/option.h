// SPDX-License-Identifier: Apache-2.0
// Options as data. One table of Option gives the parsing (here), the help text
// (help.h), the shell completion (completion.h) and what the man page is
// checked against, so that none of them can drift from the others.
//
//   constexpr Option kOptions[] = {
//       {.name = "-f", .arg = "FMT", .kind = Kind::kString, .help = "format of the image"},
//       {.name = "-q", .alias = "--quiet", .help = "print errors only"},
//       {.name = "-m", .arg = "SIZE", .kind = Kind::kSize, .help = "memory",
//        .default_text = "128M", .min = kMiB, .unit = kMiB},
//       {.name = "-drive", .arg = "KEY=VALUE,...", .kind = Kind::kKeyList,
//        .help = "add a disk", .repeat = Repeat::kEach, .keys = kDriveKeys,
//        .implied_key = "file"},
//   };
//
// Tables are constants: a Parsed points into them. Nothing here prints or exits.
#ifndef LIB_CLI_OPTION_H_
#define LIB_CLI_OPTION_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::cli {

enum class Kind {
  kFlag,      // takes no value
  kString,    // any text
  kSize,      // ParseSize() of lib/base/units.h, within [min, max]
  kUnsigned,  // decimal or 0x hexadecimal, within [min, max]
  kBool,      // on, off (yes, no, true, false); in a key list the bare key means on
  kEnum,      // one of `choices`
  kKeyList,   // key=value,key=value as `keys` says; ",," stands for a comma in a value
};

// What it means that an option stands there more than once.
enum class Repeat {
  kLast,   // the last one counts, as with getopt
  kEach,   // each counts
  kError,  // refused
};

// An option, or a key of a key list (then the names have no dash).
struct Option {
  absl::string_view name;   // "-f", "--output", "-hda"; "file"
  absl::string_view alias;  // a second name, or nothing
  absl::string_view arg;    // stands for the value in help; with "FILE" in it, files complete it
  Kind kind = Kind::kFlag;
  absl::string_view help;          // one line, lower case, no full stop
  absl::string_view default_text;  // what holds without the option
  absl::string_view group;         // heading in the help; the options of a group stand together
  Repeat repeat = Repeat::kLast;
  absl::string_view choices;  // kEnum: "human json"; else only offered for completion
  std::span<const Option> keys;
  absl::string_view implied_key;  // kKeyList: the first item may be this key's bare value
  uint64_t min = 0;
  uint64_t max = std::numeric_limits<uint64_t>::max();
  uint64_t unit = 1;                   // kSize: what a number without a suffix counts
  bool required = false;               // a missing option is an error
  std::string (*more_choices)() = {};  // as `choices`, where the list is known at run time
};

struct Given;

// What stood on a command line, or in a key list, in the order given. Look
// values up by the option's first name.
class Parsed {
 public:
  bool Has(absl::string_view name) const { return Find(name) != nullptr; }
  // The last one given, or nullptr.
  const Given* Find(absl::string_view name) const;
  std::optional<std::string> Text(absl::string_view name) const;
  std::string TextOr(absl::string_view name, absl::string_view otherwise) const;
  // kSize in bytes, kUnsigned as it is.
  std::optional<uint64_t> Number(absl::string_view name) const;
  uint64_t NumberOr(absl::string_view name, uint64_t otherwise) const;
  // kBool; kFlag: whether it was given.
  bool OnOr(absl::string_view name, bool otherwise) const;
  std::vector<const Given*> All(absl::string_view name) const;

  std::vector<Given> given;
  std::vector<std::string> operands;  // words that are no option
};

struct Given {
  const Option* option = nullptr;
  std::string text;     // the value as written (kKeyList: commas still escaped)
  uint64_t number = 0;  // kSize, kUnsigned
  bool on = true;       // kBool
  Parsed keys;          // kKeyList
};

enum class Style {
  kGetopt,      // -p -S 4k -S4k -pq --output=json --output json --outp json --
  kSingleDash,  // -hda FILE -m 512 -nographic; --hda FILE and --events=json are the same
};

// A whole command line: a tool without subcommands, or one subcommand.
struct Command {
  absl::string_view name;      // "create"
  absl::string_view operands;  // as the synopsis shows them: "FILE [SIZE]"
  absl::string_view summary;   // one line, lower case, no full stop
  std::span<const Option> options;
  Style style = Style::kGetopt;
  size_t min_operands = 0;
  size_t max_operands = 0;
  // The last word is an operand even when it begins with a dash ("-1G").
  bool last_is_operand = false;
  // Runs it; the value is the exit code. nullptr where the tool calls Parse() itself.
  absl::StatusOr<int> (*run)(const Parsed& args) = nullptr;
  absl::string_view notes;  // paragraphs below the options in the help
};

// `args` without the program's and the command's name. Errors are UsageError
// and name the option and what is valid: "unknown option '-hdaa': did you mean
// '-hda'?". An option "-h", "--help" or "-help" that the table does not have
// ends the parsing: the result then has help_wanted.
struct ParseResult {
  Parsed args;
  bool help_wanted = false;
};
absl::StatusOr<ParseResult> Parse(const Command& command, std::span<const std::string> args);

// "a=b,c=d" by a table. `what` names the option or whatever the list belongs to
// in errors: "option '-drive'".
absl::StatusOr<Parsed> ParseKeyList(absl::string_view what, absl::string_view text,
                                    std::span<const Option> keys,
                                    absl::string_view implied_key = "");

// The items of a key list, commas unescaped, without a table: for lists whose
// table depends on the first item. An item without '=' has no value.
struct KeyItem {
  std::string key;
  std::optional<std::string> value;
};
std::vector<KeyItem> SplitKeyList(absl::string_view text);
// The inverse for one value: commas doubled.
std::string EscapeKeyValue(absl::string_view value);

// An InvalidArgument that means: called wrongly, exit code 2.
absl::Status UsageError(absl::string_view message);
bool IsUsageError(const absl::Status& status);

}  // namespace atl::cli

#endif  // LIB_CLI_OPTION_H_
