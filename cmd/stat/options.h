// SPDX-License-Identifier: Apache-2.0
// stat's command line: one table, and what it makes of it.
#ifndef CMD_STAT_OPTIONS_H_
#define CMD_STAT_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cmd/stat/expect.h"
#include "lib/cli/option.h"
#include "lib/stats/sources/source.h"

namespace atl::stat {

extern const cli::Command kStatCommand;

enum class Mode : uint8_t {
  kView,       // the terminal
  kOnce,       // -1
  kLog,        // -l, -L
  kServe,      // --listen alone, -F openmetrics -o FILE
  kCommand,    // -- CMD
  kRecord,     // record FILE
  kDiff,       // diff A B
  kListFields  // -f help
};

enum class Format : uint8_t { kText, kCsv, kTsv, kJsonl, kOpenMetrics };

// What a log's columns show.
enum class Show : uint8_t { kDelta, kRate, kTotal };

// Names that a filter takes: today's or the old one, from the beginning on.
using FieldFilter = std::function<bool(const std::string&)>;
// A UsageError tells where the expression goes wrong. `patterns` empty: all.
absl::StatusOr<FieldFilter> MakeFilter(const std::vector<std::string>& patterns);

struct Options {
  Mode mode = Mode::kView;
  Format format = Format::kText;
  Show show = Show::kDelta;
  std::vector<std::string> patterns;
  FieldFilter fields;  // null: all
  std::vector<int> vcpus;
  stats::Wanted wanted;
  std::vector<stats::SourceKind> sources;
  bool sources_named = false;  // each that gives nothing is told of
  std::string sysroot;
  std::string log_file;     // -L; empty: standard output
  std::string output_file;  // -o
  std::string listen;       // empty: nowhere
  std::string recording;    // to replay, or to write
  std::string other;        // of diff
  std::vector<std::string> command;
  std::vector<Expectation> expectations;
  uint64_t interval_ns = 1'000'000'000;
  bool interval_given = false;
  uint64_t count = 0;  // samples; 0: no end
  bool since_start = false;
  bool skip_zero = false;
  bool compat = false;
};

// `command` is what stood after "--". `terminal`: both ends are one.
absl::StatusOr<Options> ReadOptions(const cli::Parsed& args,
                                    const std::vector<std::string>& command, bool terminal);

// As -s takes them: "1", "0.25"; at least 0.01.
absl::StatusOr<uint64_t> ParseInterval(absl::string_view text);

}  // namespace atl::stat

#endif  // CMD_STAT_OPTIONS_H_
