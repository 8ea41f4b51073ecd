// SPDX-License-Identifier: Apache-2.0
// img resize: changes the size of the disk in an image.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cmd/img/commands.h"
#include "cmd/img/open.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/cli/main.h"

namespace atl::img {
namespace {

constexpr cli::Option kOptions[] = {
    kFormat,
    {.name = "--preallocation",
     .arg = "MODE",
     .kind = cli::Kind::kString,
     .help = "what is done for the new part: off, metadata, falloc or full",
     .default_text = "off",
     .choices = "off metadata falloc full"},
    {.name = "--shrink", .help = "allow the disk to become smaller, which loses what lies behind"},
    kQuiet,
};

absl::StatusOr<int> Run(const cli::Parsed& args) {
  if (args.operands.size() < 2) {
    return cli::UsageError(args.operands.empty() ? "Expecting image file name and size"
                                                 : "Not enough arguments");
  }
  const std::string& path = args.operands[0];
  absl::string_view text = args.operands[1];
  const char sign = text.empty() ? '\0' : text[0];
  if (sign == '+' || sign == '-') text.remove_prefix(1);
  ASSIGN_OR_RETURN(uint64_t amount, ParseSizeArgument("image size", text));
  ASSIGN_OR_RETURN(block::Preallocation preallocation,
                   ParsePreallocation(args.TextOr("--preallocation", "off")));

  block::OpenOptions options;
  options.format = args.TextOr("-f", "");
  ASSIGN_OR_RETURN(std::unique_ptr<block::Image> image,
                   OpenForWriting(path, options, args.Has("-q")));
  const uint64_t old_size = image->size();
  uint64_t new_size = amount;
  if (sign == '+') {
    std::optional<uint64_t> sum = CheckedAdd(old_size, amount);
    if (!sum || *sum > INT64_MAX) {
      return absl::OutOfRangeError(absl::StrCat("'", path, "' cannot grow by ", amount,
                                                " bytes: the most is 8 EiB less one byte"));
    }
    new_size = *sum;
  } else if (sign == '-') {
    new_size = amount < old_size ? old_size - amount : 0;
  }
  if (new_size == 0) {
    return cli::UsageError(
        absl::StrCat("New image size must be positive: '", path, "' has ", old_size, " bytes"));
  }
  new_size = RoundUp(new_size, 512);
  if (new_size <= old_size && preallocation != block::Preallocation::kOff) {
    return cli::UsageError("Preallocation can only be used for growing images");
  }
  if (new_size < old_size && !args.Has("--shrink")) {
    cli::PrintError(cli::ProgramName(), cli::UsageError("Use the --shrink option to perform a "
                                                        "shrink operation."));
    cli::PrintWarning(
        cli::ProgramName(),
        "Shrinking an image will delete all data beyond the shrunken image's end. Before "
        "performing such an operation, make sure there is no important data there.");
    return cli::kExitFailed;
  }
  absl::Status resized = image->Resize(new_size, preallocation);
  if (absl::IsUnimplemented(resized)) {
    return absl::UnimplementedError(absl::StrCat("Image format driver does not support resize: '",
                                                 path, "' is ", image->format().name));
  }
  RETURN_IF_ERROR(resized);
  RETURN_IF_ERROR(image->Close());
  if (!args.Has("-q")) cli::Print("Image resized.\n");
  return cli::kExitDone;
}

}  // namespace

const cli::Command kResize = {
    .name = "resize",
    .operands = "FILE [+|-]SIZE",
    .summary = "make the disk in an image larger or smaller",
    .options = kOptions,
    .max_operands = 2,
    .last_is_operand = true,
    .run = Run,
};

}  // namespace atl::img
