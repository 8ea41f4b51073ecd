// SPDX-License-Identifier: Apache-2.0
// Samples in a file, to be looked at later: JSON, an object a line.
//
//   {"atoll-stat": 1}
//   {"schema": 0, "fields": [{"name": "exits", "type": "cumulative", ...}, ...]}
//   {"group": 0, "schema": 0, "source": "fd", "vm": "web", "pid": 77, "vcpu": -1}
//   {"sample": 1769162400000000000}            begins a sample; ns since 1970
//   {"g": 0, "v": [12, 0, 5]}                  the values of a group
//   {"gone": 0}                                its VM has ended
#ifndef LIB_STATS_SOURCES_RECORDING_H_
#define LIB_STATS_SOURCES_RECORDING_H_

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/stats/sources/source.h"

namespace atl::stats {

// Makes the text of a recording, sample by sample.
class Recorder {
 public:
  // What is to be appended to the file for a sample of `groups`. A clock that was put
  // back stands still until it has caught up: a recording's times never fall.
  std::string Sample(int64_t wall_ns, const std::vector<const Group*>& groups);

 private:
  bool begun_ = false;
  int64_t time_ = std::numeric_limits<int64_t>::min();
  std::map<const Schema*, int> schemas_;
  std::vector<std::shared_ptr<const Schema>> kept_;  // so that no address comes twice
  std::map<const Group*, int> groups_;
  std::map<const Group*, bool> gone_;
};

// A recording as a source: each Read() is its next sample.
class Replay : public Source {
 public:
  // `text` is a whole file. An error names the line. Of VMs that are not wanted there
  // are only the names, in seen().
  static absl::StatusOr<std::unique_ptr<Replay>> Parse(std::string text, Wanted wanted = {});

  // When the sample of the next Read() was taken; nothing at the end.
  virtual std::optional<int64_t> NextTime() const = 0;
  virtual size_t samples() const = 0;
};

}  // namespace atl::stats

#endif  // LIB_STATS_SOURCES_RECORDING_H_
