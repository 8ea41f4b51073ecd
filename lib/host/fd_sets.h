// SPDX-License-Identifier: Apache-2.0
// Files that somebody else has opened: descriptors in numbered sets, which the
// path /dev/fdset/N stands for (QEMU's docs, add-fd). Who may not open a file, or
// has given up opening files, is handed it.
//
// Thread rule: one thread at a time.
#ifndef LIB_HOST_FD_SETS_H_
#define LIB_HOST_FD_SETS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"

namespace atl::host {

class FdSets {
 public:
  static constexpr size_t kMaxFds = 256;  // in all sets
  static constexpr size_t kMaxOpaque = 4096;

  struct Added {
    int64_t set = 0;
    int fd = -1;
  };
  struct Entry {
    UniqueFd fd;
    std::string opaque;  // words of who gave it, for whoever looks
  };

  // Puts `fd` into `set`, or into a new one with the lowest number that is free.
  absl::StatusOr<Added> Add(UniqueFd fd, std::optional<int64_t> set, absl::string_view opaque);
  // Closes one descriptor of a set, or all; what was opened by it stays open.
  // A set without descriptors is none.
  absl::Status Remove(int64_t set, std::optional<int> fd);
  const std::map<int64_t, std::vector<Entry>>& sets() const { return sets_; }

  // Whether `path` is one of ours.
  static bool Names(absl::string_view path);
  // A copy of a descriptor of the path's set. It is open for reading, and for
  // writing too where that is wanted; FailedPrecondition where the set has none so.
  absl::StatusOr<UniqueFd> Open(absl::string_view path, bool writable) const;

 private:
  std::map<int64_t, std::vector<Entry>> sets_;
};

}  // namespace atl::host

#endif  // LIB_HOST_FD_SETS_H_
