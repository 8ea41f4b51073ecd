// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cmd/vnc/commands.h"
#include "cmd/vnc/guest_session.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/cli/option.h"
#include "lib/ui/layout.h"

namespace atl::vnc {
namespace {

// Characters sent before the guest must have taken them.
constexpr int kAtOnce = 32;

constexpr cli::Option kOptions[] = {
    {.name = "-n", .alias = "--enter", .help = "press the enter key at the end"},
};

// The characters of UTF-8; nothing where it is none.
std::optional<std::u32string> Characters(absl::string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<uint8_t>(text[i]);
    const size_t n = first < 0x80   ? 1
                     : first < 0xC2 ? 0
                     : first < 0xE0 ? 2
                     : first < 0xF0 ? 3
                     : first < 0xF5 ? 4
                                    : 0;
    if (n == 0 || text.size() - i < n) return std::nullopt;
    char32_t c = n == 1 ? first : first & (0x7Fu >> n);
    for (size_t k = 1; k < n; ++k) {
      const auto byte = static_cast<uint8_t>(text[i + k]);
      if ((byte & 0xC0) != 0x80) return std::nullopt;
      c = c << 6 | (byte & 0x3F);
    }
    out.push_back(c);
    i += n;
  }
  return out;
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  std::optional<std::u32string> text = Characters(args.operands[1]);
  if (!text) return cli::UsageError("the text is not UTF-8");
  if (args.Has("-n")) text->push_back(U'\n');
  ASSIGN_OR_RETURN(const std::unique_ptr<GuestSession> guest,
                   GuestSession::Attach(args.operands[0], /*view_only=*/false));
  int sent = 0;
  for (const char32_t c : *text) {
    const uint32_t keysym = ui::KeysymOfCharacter(c);
    RETURN_IF_ERROR(guest->Key(true, 0, keysym));
    RETURN_IF_ERROR(guest->Key(false, 0, keysym));
    if (++sent % kAtOnce == 0) RETURN_IF_ERROR(guest->Sync());
  }
  RETURN_IF_ERROR(guest->Sync());
  return cli::kExitDone;
}

}  // namespace

const cli::Command kType = {
    .name = "type",
    .operands = "VM TEXT",
    .summary = "type text on the guest's keyboard",
    .options = kOptions,
    .min_operands = 2,
    .max_operands = 2,
    .run = Run,
    .notes =
        "Newlines and tabs in TEXT are the keys. The keys are those of the guest's layout, as\n"
        "run was told with -k; a character that it does not have is left out.",
};

}  // namespace atl::vnc
