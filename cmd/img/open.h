// SPDX-License-Identifier: Apache-2.0
// Opening images for the subcommands, with the messages that qemu-img's users
// know, and the reading of option values that several subcommands share.
#ifndef CMD_IMG_OPEN_H_
#define CMD_IMG_OPEN_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/block/format.h"
#include "lib/block/image.h"
#include "lib/cli/option.h"
#include "lib/cli/progress.h"

namespace atl::img {

// "Could not open 'a.img': No such file or directory". An unknown format is
// refused with the nearest and all known ones, before anything is opened.
absl::StatusOr<std::unique_ptr<block::Image>> OpenImage(absl::string_view path,
                                                        const block::OpenOptions& options);
// For writing: warns when the format was guessed and the guess is raw.
absl::StatusOr<std::unique_ptr<block::Image>> OpenForWriting(absl::string_view path,
                                                             block::OpenOptions options,
                                                             bool quiet);

// `status` of an operation on `path` without the leading "path: ".
absl::Status WithoutPath(const absl::Status& status, absl::string_view path);

// The known format of that name; else "Unknown file format 'qcwo2': did you
// mean 'qcow2'? (valid: raw, qcow, qcow2)". `what` stands for "Unknown file
// format".
absl::StatusOr<const block::Format*> FormatByName(absl::string_view name,
                                                  absl::string_view what = "Unknown file format");

// --output: whether JSON is wanted.
absl::StatusOr<bool> WantsJson(const cli::Parsed& args);

// A cache mode of -t or -T; `what` is "cache" or "source cache".
struct CacheMode {
  bool flush = true;  // wait for the medium at the end
};
absl::StatusOr<CacheMode> ParseCacheMode(absl::string_view what, absl::string_view text);

// A size on the command line, with qemu-img's words for what is wrong; `what`
// is "image size" or "start offset".
absl::StatusOr<uint64_t> ParseSizeArgument(absl::string_view what, absl::string_view text);

absl::StatusOr<block::Preallocation> ParsePreallocation(absl::string_view text);

// -p, -q and --progress.
cli::ProgressForm ProgressWanted(const cli::Parsed& args);
// The stream of that form.
FILE* ProgressStream(cli::ProgressForm form);

}  // namespace atl::img

#endif  // CMD_IMG_OPEN_H_
