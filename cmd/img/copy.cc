// SPDX-License-Identifier: Apache-2.0
// How it works. One Plan, under a mutex, walks the sources' maps from front to
// back and hands out pieces: some clusters that must be read, or a range that
// is known to be zero. Workers take a piece each, read it, find the zeroes in
// it, pack it where the target is compressed, and write it. With an ordered
// layout a worker waits before its writes for all earlier pieces to be written:
// reading and packing, which take the time, still run side by side. A worker
// holds one piece, so the wait is for pieces that others are working on and
// never for one that nobody has taken.
#include "cmd/img/copy.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cmd/img/zero.h"
#include "lib/base/checked.h"
#include "lib/base/mutex.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"

namespace atl::img {
namespace {

using block::Image;
using block::MapExtent;

constexpr uint64_t kPiece = 2 * kMiB;
// Zero runs cost no transfer; this bounds the time between two progress marks.
constexpr uint64_t kZeroPiece = 1 * kGiB;
constexpr uint64_t kBlock = 4096;

struct Piece {
  uint64_t ticket = 0;
  uint64_t offset = 0;  // in the target
  uint64_t length = 0;
  bool zero = false;
};

// Lets holders of tickets 0, 1, 2, … pass in that order.
class Turnstile {
 public:
  // False when the copy has failed elsewhere.
  bool WaitFor(uint64_t ticket) {
    MutexLock lock(&mu_);
    while (next_ != ticket && !stopped_) changed_.Wait(&mu_);
    return !stopped_;
  }
  void Done() {
    MutexLock lock(&mu_);
    ++next_;
    changed_.NotifyAll();
  }
  void Stop() {
    MutexLock lock(&mu_);
    stopped_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mu_;
  CondVar changed_;
  uint64_t next_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

class Copier {
 public:
  explicit Copier(const CopyJob& job)
      : job_(job),
        cluster_(job.target->cluster_size()),
        unit_(std::max<uint64_t>(kBlock, cluster_)) {
    for (const CopySource& s : job.sources) total_ += s.length;
    raw_target_ = cluster_ == 0;
    // A raw target has no clusters to hand out, so order means nothing there.
    ordered_ = !job.out_of_order && !raw_target_;
    start_ = std::chrono::steady_clock::now();
  }

  absl::Status Run() {
    Progress(0);
    std::vector<std::thread> threads;
    const int extra = std::max(1, job_.workers) - 1;
    for (int i = 0; i < extra; ++i) threads.emplace_back([this] { Work(); });
    Work();
    for (std::thread& t : threads) t.join();
    MutexLock lock(&mu_);
    return error_;
  }

 private:
  void Work() {
    std::vector<uint8_t> buffer(std::max(kPiece, unit_));
    while (true) {
      absl::StatusOr<std::optional<Piece>> piece = Take();
      if (!piece.ok()) return Fail(piece.status());
      if (!piece->has_value()) return;
      absl::Status status = Transfer(**piece, std::span(buffer));
      if (!status.ok()) return Fail(status);
      Progress((*piece)->length);
    }
  }

  void Fail(const absl::Status& status) {
    MutexLock lock(&mu_);
    if (error_.ok()) error_ = status;
    turnstile_.Stop();
  }

  void Progress(uint64_t length) {
    const uint64_t done = done_.fetch_add(length) + length;
    if (job_.progress) job_.progress(done, total_);
  }

  // The next piece; nothing at the end or after an error.
  absl::StatusOr<std::optional<Piece>> Take() {
    std::chrono::duration<double> ahead{0};
    std::optional<Piece> piece;
    {
      MutexLock lock(&mu_);
      if (!error_.ok()) return std::optional<Piece>();
      while (at_ < total_ && !piece) {
        ASSIGN_OR_RETURN(piece, Next());
      }
      if (!piece) return piece;
      piece->ticket = tickets_++;
      if (job_.bytes_per_second != 0) {
        handed_out_ += piece->zero ? 0 : piece->length;
        ahead = std::chrono::duration<double>(static_cast<double>(handed_out_) /
                                              static_cast<double>(job_.bytes_per_second)) -
                (std::chrono::steady_clock::now() - start_);
      }
    }
    if (ahead.count() > 0) std::this_thread::sleep_for(ahead);
    return piece;
  }

  // The piece at at_, or nothing where what stands there is left out.
  absl::StatusOr<std::optional<Piece>> Next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const uint64_t begin = at_;
    ASSIGN_OR_RETURN(Extent e, ExtentAt(begin));
    if (e.kind != Kind::kData) {
      uint64_t end = begin + e.length;
      // A run may go on in the next extent, and one that ends inside a cluster
      // of the target does so only where data follows.
      while (end < total_ && end - begin < kZeroPiece) {
        ASSIGN_OR_RETURN(Extent more, ExtentAt(end));
        if (more.kind != e.kind) break;
        end += more.length;
      }
      if (end < total_) end = RoundDown(end, unit_);
      if (end > begin) {
        at_ = end;
        if (e.kind == Kind::kSkip || (job_.target_is_zero && job_.sparse != 0)) {
          Progress(end - begin);
          return std::optional<Piece>();
        }
        // sparse 0 asks for every byte to be in the file.
        if (job_.sparse != 0 || job_.target_has_backing) {
          return std::optional<Piece>({.offset = begin, .length = end - begin, .zero = true});
        }
        at_ = begin;
      }
    }
    const bool as_data = e.kind == Kind::kData || job_.sparse == 0;
    const uint64_t data_end = as_data ? begin + e.length : begin + unit_;
    uint64_t end = std::min({RoundUp(data_end, unit_), begin + std::max(kPiece, unit_), total_});
    at_ = end;
    return std::optional<Piece>({.offset = begin, .length = end - begin});
  }

  enum class Kind { kData, kZero, kSkip };
  struct Extent {
    uint64_t length = 0;
    Kind kind = Kind::kData;
  };
  absl::StatusOr<Extent> ExtentAt(uint64_t offset) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (offset >= known_begin_ && offset < known_begin_ + known_.length) {
      return Extent{known_begin_ + known_.length - offset, known_.kind};
    }
    auto [source, within] = SourceAt(offset);
    absl::StatusOr<MapExtent> e =
        source->image->MapAt(source->offset + within, source->length - within);
    if (!e.ok()) {
      if (!job_.salvage) return Reading(e.status(), offset);
      // What the map does not tell, reading may.
      e = MapExtent{.length = std::min(kPiece, source->length - within), .data = true};
    }
    known_begin_ = offset;
    known_.length = e->length;
    if (job_.target_has_backing && e->depth > 0) {
      known_.kind = Kind::kSkip;
    } else {
      known_.kind = e->zero ? Kind::kZero : Kind::kData;
    }
    return known_;
  }

  std::pair<const CopySource*, uint64_t> SourceAt(uint64_t offset) const {
    const CopySource* s = job_.sources.data();
    while (offset >= s->length && s != &job_.sources.back()) {
      offset -= s->length;
      ++s;
    }
    return {s, offset};
  }

  absl::Status Reading(const absl::Status& status, uint64_t offset) const {
    return Annotate(status, absl::StrCat("error while reading at byte ", offset));
  }
  absl::Status Writing(const absl::Status& status, uint64_t offset) const {
    return Annotate(status, absl::StrCat("error while writing at byte ", offset));
  }

  // Reads target bytes [offset, offset + to.size()), which can span sources.
  absl::Status Read(uint64_t offset, std::span<uint8_t> to) {
    while (!to.empty()) {
      auto [source, within] = SourceAt(offset);
      const uint64_t n = std::min<uint64_t>(to.size(), source->length - within);
      absl::Status status = source->image->Read(source->offset + within, to.first(n));
      if (!status.ok()) {
        if (!job_.salvage) return Reading(status, offset);
        RETURN_IF_ERROR(Salvage(*source, within, offset, to.first(n)));
      }
      to = to.subspan(n);
      offset += n;
    }
    return absl::OkStatus();
  }

  // Sector by sector: zeroes for those that cannot be read.
  absl::Status Salvage(const CopySource& source, uint64_t within, uint64_t offset,
                       std::span<uint8_t> to) {
    for (uint64_t i = 0; i < to.size(); i += 512) {
      std::span<uint8_t> sector = to.subspan(i, std::min<uint64_t>(512, to.size() - i));
      absl::Status status = source.image->Read(source.offset + within + i, sector);
      if (status.ok()) continue;
      std::fill(sector.begin(), sector.end(), uint8_t{0});
      if (job_.unreadable) job_.unreadable(Reading(status, offset + i));
    }
    return absl::OkStatus();
  }

  absl::Status Transfer(const Piece& piece, std::span<uint8_t> buffer) {
    if (piece.zero) {
      if (ordered_ && !turnstile_.WaitFor(piece.ticket)) return absl::OkStatus();
      absl::Status status = job_.target->WriteZeroes(piece.offset, piece.length, true);
      if (ordered_) turnstile_.Done();
      return Writing(status, piece.offset);
    }
    if (job_.offload && raw_target_) {
      absl::StatusOr<bool> done = Offload(piece);
      if (!done.ok() || *done) return done.status();
    }
    std::span<uint8_t> bytes = buffer.first(piece.length);
    RETURN_IF_ERROR(Read(piece.offset, bytes));
    return job_.compress ? WritePacked(piece, buffer) : WritePlain(piece, bytes);
  }

  absl::Status WritePlain(const Piece& piece, std::span<const uint8_t> bytes) {
    // Runs first, so that nothing but writing is done in turn.
    struct Run {
      uint64_t begin;
      uint64_t length;
      bool zero;
    };
    std::vector<Run> runs;
    const uint64_t grain = raw_target_ ? kBlock : cluster_;
    for (uint64_t i = 0; i < bytes.size(); i += grain) {
      const uint64_t n = std::min<uint64_t>(grain, bytes.size() - i);
      const bool zero = job_.sparse != 0 && AllZero(bytes.subspan(i, n));
      if (!runs.empty() && runs.back().zero == zero) {
        runs.back().length += n;
      } else {
        runs.push_back({i, n, zero});
      }
      // A hole too short to be worth it: data before, data now.
      if (!zero && runs.size() >= 3 && runs[runs.size() - 2].length < job_.sparse) {
        Run& before = runs[runs.size() - 3];
        before.length = i + n - before.begin;
        runs.resize(runs.size() - 2);
      }
    }
    if (ordered_ && !turnstile_.WaitFor(piece.ticket)) return absl::OkStatus();
    absl::Status status;
    for (const Run& run : runs) {
      if (run.zero && job_.target_is_zero) continue;
      const uint64_t offset = piece.offset + run.begin;
      status = run.zero ? job_.target->WriteZeroes(offset, run.length, true)
                        : job_.target->Write(offset, bytes.subspan(run.begin, run.length));
      if (!status.ok()) {
        status = Writing(status, offset);
        break;
      }
    }
    if (ordered_) turnstile_.Done();
    return status;
  }

  absl::Status WritePacked(const Piece& piece, std::span<uint8_t> buffer) {
    struct Cluster {
      bool zero = false;
      std::optional<std::vector<uint8_t>> packed;
    };
    // The last cluster of the disk may be cut short.
    std::span<uint8_t> bytes = buffer.first(RoundUp(piece.length, cluster_));
    std::fill(bytes.begin() + static_cast<ptrdiff_t>(piece.length), bytes.end(), uint8_t{0});
    std::vector<Cluster> clusters(bytes.size() / cluster_);
    for (size_t i = 0; i < clusters.size(); ++i) {
      std::span<const uint8_t> cluster = bytes.subspan(i * cluster_, cluster_);
      clusters[i].zero = job_.sparse != 0 && AllZero(cluster);
      if (clusters[i].zero) continue;
      ASSIGN_OR_RETURN(clusters[i].packed, job_.target->Compress(cluster));
    }
    if (ordered_ && !turnstile_.WaitFor(piece.ticket)) return absl::OkStatus();
    absl::Status status;
    for (size_t i = 0; i < clusters.size() && status.ok(); ++i) {
      const uint64_t offset = piece.offset + i * cluster_;
      const uint64_t n = std::min(cluster_, piece.offset + piece.length - offset);
      if (clusters[i].zero) {
        if (!job_.target_is_zero) status = job_.target->WriteZeroes(offset, n, true);
      } else if (clusters[i].packed) {
        status = job_.target->WriteCompressed(offset, *clusters[i].packed);
      } else {
        // Clusters that do not pack stand as they are, neighbours in one write.
        uint64_t length = n;
        while (i + 1 < clusters.size() && !clusters[i + 1].zero && !clusters[i + 1].packed) {
          ++i;
          length += std::min(cluster_, piece.offset + piece.length - (offset + length));
        }
        status = job_.target->Write(offset, bytes.subspan(offset - piece.offset, length));
      }
      status = Writing(status, offset);
    }
    if (ordered_) turnstile_.Done();
    return status;
  }

  // False where the kernel cannot do it; then nothing has been written that a
  // plain copy would not write too.
  absl::StatusOr<bool> Offload(const Piece& piece) {
    auto [source, within] = SourceAt(piece.offset);
    if (piece.length > source->length - within) return false;
    ASSIGN_OR_RETURN(MapExtent e, source->image->MapAt(source->offset + within, piece.length));
    if (!e.host_offset || e.length < piece.length) return false;
    const int from = source->image->layer(e.depth).storage().fd();
    const int to = job_.target->layer(0).storage().fd();
    if (from < 0 || to < 0) return false;
    auto in = static_cast<off_t>(*e.host_offset);
    auto out = static_cast<off_t>(piece.offset);
    for (uint64_t left = piece.length; left > 0;) {
      const ssize_t n = copy_file_range(from, &in, to, &out, left, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      left -= static_cast<uint64_t>(n);
    }
    return true;
  }

  const CopyJob& job_;
  const uint64_t cluster_;  // of the target; 0: none
  const uint64_t unit_;     // pieces begin and end at its multiples
  uint64_t total_ = 0;
  bool raw_target_ = false;
  bool ordered_ = false;
  std::chrono::steady_clock::time_point start_;
  std::atomic<uint64_t> done_{0};
  Turnstile turnstile_;

  Mutex mu_;
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  uint64_t at_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t tickets_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t handed_out_ ABSL_GUARDED_BY(mu_) = 0;
  // The extent that was looked up last.
  uint64_t known_begin_ ABSL_GUARDED_BY(mu_) = 0;
  Extent known_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::Status Copy(const CopyJob& job) {
  if (job.sources.empty()) return absl::OkStatus();
  return Copier(job).Run();
}

}  // namespace atl::img
