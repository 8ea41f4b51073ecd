// SPDX-License-Identifier: Apache-2.0
// img compare: whether two images have the same contents.
#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cmd/img/commands.h"
#include "cmd/img/open.h"
#include "cmd/img/zero.h"
#include "lib/base/checked.h"
#include "lib/base/mutex.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/cli/main.h"

namespace atl::img {
namespace {

using block::Image;
using block::MapExtent;

constexpr int kDiffer = 1;
constexpr int kMapFailed = 3;
constexpr int kReadFailed = 4;
constexpr uint64_t kPiece = 2 * kMiB;
constexpr uint64_t kSector = 512;

constexpr cli::Option kOptions[] = {
    {.name = "-f",
     .arg = "FMT",
     .kind = cli::Kind::kString,
     .help = "format of the first image",
     .default_text = "found from the contents",
     .more_choices = FormatNames},
    {.name = "-F",
     .arg = "FMT",
     .kind = cli::Kind::kString,
     .help = "format of the second image",
     .default_text = "found from the contents",
     .more_choices = FormatNames},
    {.name = "-s", .help = "strict: sizes and the places of data and zeroes must be equal too"},
    kSourceCache,
    kProgress,
    kProgressForm,
    kQuiet,
    kShare,
};

// Walks both maps and hands out ranges that have to be read, in order, to
// several threads. What lies past the end of the shorter image must be zero in
// the longer one.
class Comparison {
 public:
  Comparison(Image* a, Image* b, bool strict, cli::Progress* progress)
      : a_(a), b_(b), strict_(strict), progress_(progress) {
    size_ = std::max(a->size(), b->size());
    common_ = std::min(a->size(), b->size());
  }

  struct Outcome {
    std::optional<uint64_t> differs_at;  // contents, a multiple of 512
    std::optional<uint64_t> status_differs_at;
    absl::Status error;
    int error_code = 0;
  };
  Outcome Run() {
    std::vector<std::thread> threads;
    const unsigned n = std::clamp(std::thread::hardware_concurrency(), 1u, 16u);
    for (unsigned i = 1; i < n; ++i) threads.emplace_back([this] { Work(); });
    Work();
    for (std::thread& t : threads) t.join();
    MutexLock lock(&mu_);
    return outcome_;
  }

 private:
  struct Range {
    uint64_t offset;
    uint64_t length;
  };

  void Work() {
    std::vector<uint8_t> x(kPiece);
    std::vector<uint8_t> y(kPiece);
    while (std::optional<Range> range = Take()) {
      absl::StatusOr<std::optional<uint64_t>> at = Compare(*range, x, y);
      MutexLock lock(&mu_);
      if (!at.ok()) {
        Fail(at.status(), kReadFailed);
      } else if (*at && (!outcome_.differs_at || **at < *outcome_.differs_at)) {
        // All ranges before this one have been taken, so the least is the first.
        outcome_.differs_at = **at;
        stop_ = true;
      }
    }
  }

  void Fail(const absl::Status& status, int code) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (outcome_.error.ok()) {
      outcome_.error = status;
      outcome_.error_code = code;
    }
    stop_ = true;
  }

  std::optional<Range> Take() {
    MutexLock lock(&mu_);
    while (!stop_ && at_ < size_) {
      progress_->Update(at_, size_);
      uint64_t length = size_ - at_;
      bool zero = true;
      MapExtent extents[2];
      int i = 0;
      for (Image* image : {a_, b_}) {
        MapExtent& e = extents[i++];
        if (at_ >= image->size()) continue;
        absl::StatusOr<MapExtent> found = image->MapAt(at_, image->size() - at_);
        if (!found.ok()) {
          Fail(found.status(), kMapFailed);
          return std::nullopt;
        }
        e = *found;
        length = std::min(length, e.length);
        zero &= e.zero;
      }
      if (strict_ && at_ < common_ && !SameStatus(extents[0], extents[1])) {
        outcome_.status_differs_at = at_;
        stop_ = true;
        return std::nullopt;
      }
      if (at_ < common_) length = std::min(length, common_ - at_);
      if (!zero) length = std::min(length, kPiece);
      const Range range{at_, length};
      at_ += length;
      if (!zero) return range;
    }
    return std::nullopt;
  }

  static bool SameStatus(const MapExtent& a, const MapExtent& b) {
    return a.zero == b.zero && a.data == b.data && a.present == b.present &&
           a.host_offset.has_value() == b.host_offset.has_value();
  }

  // Where the range differs, by sectors.
  absl::StatusOr<std::optional<uint64_t>> Compare(const Range& r, std::span<uint8_t> x,
                                                  std::span<uint8_t> y) {
    std::span<uint8_t> p = x.first(r.length);
    std::span<uint8_t> q = y.first(r.length);
    if (r.offset >= common_) {
      RETURN_IF_ERROR((a_->size() > b_->size() ? a_ : b_)->Read(r.offset, p));
      if (AllZero(p)) return std::optional<uint64_t>();
      std::fill(q.begin(), q.end(), uint8_t{0});
    } else {
      RETURN_IF_ERROR(a_->Read(r.offset, p));
      RETURN_IF_ERROR(b_->Read(r.offset, q));
    }
    if (std::memcmp(p.data(), q.data(), p.size()) == 0) return std::optional<uint64_t>();
    const auto first = std::mismatch(p.begin(), p.end(), q.begin()).first - p.begin();
    return std::optional<uint64_t>(RoundDown(r.offset + static_cast<uint64_t>(first), kSector));
  }

  Image* const a_;
  Image* const b_;
  const bool strict_;
  cli::Progress* const progress_;
  uint64_t size_;
  uint64_t common_;

  Mutex mu_;
  uint64_t at_ ABSL_GUARDED_BY(mu_) = 0;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  Outcome outcome_ ABSL_GUARDED_BY(mu_);
};

absl::StatusOr<int> Run(const cli::Parsed& args) {
  RETURN_IF_ERROR(ParseCacheMode("source cache", args.TextOr("-T", "writeback")).status());
  if (args.operands.size() != 2) return cli::UsageError("Expecting two image file names");
  const bool quiet = args.Has("-q");
  const bool strict = args.Has("-s");
  auto say = [&](const std::string& text) {
    if (!quiet) cli::Print(text);
  };
  block::OpenOptions options;
  options.force_share = args.Has("-U");
  options.format = args.TextOr("-f", "");
  ASSIGN_OR_RETURN(std::unique_ptr<Image> a, OpenImage(args.operands[0], options));
  options.format = args.TextOr("-F", "");
  ASSIGN_OR_RETURN(std::unique_ptr<Image> b, OpenImage(args.operands[1], options));
  if (strict && a->size() != b->size()) {
    say("Strict mode: Image size mismatch!\n");
    return kDiffer;
  }
  Comparison::Outcome outcome;
  {
    const cli::ProgressForm form = ProgressWanted(args);
    cli::Progress progress(form, ProgressStream(form), "compare");
    outcome = Comparison(a.get(), b.get(), strict, &progress).Run();
    if (outcome.error.ok() && !outcome.differs_at) progress.Finish();
  }
  if (!outcome.error.ok()) {
    cli::PrintError(cli::ProgramName(), outcome.error);
    return outcome.error_code;
  }
  const uint64_t common = std::min(a->size(), b->size());
  if (outcome.differs_at && *outcome.differs_at < common) {
    say(absl::StrCat("Content mismatch at offset ", *outcome.differs_at, "!\n"));
    return kDiffer;
  }
  if (outcome.status_differs_at) {
    say(absl::StrCat("Strict mode: Offset ", *outcome.status_differs_at,
                     " block status mismatch!\n"));
    return kDiffer;
  }
  if (a->size() != b->size()) say("Warning: Image size mismatch!\n");
  if (outcome.differs_at) {
    say(absl::StrCat("Content mismatch at offset ", *outcome.differs_at, "!\n"));
    return kDiffer;
  }
  say("Images are identical.\n");
  return cli::kExitDone;
}

}  // namespace

const cli::Command kCompare = {
    .name = "compare",
    .operands = "FILE1 FILE2",
    .summary = "say whether two images have the same contents",
    .options = kOptions,
    .max_operands = 2,
    .run = Run,
    .notes =
        "Exit codes: 0 the same, 1 different, 2 an image cannot be opened, 3 its map or\n"
        "4 its contents cannot be read. Bytes past the end of the shorter image count as\n"
        "zeroes.",
};

}  // namespace atl::img
