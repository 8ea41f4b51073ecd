// SPDX-License-Identifier: Apache-2.0
#include "cmd/img/open.h"

#include <cstdio>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cmd/img/commands.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/cli/main.h"
#include "lib/cli/suggest.h"

namespace atl::img {
namespace {

std::vector<absl::string_view> Names() {
  std::vector<absl::string_view> names;
  for (const block::Format* f : block::Formats()) names.push_back(f->name);
  return names;
}

}  // namespace

std::string FormatNames() { return absl::StrJoin(Names(), " "); }

absl::Status WithoutPath(const absl::Status& status, absl::string_view path) {
  absl::string_view message = status.message();
  if (!absl::StartsWith(message, path) || !absl::StartsWith(message.substr(path.size()), ": ")) {
    return status;
  }
  absl::Status out(status.code(), message.substr(path.size() + 2));
  status.ForEachPayload(
      [&out](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
  return out;
}

absl::StatusOr<const block::Format*> FormatByName(absl::string_view name, absl::string_view what) {
  const block::Format* format = block::FindFormat(name);
  if (format != nullptr) return format;
  const std::vector<absl::string_view> names = Names();
  return absl::InvalidArgumentError(absl::StrCat(what, " '", name, "'",
                                                 cli::DidYouMean(name, names),
                                                 " (valid: ", absl::StrJoin(names, ", "), ")"));
}

absl::StatusOr<std::unique_ptr<block::Image>> OpenImage(absl::string_view path,
                                                        const block::OpenOptions& options) {
  const std::string where = absl::StrCat("Could not open '", path, "'");
  if (!options.format.empty()) {
    absl::Status known = FormatByName(options.format, "Unknown driver").status();
    if (!known.ok()) return Annotate(known, where);
  }
  absl::StatusOr<std::unique_ptr<block::Image>> image = block::Image::Open(path, options);
  if (image.ok()) return image;
  return Annotate(WithoutPath(image.status(), path), where);
}

absl::StatusOr<std::unique_ptr<block::Image>> OpenForWriting(absl::string_view path,
                                                             block::OpenOptions options,
                                                             bool quiet) {
  options.writable = true;
  ASSIGN_OR_RETURN(std::unique_ptr<block::Image> image, OpenImage(path, options));
  if (options.format.empty() && absl::string_view(image->format().name) == "raw" && !quiet) {
    cli::PrintWarning(
        cli::ProgramName(),
        absl::StrCat("the format of '", path,
                     "' was not given and guessed to be raw: writes that would make its first "
                     "sector look like another format are refused; say -f raw to allow them"));
  }
  return image;
}

absl::StatusOr<bool> WantsJson(const cli::Parsed& args) {
  const std::string form = args.TextOr("--output", "human");
  if (form == "json") return true;
  if (form == "human") return false;
  return cli::UsageError(
      absl::StrCat("--output must be used with human or json as argument, not '", form, "'"));
}

absl::StatusOr<CacheMode> ParseCacheMode(absl::string_view what, absl::string_view text) {
  if (text == "unsafe") return CacheMode{.flush = false};
  if (text == "none" || text == "off" || text == "writeback" || text == "writethrough" ||
      text == "directsync") {
    return CacheMode{};
  }
  return cli::UsageError(absl::StrCat("Invalid ", what, " option: ", text,
                                      " (valid: none, writeback, writethrough, directsync, "
                                      "unsafe)"));
}

absl::StatusOr<uint64_t> ParseSizeArgument(absl::string_view what, absl::string_view text) {
  absl::StatusOr<uint64_t> size = ParseSize(text);
  if (size.ok()) return size;
  if (absl::StrContains(size.status().message(), "too large")) {
    return cli::UsageError(absl::StrCat("Invalid ", what, " specified. Must be between 0 and ",
                                        std::numeric_limits<int64_t>::max(), ": '", text, "'"));
  }
  return cli::UsageError(absl::StrCat("Invalid ", what,
                                      " specified. You may use k, M, G, T, P or E suffixes for "
                                      "kilobytes, megabytes, gigabytes, terabytes, petabytes and "
                                      "exabytes: '",
                                      text, "'"));
}

absl::StatusOr<block::Preallocation> ParsePreallocation(absl::string_view text) {
  if (text == "off") return block::Preallocation::kOff;
  if (text == "metadata") return block::Preallocation::kMetadata;
  if (text == "falloc") return block::Preallocation::kFalloc;
  if (text == "full") return block::Preallocation::kFull;
  return cli::UsageError(absl::StrCat("Invalid preallocation mode '", text, "'",
                                      cli::DidYouMean(text, {"off", "metadata", "falloc", "full"}),
                                      " (valid: off, metadata, falloc, full)"));
}

cli::ProgressForm ProgressWanted(const cli::Parsed& args) {
  const std::string form = args.TextOr("--progress", "bar");
  if (form == "json") return cli::ProgressForm::kJson;
  if (args.Has("-q") || form == "none") return cli::ProgressForm::kOff;
  return args.Has("-p") ? cli::ProgressForm::kPercent : cli::ProgressForm::kAuto;
}

FILE* ProgressStream(cli::ProgressForm form) {
  return form == cli::ProgressForm::kPercent ? stdout : stderr;
}

}  // namespace atl::img
