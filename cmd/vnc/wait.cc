// SPDX-License-Identifier: Apache-2.0
#include <regex.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "cmd/vnc/commands.h"
#include "cmd/vnc/guest_session.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/cli/option.h"
#include "lib/ui/screen.h"

namespace atl::vnc {
namespace {

using Clock = GuestSession::Clock;

constexpr cli::Option kOptions[] = {
    {.name = "--text",
     .arg = "RE",
     .kind = cli::Kind::kString,
     .help = "until a line of a text screen matches this extended regular expression"},
    {.name = "--stable",
     .arg = "TIME",
     .kind = cli::Kind::kString,
     .help = "until the picture has not changed for so long: 2s, 500ms"},
    {.name = "--timeout",
     .arg = "TIME",
     .kind = cli::Kind::kString,
     .help = "give up after so long, with status 1",
     .default_text = "60s"},
};

absl::StatusOr<std::chrono::milliseconds> ParseTime(absl::string_view option,
                                                    absl::string_view text) {
  constexpr double kMax = 86400.0 * 365;
  absl::string_view number = text;
  const double unit = absl::ConsumeSuffix(&number, "ms")  ? 1e-3
                      : absl::ConsumeSuffix(&number, "s") ? 1
                      : absl::ConsumeSuffix(&number, "m") ? 60
                                                          : 1;
  double value = 0;
  if (!absl::SimpleAtod(number, &value) || !(value >= 0) || value * unit > kMax) {
    return cli::UsageError(
        absl::StrCat("option '", option, "': '", text, "' is no time such as 2s, 500ms or 1.5m"));
  }
  return std::chrono::milliseconds(static_cast<int64_t>(value * unit * 1000));
}

class Expression {
 public:
  static absl::StatusOr<std::unique_ptr<Expression>> Create(const std::string& text) {
    std::unique_ptr<Expression> out(new Expression);
    const int error =
        regcomp(&out->compiled_, text.c_str(), REG_EXTENDED | REG_NOSUB | REG_NEWLINE);
    if (error != 0) {
      char why[128];
      regerror(error, &out->compiled_, why, sizeof why);
      return cli::UsageError(absl::StrCat("option '--text': '", text, "': ", why));
    }
    out->valid_ = true;
    return out;
  }
  ~Expression() {
    if (valid_) regfree(&compiled_);
  }
  bool Matches(const std::string& text) const {
    return regexec(&compiled_, text.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  Expression() = default;
  regex_t compiled_{};
  bool valid_ = false;
};

absl::StatusOr<int> Run(const cli::Parsed& args) {
  const bool for_text = args.Has("--text");
  if (for_text == args.Has("--stable")) {
    return cli::UsageError("what to wait for is said by --text or by --stable");
  }
  std::unique_ptr<Expression> expression;
  if (for_text) {
    ASSIGN_OR_RETURN(expression, Expression::Create(args.TextOr("--text", "")));
  }
  ASSIGN_OR_RETURN(const std::chrono::milliseconds stable,
                   ParseTime("--stable", args.TextOr("--stable", "0")));
  ASSIGN_OR_RETURN(const std::chrono::milliseconds patience,
                   ParseTime("--timeout", args.TextOr("--timeout", "60s")));
  const Clock::time_point end = Clock::now() + patience;
  ASSIGN_OR_RETURN(const std::unique_ptr<GuestSession> guest,
                   GuestSession::Attach(args.operands[0], /*view_only=*/true));
  // The first change is that there is a picture.
  RETURN_IF_ERROR(guest->WaitForChange(end).status());
  while (true) {
    Clock::time_point until = end;
    if (for_text) {
      ASSIGN_OR_RETURN(const ui::TextScreen text, guest->Text());
      if (expression->Matches(ui::TextOf(text))) return cli::kExitDone;
    } else {
      until = std::min(end, Clock::now() + stable);
    }
    ASSIGN_OR_RETURN(const bool changed, guest->WaitForChange(until));
    if (changed && Clock::now() < end) continue;
    if (!for_text && !changed && until < end) return cli::kExitDone;
    return absl::DeadlineExceededError(
        absl::StrCat(args.operands[0], ": the screen ",
                     for_text ? "does not show that" : "does not stand still", " in time"));
  }
}

}  // namespace

const cli::Command kWait = {
    .name = "wait",
    .operands = kGuestOperand,
    .summary = "wait for words on the screen, or until it stands still",
    .options = kOptions,
    .min_operands = 1,
    .max_operands = 1,
    .run = Run,
    .notes = "",
};

}  // namespace atl::vnc
