// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "cmd/vnc/commands.h"
#include "cmd/vnc/guest_session.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/cli/option.h"
#include "lib/ui/picture.h"
#include "lib/ui/screen.h"

namespace atl::vnc {
namespace {

absl::StatusOr<int> Run(const cli::Parsed& args) {
  const std::string& file = args.operands[1];
  ASSIGN_OR_RETURN(const std::unique_ptr<GuestSession> guest,
                   GuestSession::Attach(args.operands[0], /*view_only=*/true));
  const ui::PictureFormat format = ui::PictureFormatOf(file);
  if (format == ui::PictureFormat::kText) {
    ASSIGN_OR_RETURN(const ui::TextScreen text, guest->Text());
    if (text.cells.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat(args.operands[0], ": the screen shows no text"));
    }
    RETURN_IF_ERROR(ui::WriteWhole(ui::TextOf(text), file));
  } else {
    ASSIGN_OR_RETURN(const ui::Surface picture, guest->Picture());
    RETURN_IF_ERROR(ui::WritePicture(picture, format, file));
  }
  return cli::kExitDone;
}

}  // namespace

const cli::Command kShot = {
    .name = "shot",
    .operands = "VM FILE",
    .summary = "write a picture of the screen",
    .options = {},
    .min_operands = 2,
    .max_operands = 2,
    .run = Run,
    .notes = "FILE is PNG, PPM if its name ends in .ppm, or the words of a text screen if in .txt.",
};

}  // namespace atl::vnc
