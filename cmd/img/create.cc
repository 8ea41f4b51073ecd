// SPDX-License-Identifier: Apache-2.0
// img create: makes an empty image.
#include <string>

#include "absl/strings/str_cat.h"
#include "cmd/img/commands.h"
#include "cmd/img/open.h"
#include "cmd/img/target.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"

namespace atl::img {
namespace {

constexpr cli::Option kOptions[] = {
    {.name = "-f",
     .arg = "FMT",
     .kind = cli::Kind::kString,
     .help = "format of the new image",
     .default_text = "raw",
     .more_choices = FormatNames},
    kFormatOptions,
    {.name = "-b",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "backing file: what the new image does not hold itself is read from there; a "
             "relative name counts from the new image's folder"},
    kBackingFormat,
    {.name = "-u", .help = "do not look whether the backing file is there; needs a SIZE"},
    kQuiet,
};

absl::StatusOr<int> Run(const cli::Parsed& args) {
  const std::string path = args.operands.empty() ? "" : args.operands[0];
  absl::StatusOr<const block::Format*> format = FormatByName(args.TextOr("-f", "raw"));
  if (!format.ok()) return path.empty() ? format.status() : Annotate(format.status(), path);
  absl::StatusOr<SpecResult> parsed = ParseImageSpec(**format, args);
  if (!parsed.ok()) return path.empty() ? parsed.status() : Annotate(parsed.status(), path);
  if (!parsed->help.empty()) {
    cli::Print(parsed->help);
    return cli::kExitDone;
  }
  if (path.empty()) return cli::UsageError("Expecting image file name");
  ImageSpec spec = std::move(parsed->spec);
  if (args.operands.size() > 1) {
    if (spec.size) {
      return Annotate(cli::UsageError("The image size must be specified only once"), path);
    }
    ASSIGN_OR_RETURN(spec.size, ParseSizeArgument("image size", args.operands[1]));
  }
  if (args.Has("-b")) spec.backing_file = *args.Text("-b");
  if (args.Has("-F")) spec.backing_format = *args.Text("-F");
  if (!spec.backing_file.empty() && !spec.format->supports_backing) {
    return Annotate(cli::UsageError(absl::StrCat("Backing file not supported for file format '",
                                                 spec.format->name, "'")),
                    path);
  }
  if (!spec.backing_format.empty()) {
    absl::Status known = FormatByName(spec.backing_format, "Unknown driver").status();
    if (!known.ok()) return Annotate(known, path);
  }
  if (!spec.backing_file.empty() && !args.Has("-u")) {
    absl::StatusOr<uint64_t> backing_size = CheckBacking(path, spec);
    if (!backing_size.ok()) return Annotate(backing_size.status(), path);
    if (!spec.size) spec.size = *backing_size;
  }
  if (!spec.size) return Annotate(cli::UsageError("Image creation needs a size parameter"), path);
  if (!args.Has("-q")) cli::Print(FormattingLine(path, spec));
  // Disks are counted in sectors.
  spec.size = RoundUp(*spec.size, 512);
  absl::StatusOr<NewImage> made = NewImage::Make(path, spec);
  if (!made.ok()) return Annotate(WithoutPath(made.status(), path), path);
  absl::Status published = made->Publish(/*flush=*/false);
  if (!published.ok()) return Annotate(published, path);
  return cli::kExitDone;
}

}  // namespace

const cli::Command kCreate = {
    .name = "create",
    .operands = "FILE [SIZE]",
    .summary = "make an empty image; SIZE takes the suffixes k, M, G, T, P and E",
    .options = kOptions,
    .max_operands = 2,
    .run = Run,
    .notes = "Without SIZE the image is as large as its backing file.",
};

}  // namespace atl::img
