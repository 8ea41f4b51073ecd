// SPDX-License-Identifier: Apache-2.0
// img dd: copies some blocks of an image into a new one.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cmd/img/commands.h"
#include "cmd/img/copy.h"
#include "cmd/img/open.h"
#include "cmd/img/target.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/cli/main.h"
#include "lib/cli/suggest.h"

namespace atl::img {
namespace {

constexpr uint64_t kMaxBlock = 2147483647;

constexpr cli::Option kOptions[] = {
    kFormat,
    {.name = "-O",
     .arg = "FMT",
     .kind = cli::Kind::kString,
     .help = "format of the new image",
     .default_text = "raw",
     .more_choices = FormatNames},
    kShare,
};

struct Operands {
  uint64_t block = 512;
  std::optional<uint64_t> count;
  uint64_t skip = 0;
  std::string in;
  std::string out;
};

absl::StatusOr<Operands> ReadOperands(const std::vector<std::string>& words) {
  Operands o;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    absl::StatusOr<uint64_t> number = ParseSize(value);
    if (key == "if") {
      o.in = value;
    } else if (key == "of") {
      o.out = value;
    } else if (key == "bs" || key == "count" || key == "skip") {
      if (!number.ok() || (key == "bs" && (*number == 0 || *number > kMaxBlock))) {
        return cli::UsageError(absl::StrCat(
            "Invalid number for '", key, "': '", value, "'",
            key == "bs" ? absl::StrCat(". Must be between 1 and ", kMaxBlock, ".") : ""));
      }
      if (key == "bs") o.block = *number;
      if (key == "count") o.count = *number;
      if (key == "skip") o.skip = *number;
    } else {
      return cli::UsageError(absl::StrCat("unrecognized operand '", key, "'",
                                          cli::DidYouMean(key, {"bs", "count", "if", "of", "skip"}),
                                          " (valid: bs, count, if, of, skip)"));
    }
  }
  if (o.in.empty() || o.out.empty()) {
    return cli::UsageError("Must specify both input and output files: if=FILE of=FILE");
  }
  return o;
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  ASSIGN_OR_RETURN(Operands o, ReadOperands(args.operands));
  ASSIGN_OR_RETURN(const block::Format* format, FormatByName(args.TextOr("-O", "raw")));
  block::OpenOptions options;
  options.format = args.TextOr("-f", "");
  options.force_share = args.Has("-U");
  ASSIGN_OR_RETURN(std::unique_ptr<block::Image> in, OpenImage(o.in, options));

  const uint64_t size = in->size();
  const uint64_t begin = std::min(size, CheckedMul(o.skip, o.block).value_or(size));
  uint64_t length = size - begin;
  if (o.count) length = std::min(length, CheckedMul(*o.count, o.block).value_or(length));

  ImageSpec spec;
  spec.format = format;
  spec.size = RoundUp(length, 512);
  block::Image* const source = in.get();
  RETURN_IF_ERROR(CheckNotASource(o.out, std::span(&source, 1)));
  ASSIGN_OR_RETURN(NewImage made, NewImage::Make(o.out, spec));
  ASSIGN_OR_RETURN(std::unique_ptr<block::Image> out,
                   made.Open(/*flush=*/false, /*with_backing=*/false));
  CopyJob job;
  job.sources.push_back({.image = in.get(), .offset = begin, .length = length});
  job.target = out.get();
  job.workers = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 16u));
  job.target_is_zero = out->cluster_size() != 0 || out->layer(0).storage().grows_zeroed();
  RETURN_IF_ERROR(made.Renamed(Copy(job)));
  RETURN_IF_ERROR(made.Renamed(out->Close()));
  RETURN_IF_ERROR(made.Publish(/*flush=*/false));
  return cli::kExitDone;
}

}  // namespace

const cli::Command kDd = {
    .name = "dd",
    .operands = "[bs=SIZE] [count=N] [skip=N] if=FILE of=FILE",
    .summary = "copy some blocks of an image into a new one",
    .options = kOptions,
    .max_operands = 16,
    .run = Run,
    .notes =
        "Operands: bs is the size of a block (512), count how many blocks are copied (all),\n"
        "skip how many are left out before that (0).",
};

}  // namespace atl::img
