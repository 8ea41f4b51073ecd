// SPDX-License-Identifier: Apache-2.0
// Where counters of running VMs come from. A source finds VMs and gives groups of
// values: a group is what is read at once, of a VM or of one of its vCPUs. What
// the sources give is put together by collector.h.
//
// One thread. Nothing here prints: what a user should hear, once, is a note.
#ifndef LIB_STATS_SOURCES_SOURCE_H_
#define LIB_STATS_SOURCES_SOURCE_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/stats/format.h"

namespace atl::stats {

// Best first: where two know a counter of a VM, the first one's is shown.
enum class SourceKind : uint8_t { kFd, kQmp, kDebugfs, kTrace };
inline constexpr unsigned kSourceKinds = 4;
absl::string_view SourceName(SourceKind kind);  // "fd"

// What the words of a group are. Groups alike share one.
struct Schema {
  std::vector<Descriptor> fields;
  uint32_t words = 0;
};

struct Group {
  SourceKind source = SourceKind::kFd;
  std::string vm;  // its name; empty: the whole host
  pid_t pid = 0;   // of its process; 0 where it has none
  int vcpu = -1;   // -1: the VM's own
  std::shared_ptr<const Schema> schema;
  std::vector<uint64_t> values;    // schema->words
  std::vector<uint64_t> previous;  // the collector's: of the sample before
  bool alive = true;
  bool fresh = true;   // values come with the next Read() for the first time
  bool whole = false;  // the VM began while it was looked for: all it counted is new
};

// Which VMs are wanted. Empty fields want all.
struct Wanted {
  std::optional<pid_t> pid;
  std::string name;  // a VM's name, its pid, or debugfs' "PID-FD"

  bool any() const { return !pid && name.empty(); }
  // `alias`: another name of the VM, or empty.
  bool Matches(absl::string_view vm, pid_t of, absl::string_view alias = "") const;
};

struct SourceOptions {
  Wanted wanted;
  std::string runtime_root;  // where run's folders are; empty: none
  std::string sysroot;       // stands before /sys and /proc
};

class Source {
 public:
  virtual ~Source() = default;
  virtual SourceKind kind() const = 0;

  // Looks for VMs that came or went. An error says why this source has nothing to
  // give at all, and is the same each time.
  virtual absl::Status Discover() = 0;
  // Fills in the values of the groups that are alive.
  virtual void Read() = 0;

  const std::vector<std::unique_ptr<Group>>& groups() const { return groups_; }
  // Names of VMs that are there, whether wanted or not.
  const std::vector<std::string>& seen() const { return seen_; }
  std::vector<std::string> TakeNotes() { return std::exchange(notes_, {}); }

 protected:
  Group* Add(Group group) {
    group.source = kind();
    group.values.resize(group.schema->words);
    groups_.push_back(std::make_unique<Group>(std::move(group)));
    return groups_.back().get();
  }
  void Note(std::string text) { notes_.push_back(std::move(text)); }

  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<std::string> seen_;

 private:
  std::vector<std::string> notes_;
};

// The four. `open` is how files of debugfs are opened for reading: a descriptor,
// or -1 and errno.
std::unique_ptr<Source> NewFdSource(const SourceOptions& options);
std::unique_ptr<Source> NewQmpSource(const SourceOptions& options);
std::unique_ptr<Source> NewDebugfsSource(const SourceOptions& options,
                                         std::function<int(const char*)> open = {});
std::unique_ptr<Source> NewTraceSource(const SourceOptions& options);

// The name of the guest of a QEMU process, from its command line ("-name NAME" or
// "-name guest=NAME,..."); else its pid in digits.
std::string GuestName(const std::string& sysroot, pid_t pid);

}  // namespace atl::stats

#endif  // LIB_STATS_SOURCES_SOURCE_H_
