// SPDX-License-Identifier: Apache-2.0
// Samples as text, for every format.
#ifndef CMD_STAT_PRINT_H_
#define CMD_STAT_PRINT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cmd/stat/options.h"
#include "lib/stats/sources/collector.h"

namespace atl::stat {

// "2026-01-23T10:11:12.345Z"
std::string Timestamp(int64_t wall_ns);

// A counter in short: a histogram by how many values it has.
struct Line {
  std::string name;  // the old one where that is wanted
  double total = 0;
  double delta = 0;
  bool accumulates = true;
  bool alive = true;
  std::string unit;
};

// Sorted by name; rows that share an old name are one line.
std::vector<Line> ShortLines(const std::vector<stats::Row>& rows, bool compat, bool skip_zero);

// "name total delta" as kvm_stat prints them, mainline or, with `compat`, as of old.
std::string OnceText(const std::vector<Line>& lines, bool compat);

// A log in the format that is wanted: what to print for each sample.
class Log {
 public:
  virtual ~Log() = default;
  // `lines_at_once`: after so many lines the heading comes again (text).
  virtual std::string Sample(const stats::Collector& sample) = 0;
};
std::unique_ptr<Log> NewLog(const Options& options, unsigned lines_at_once);

// All of a sample in the OpenMetrics text format, to its "# EOF".
std::string OpenMetrics(const stats::Collector& sample);

// -f help: name, type, unit and meaning of every field.
std::string FieldList();

}  // namespace atl::stat

#endif  // CMD_STAT_PRINT_H_
