// SPDX-License-Identifier: Apache-2.0
// img convert: copies images, one after the other, into a new one.
#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
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

namespace atl::img {
namespace {

constexpr uint64_t kMaxSparse = 16 * kMiB;
constexpr uint64_t kMaxWorkers = 16;

constexpr cli::Option kOptions[] = {
    {.name = "-f",
     .arg = "FMT",
     .kind = cli::Kind::kString,
     .help = "format of the sources",
     .default_text = "found from the contents",
     .more_choices = FormatNames},
    {.name = "-O",
     .arg = "FMT",
     .kind = cli::Kind::kString,
     .help = "format of the new image",
     .default_text = "raw",
     .more_choices = FormatNames},
    kFormatOptions,
    {.name = "-B",
     .arg = "FILE",
     .kind = cli::Kind::kString,
     .help = "backing file of the new image: copy only what the source holds itself; it must "
             "have the contents of the source's own backing file"},
    kBackingFormat,
    {.name = "-c", .help = "compress the new image"},
    {.name = "-n", .help = "write into an existing image instead of making one"},
    {.name = "--target-is-zero", .help = "with -n: the image is known to be all zeroes"},
    {.name = "-S",
     .arg = "SIZE",
     .kind = cli::Kind::kString,
     .help = "leave out zeroes where this many stand together, a multiple of 512; 0 writes all",
     .default_text = "4k"},
    {.name = "-m",
     .arg = "N",
     .kind = cli::Kind::kString,
     .help = "how many threads work, 1 to 16; the result is the same with any number",
     .default_text = "one for each processor"},
    {.name = "-W", .help = "write clusters in the order in which they become ready"},
    {.name = "-C", .help = "let the kernel copy from raw to raw, sharing blocks where it can"},
    {.name = "-r",
     .arg = "RATE",
     .kind = cli::Kind::kString,
     .help = "copy no more than this many bytes a second",
     .default_text = "no limit"},
    {.name = "-t",
     .arg = "CACHE",
     .kind = cli::Kind::kString,
     .help = "cache mode for writing: with unsafe, do not wait until the image is on the medium",
     .default_text = "unsafe",
     .choices = kCacheModes},
    kSourceCache,
    {.name = "--salvage", .help = "put zeroes where a source cannot be read, and go on"},
    kProgress,
    kProgressForm,
    kQuiet,
    kShare,
};

struct Request {
  ImageSpec spec;
  CopyJob job;
  std::vector<std::string> sources;
  std::string target;
  bool into_existing = false;
  bool flush = false;
};

// What can be said before anything is opened. `help` is as in SpecResult.
absl::StatusOr<Request> Read(const cli::Parsed& args, std::string* help) {
  Request r;
  ASSIGN_OR_RETURN(const block::Format* format, FormatByName(args.TextOr("-O", "raw")));
  ASSIGN_OR_RETURN(SpecResult parsed, ParseImageSpec(*format, args));
  *help = parsed.help;
  if (!help->empty()) return r;
  r.spec = std::move(parsed.spec);
  if (args.Has("-B")) r.spec.backing_file = *args.Text("-B");
  if (args.Has("-F")) r.spec.backing_format = *args.Text("-F");

  r.job.workers =
      static_cast<int>(std::clamp<uint64_t>(std::thread::hardware_concurrency(), 1, kMaxWorkers));
  if (args.Has("-m")) {
    absl::StatusOr<uint64_t> n = ParseSize(*args.Text("-m"));
    if (!n.ok() || *n < 1 || *n > kMaxWorkers) {
      return cli::UsageError(
          absl::StrCat("Invalid number of coroutines. Allowed number of coroutines is "
                       "between 1 and 16: -m '",
                       *args.Text("-m"), "'"));
    }
    r.job.workers = static_cast<int>(*n);
  }
  if (args.Has("-S")) {
    absl::StatusOr<uint64_t> n = ParseSize(*args.Text("-S"));
    if (!n.ok() || *n % 512 != 0 || *n > kMaxSparse) {
      return cli::UsageError(absl::StrCat(
          "Invalid buffer size for sparse output specified. Valid sizes are multiples of "
          "512 up to ",
          kMaxSparse, ". Select 0 to disable sparse detection (fully allocates output): -S '",
          *args.Text("-S"), "'"));
    }
    r.job.sparse = *n;
  }
  if (args.Has("-r")) {
    absl::StatusOr<uint64_t> n = ParseSize(*args.Text("-r"));
    if (!n.ok()) return cli::UsageError(absl::StrCat("option '-r': ", n.status().message()));
    r.job.bytes_per_second = *n;
  }
  ASSIGN_OR_RETURN(CacheMode cache, ParseCacheMode("cache", args.TextOr("-t", "unsafe")));
  RETURN_IF_ERROR(ParseCacheMode("source cache", args.TextOr("-T", "writeback")).status());
  r.flush = cache.flush;
  r.job.compress = args.Has("-c");
  r.job.out_of_order = args.Has("-W");
  r.job.salvage = args.Has("--salvage");
  r.job.offload = args.Has("-C");
  r.into_existing = args.Has("-n");
  if (r.job.offload && args.Has("-S")) {
    return cli::UsageError("Cannot enable copy offloading when -S is used");
  }
  if (r.job.offload && r.job.compress) {
    return cli::UsageError("Cannot enable copy offloading when -c is used");
  }
  if (args.Has("--target-is-zero") && !r.into_existing) {
    return cli::UsageError("--target-is-zero requires use of -n flag");
  }
  if (args.operands.size() < 2) return cli::UsageError("Must specify image file name");
  r.sources.assign(args.operands.begin(), args.operands.end() - 1);
  r.target = args.operands.back();
  if (!r.spec.backing_file.empty()) {
    if (!format->supports_backing) {
      return cli::UsageError(
          absl::StrCat("Backing file not supported for file format '", format->name, "'"));
    }
    if (r.spec.backing_format.empty()) {
      return cli::UsageError("Use of backing file requires explicit backing format");
    }
    if (r.sources.size() > 1) {
      return cli::UsageError(
          "Having a backing file for the target makes no sense when "
          "concatenating multiple input images");
    }
  }
  if (r.job.compress && !format->supports_compression) {
    return cli::UsageError("Compression not supported for this file format");
  }
  return r;
}

absl::Status IntoNew(Request* r, uint64_t total) {
  if (!r->spec.backing_file.empty()) {
    ASSIGN_OR_RETURN(uint64_t backing_size, CheckBacking(r->target, r->spec));
    (void)backing_size;
  }
  if (!r->spec.size) r->spec.size = total;
  r->spec.size = RoundUp(*r->spec.size, 512);
  if (*r->spec.size < total) {
    return absl::InvalidArgumentError(absl::StrCat("option '-o': size=", *r->spec.size,
                                                   " is smaller than the sources, which have ",
                                                   total, " bytes"));
  }
  absl::StatusOr<NewImage> made = NewImage::Make(r->target, r->spec);
  if (!made.ok()) {
    return Annotate(WithoutPath(made.status(), r->target),
                    absl::StrCat(r->target, ": error while converting ", r->spec.format->name));
  }
  r->job.target_has_backing = !r->spec.backing_file.empty();
  ASSIGN_OR_RETURN(std::unique_ptr<block::Image> target,
                   made->Open(r->flush, r->job.target_has_backing));
  r->job.target = target.get();
  // Clusters that are not there read as zeroes wherever the file lies.
  r->job.target_is_zero = !r->job.target_has_backing && (target->cluster_size() != 0 ||
                                                         target->layer(0).storage().grows_zeroed());
  RETURN_IF_ERROR(made->Renamed(Copy(r->job)));
  RETURN_IF_ERROR(made->Renamed(target->Close()));
  return made->Publish(r->flush);
}

absl::Status IntoExisting(Request* r, uint64_t total, bool is_zero) {
  block::OpenOptions options;
  options.format = r->spec.format->name;
  options.writable = true;
  options.no_flush = !r->flush;
  ASSIGN_OR_RETURN(std::unique_ptr<block::Image> target, OpenImage(r->target, options));
  if (target->size() < total) {
    return absl::InvalidArgumentError(absl::StrCat("output file is smaller than input file: '",
                                                   r->target, "' has ", target->size(),
                                                   " bytes, the sources have ", total));
  }
  r->job.target = target.get();
  r->job.target_is_zero = is_zero;
  RETURN_IF_ERROR(Copy(r->job));
  return target->Close();
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  std::string help;
  ASSIGN_OR_RETURN(Request r, Read(args, &help));
  if (!help.empty()) {
    cli::Print(help);
    return cli::kExitDone;
  }
  std::vector<std::unique_ptr<block::Image>> images;
  uint64_t total = 0;
  for (const std::string& source : r.sources) {
    block::OpenOptions options;
    options.format = args.TextOr("-f", "");
    options.force_share = args.Has("-U");
    ASSIGN_OR_RETURN(std::unique_ptr<block::Image> image, OpenImage(source, options));
    r.job.sources.push_back({.image = image.get(), .offset = 0, .length = image->size()});
    std::optional<uint64_t> sum = CheckedAdd(total, image->size());
    if (!sum) return absl::OutOfRangeError("the sources together have more than 16 EiB");
    total = *sum;
    images.push_back(std::move(image));
  }
  std::vector<block::Image*> open_images;
  for (const auto& image : images) open_images.push_back(image.get());
  RETURN_IF_ERROR(
      Annotate(CheckNotASource(r.target, open_images),
               absl::StrCat(r.target, ": error while converting ", r.spec.format->name)));

  const cli::ProgressForm form = ProgressWanted(args);
  cli::Progress progress(form, ProgressStream(form), "convert");
  r.job.progress = [&](uint64_t done, uint64_t all) { progress.Update(done, all); };
  r.job.unreadable = [&](const absl::Status& status) {
    if (!args.Has("-q")) cli::PrintWarning(cli::ProgramName(), status.message());
  };
  RETURN_IF_ERROR(r.into_existing ? IntoExisting(&r, total, args.Has("--target-is-zero"))
                                  : IntoNew(&r, total));
  progress.Finish();
  return cli::kExitDone;
}

}  // namespace

const cli::Command kConvert = {
    .name = "convert",
    .operands = "FILE... OUTPUT",
    .summary = "copy images, one behind the other, into a new image of any format",
    .options = kOptions,
    .max_operands = 4096,
    .run = Run,
};

}  // namespace atl::img
