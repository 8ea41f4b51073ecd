// SPDX-License-Identifier: Apache-2.0
// Puts together what sources give: a sample of all counters, each as a row with
// its total over all vCPUs and VMs and what it grew by since the sample before.
// One thread.
#ifndef LIB_STATS_SOURCES_COLLECTOR_H_
#define LIB_STATS_SOURCES_COLLECTOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/stats/sources/source.h"

namespace atl::stats {

struct Row {
  std::string name;
  Descriptor info;              // offset means nothing here
  unsigned sources = 0;         // bit n: SourceKind n gave some of it
  bool alive = false;           // some VM that has it still runs
  std::vector<uint64_t> total;  // info.size words
  std::vector<uint64_t> delta;  // of what accumulates, since the last sample

  // Of a histogram: how many values are in it.
  uint64_t Sum(const std::vector<uint64_t>& words) const;
};

// A moment, and how much time lies before it.
struct SampleTime {
  int64_t wall_ns = 0;       // since 1970
  uint64_t interval_ns = 0;  // since the last one; 0 for the first
};

class Collector {
 public:
  // Which fields and vCPUs count; both may be empty for all. `fields` is asked once
  // for each name.
  struct Filter {
    std::function<bool(const std::string&)> fields;
    std::vector<int> vcpus;
  };

  // `since_start`: the first sample's growth is all that was ever counted.
  Collector(std::vector<std::unique_ptr<Source>> sources, Filter filter, bool since_start);

  // Unavailable where no source has anything; then the message has each one's
  // reason. `time` is that of this sample.
  absl::Status Sample(const SampleTime& time);

  // Sorted by name. Rows come, and never go.
  const std::vector<Row>& rows() const { return rows_; }
  const SampleTime& time() const { return time_; }
  uint64_t samples() const { return samples_; }

  // All groups of all sources, whether used or not.
  std::vector<const Group*> groups() const;
  // The words that a group's field adds to its row; not where a better source
  // does, or the filter refuses it.
  bool Uses(const Group& group, size_t field) const;
  // The growth of a word since the last sample.
  static uint64_t Growth(const Group& group, const Descriptor& field, unsigned word);

  // Why each source gives nothing, "debugfs: ...", for people.
  std::vector<std::string> Refusals() const;
  std::vector<std::string> TakeNotes();
  // Names of all VMs that any source saw.
  std::set<std::string> VmNames() const;
  // Filters the last sample anew.
  void SetFilter(Filter filter);

 private:
  struct Use {
    std::vector<int> row;  // by field; -1: not used
    const Schema* schema = nullptr;
  };

  void Rebuild();
  void Fill();
  bool Accepts(const std::string& name);

  std::vector<std::unique_ptr<Source>> sources_;
  std::vector<absl::Status> states_;
  Filter filter_;
  const bool since_start_;
  SampleTime time_;
  uint64_t samples_ = 0;
  std::vector<Row> rows_;
  std::map<const Group*, Use> uses_;
  std::map<std::string, bool> accepted_;
  uint64_t built_ = 0;  // a mark of the set of groups
};

}  // namespace atl::stats

#endif  // LIB_STATS_SOURCES_COLLECTOR_H_
