// SPDX-License-Identifier: Apache-2.0
#include "cmd/stat/session.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/host/file.h"
#include "lib/host/runtime_dir.h"
#include "lib/stats/fields.h"
#include "lib/stats/sources/recording.h"

namespace atl::stat {
namespace {

constexpr uint64_t kMaxRecording = uint64_t{1} << 30;

int64_t WallNs() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Times of a recording do not fall; they may be of any range.
uint64_t Between(int64_t from, int64_t to) {
  return static_cast<uint64_t>(to) - static_cast<uint64_t>(from);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Sampler>> Sampler::Create(const Options& options) {
  std::unique_ptr<Sampler> out(new Sampler(options));
  RETURN_IF_ERROR(out->Restart(options));
  return out;
}

absl::Status Sampler::Restart(const Options& options) {
  options_ = options;
  std::vector<std::unique_ptr<stats::Source>> sources;
  replay_ = nullptr;
  if (!options.recording.empty() && options.mode != Mode::kRecord) {
    ASSIGN_OR_RETURN(std::vector<uint8_t> bytes, host::ReadFile(options.recording, kMaxRecording));
    absl::StatusOr<std::unique_ptr<stats::Replay>> replay =
        stats::Replay::Parse(std::string(bytes.begin(), bytes.end()), options.wanted);
    if (!replay.ok()) return Annotate(replay.status(), options.recording);
    replay_ = replay->get();
    sources.push_back(*std::move(replay));
  } else {
    stats::SourceOptions s;
    s.wanted = options.wanted;
    s.sysroot = options.sysroot;
    s.runtime_root = host::RuntimeRoot();
    for (const stats::SourceKind kind : options.sources) {
      switch (kind) {
        case stats::SourceKind::kFd:
          sources.push_back(stats::NewFdSource(s));
          break;
        case stats::SourceKind::kQmp:
          sources.push_back(stats::NewQmpSource(s));
          break;
        case stats::SourceKind::kDebugfs:
          sources.push_back(stats::NewDebugfsSource(s));
          break;
        case stats::SourceKind::kTrace:
          sources.push_back(stats::NewTraceSource(s));
          break;
      }
    }
  }
  stats::Collector::Filter filter;
  if (options.fields) filter.fields = options.fields;
  filter.vcpus = options.vcpus;
  collector_ = std::make_unique<stats::Collector>(std::move(sources), std::move(filter),
                                                  options.since_start);
  last_ns_ = 0;
  said_ = false;
  return absl::OkStatus();
}

void Sampler::Say(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) cli::PrintWarning(cli::ProgramName(), note);
}

absl::Status Sampler::NoSuchVm() const {
  const std::set<std::string> names = collector_->VmNames();
  const std::string wanted = options_.wanted.name.empty()
                                 ? absl::StrCat("process ", *options_.wanted.pid)
                                 : absl::StrCat("'", options_.wanted.name, "'");
  const bool socket = absl::StrContains(options_.wanted.name, '/');
  return absl::NotFoundError(
      absl::StrCat("no VM ", wanted, ": ",
                   names.empty() || socket
                       ? absl::StrJoin(collector_->Refusals(), "; ")
                       : absl::StrCat("those that ", replay_ != nullptr ? "were recorded" : "run",
                                      " are ", absl::StrJoin(names, ", "))));
}

std::optional<uint64_t> Sampler::UntilNext() const {
  if (replay_ == nullptr) return std::nullopt;
  const std::optional<int64_t> next = replay_->NextTime();
  if (!next) return std::nullopt;
  return Between(last_wall_ns_, *next);
}

absl::Status Sampler::Take() {
  stats::SampleTime time;
  if (replay_ != nullptr) {
    const std::optional<int64_t> next = replay_->NextTime();
    if (!next && collector_->groups().empty() && !options_.wanted.any()) return NoSuchVm();
    if (!next) return absl::OutOfRangeError("the recording is over");
    time.wall_ns = *next;
    time.interval_ns = last_ns_ == 0 ? 0 : Between(last_wall_ns_, *next);
    last_wall_ns_ = *next;
    last_ns_ = 1;
    const absl::Status status = collector_->Sample(time);
    // It may come later.
    return options_.wanted.any() ? status : absl::OkStatus();
  }
  const uint64_t now = host::MonotonicNs();
  time.wall_ns = WallNs();
  time.interval_ns = last_ns_ == 0 ? 0 : now - last_ns_;
  last_ns_ = now;
  const absl::Status status = collector_->Sample(time);
  Say(collector_->TakeNotes());
  const bool found = status.ok();
  if (!found && !options_.wanted.any()) return NoSuchVm();
  // Once: what was asked for by name and does not answer, and what is there but
  // may not be read.
  if (found && !said_) {
    for (const std::string& why : collector_->Refusals()) {
      if (options_.sources_named || absl::StrContains(why, "unreadable") ||
          absl::StrContains(why, "ermission")) {
        Say({why});
      }
    }
    said_ = true;
  }
  return status;
}

void Growth::Add(const stats::Collector& sample) {
  for (const stats::Row& row : sample.rows()) {
    std::vector<uint64_t>& sum = delta_[row.name];
    sum.resize(row.delta.size());
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += row.delta[i];
  }
  if (!first_) interval_ns_ += sample.time().interval_ns;
  first_ = false;
}

std::vector<stats::Row> Growth::Rows(const stats::Collector& sample) const {
  std::vector<stats::Row> rows = sample.rows();
  for (stats::Row& row : rows) {
    const auto at = delta_.find(row.name);
    if (at != delta_.end()) row.delta = at->second;
  }
  return rows;
}

int CheckExpectations(const std::vector<Expectation>& all, const std::vector<stats::Row>& rows,
                      uint64_t interval_ns) {
  int code = cli::kExitDone;
  for (const Expectation& e : all) {
    double measured = 0;
    bool found = false;
    for (const stats::Row& row : rows) {
      if (row.name != e.field && stats::OldName(row.name) != e.field) continue;
      found = true;
      measured += static_cast<double>(row.Sum(e.rate ? row.delta : row.total));
    }
    if (e.rate && interval_ns != 0) measured = measured * 1e9 / static_cast<double>(interval_ns);
    if (found && e.Holds(measured)) continue;
    code = kExitExpectation;
    cli::PrintError(cli::ProgramName(),
                    absl::FailedPreconditionError(absl::StrCat(
                        "expected ", e.text, ": ",
                        found ? absl::StrFormat("it is %.10g%s", measured, e.rate ? "/s" : "")
                              : "there is no such counter")));
  }
  return code;
}

Ticker::Ticker(host::EventLoop& loop, uint64_t interval_ns, std::function<void()> tick)
    : tick_(std::move(tick)),
      interval_ns_(interval_ns),
      next_ns_(host::MonotonicNs() + interval_ns),
      timer_(loop.NewTimer([this] {
        const uint64_t now = host::MonotonicNs();
        next_ns_ += interval_ns_;
        if (next_ns_ <= now)
          next_ns_ += (now - next_ns_) / interval_ns_ * interval_ns_ + interval_ns_;
        Arm();
        tick_();
      })) {
  Arm();
}

void Ticker::SetInterval(uint64_t interval_ns) {
  interval_ns_ = interval_ns;
  next_ns_ = host::MonotonicNs() + interval_ns;
  Arm();
}

void Ticker::Arm() { timer_->Arm(next_ns_); }

}  // namespace atl::stat
