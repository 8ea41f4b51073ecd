// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "cmd/vnc/commands.h"
#include "cmd/vnc/guest_session.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/cli/option.h"
#include "lib/cli/suggest.h"
#include "lib/ui/keys.h"

namespace atl::vnc {
namespace {

constexpr uint64_t kDefaultHoldMs = 50;

constexpr cli::Option kOptions[] = {
    {.name = "--hold",
     .arg = "MS",
     .kind = cli::Kind::kUnsigned,
     .help = "how long the keys are held, in milliseconds",
     .default_text = "50",
     .max = 60'000},
};

// What people call keys that the table has other names for.
struct OtherName {
  absl::string_view name, table;
};
constexpr OtherName kOtherNames[] = {
    {"altgr", "alt_r"},   {"bksp", "backspace"}, {"control", "ctrl"}, {"del", "delete"},
    {"enter", "ret"},     {"escape", "esc"},     {"ins", "insert"},   {"meta", "meta_l"},
    {"pagedown", "pgdn"}, {"pageup", "pgup"},    {"return", "ret"},   {"space", "spc"},
    {"super", "meta_l"},  {"win", "meta_l"},
};

absl::StatusOr<std::vector<uint8_t>> ParseChord(absl::string_view text) {
  std::vector<uint8_t> out;
  for (const absl::string_view word : absl::StrSplit(text, '-')) {
    std::string name = absl::AsciiStrToLower(word);
    for (const OtherName& o : kOtherNames) {
      if (o.name == name) name = std::string(o.table);
    }
    const std::optional<uint8_t> code = ui::FindKey(name);
    if (!code) {
      std::vector<absl::string_view> names;
      for (const ui::KeyName& k : ui::KeyNames()) names.push_back(k.name);
      for (const OtherName& o : kOtherNames) names.push_back(o.name);
      return cli::UsageError(
          absl::StrCat("there is no key '", word, "'", cli::DidYouMean(name, names)));
    }
    out.push_back(*code);
  }
  return out;
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  std::vector<std::vector<uint8_t>> chords;
  for (size_t i = 1; i < args.operands.size(); ++i) {
    ASSIGN_OR_RETURN(std::vector<uint8_t> chord, ParseChord(args.operands[i]));
    chords.push_back(std::move(chord));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<GuestSession> guest,
                   GuestSession::Attach(args.operands[0], /*view_only=*/false));
  const std::chrono::milliseconds hold(args.NumberOr("--hold", kDefaultHoldMs));
  for (std::vector<uint8_t>& chord : chords) {
    for (const uint8_t code : chord) RETURN_IF_ERROR(guest->Key(true, code, 0));
    RETURN_IF_ERROR(guest->Sync());
    std::this_thread::sleep_for(hold);
    std::reverse(chord.begin(), chord.end());
    for (const uint8_t code : chord) RETURN_IF_ERROR(guest->Key(false, code, 0));
    RETURN_IF_ERROR(guest->Sync());
  }
  return cli::kExitDone;
}

}  // namespace

const cli::Command kKey = {
    .name = "key",
    .operands = "VM KEYS...",
    .summary = "press keys together: ctrl-alt-delete",
    .options = kOptions,
    .min_operands = 2,
    .max_operands = 64,
    .run = Run,
    .notes =
        "Keys are named as QMP's send-key names them (ret, esc, f1, kp_5, minus) or as people\n"
        "do (enter, escape, del). Each word is pressed and released before the next.",
};

}  // namespace atl::vnc
