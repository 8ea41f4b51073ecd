// SPDX-License-Identifier: Apache-2.0
// Sampling at absolute deadlines, whatever is done with the samples: prints, logs,
// serves, records. One thread, one event loop.
#ifndef CMD_STAT_SESSION_H_
#define CMD_STAT_SESSION_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cmd/stat/options.h"
#include "lib/host/event_loop.h"
#include "lib/stats/sources/collector.h"
#include "lib/stats/sources/recording.h"

namespace atl::stat {

inline constexpr int kExitExpectation = 3;

// The sources that the options name, or a recording; with what goes wrong first.
class Sampler {
 public:
  static absl::StatusOr<std::unique_ptr<Sampler>> Create(const Options& options);

  // Takes a sample now, or a recording's next. NotFound for a VM that is wanted and
  // not there, Unavailable where no source gives anything, OutOfRange at the end of
  // a recording. Says on standard error, once, what a user should hear.
  absl::Status Take();

  stats::Collector& collector() { return *collector_; }
  bool replays() const { return replay_ != nullptr; }
  // Nanoseconds that lay between a recording's sample that was taken last and its
  // next; nothing at its end.
  std::optional<uint64_t> UntilNext() const;
  // As other options would have it: p, g and f of the view.
  absl::Status Restart(const Options& options);

 private:
  explicit Sampler(const Options& options) : options_(options) {}
  void Say(const std::vector<std::string>& notes);
  absl::Status NoSuchVm() const;

  Options options_;
  std::unique_ptr<stats::Collector> collector_;
  stats::Replay* replay_ = nullptr;  // the collector's
  int64_t last_wall_ns_ = 0;
  uint64_t last_ns_ = 0;
  bool said_ = false;
};

// What grew since the first sample.
class Growth {
 public:
  void Add(const stats::Collector& sample);
  // The rows of the last sample with that growth in place of theirs.
  std::vector<stats::Row> Rows(const stats::Collector& sample) const;
  uint64_t interval_ns() const { return interval_ns_; }

 private:
  std::map<std::string, std::vector<uint64_t>> delta_;
  uint64_t interval_ns_ = 0;
  bool first_ = true;
};

// kExitExpectation where one does not hold, said on standard error; else 0.
int CheckExpectations(const std::vector<Expectation>& all, const std::vector<stats::Row>& rows,
                      uint64_t interval_ns);

// Calls `sample` at multiples of an interval, without drift. What was missed is not
// made up for.
class Ticker {
 public:
  Ticker(host::EventLoop& loop, uint64_t interval_ns, std::function<void()> tick);
  void SetInterval(uint64_t interval_ns);

 private:
  void Arm();
  const std::function<void()> tick_;
  uint64_t interval_ns_;
  uint64_t next_ns_;
  const std::unique_ptr<host::LoopTimer> timer_;
};

// The modes. The value is the exit status.
absl::StatusOr<int> RunOnce(const Options& options);
absl::StatusOr<int> RunLog(const Options& options);
absl::StatusOr<int> RunServe(const Options& options);
absl::StatusOr<int> RunRecord(const Options& options);
absl::StatusOr<int> RunWithCommand(const Options& options);
absl::StatusOr<int> RunDiff(const Options& options);

}  // namespace atl::stat

#endif  // CMD_STAT_SESSION_H_
