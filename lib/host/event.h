// SPDX-License-Identifier: Apache-2.0
// An eventfd: a wake-up that can be waited for together with descriptors.
#ifndef LIB_HOST_EVENT_H_
#define LIB_HOST_EVENT_H_

#include <utility>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace atl::host {

class Event {
 public:
  static absl::StatusOr<Event> Create();

  // Readable until cleared.
  int fd() const { return fd_.get(); }
  // Any thread, also a signal handler; never blocks.
  void Signal();
  // True where it was signalled since the last Clear().
  bool Clear();

 private:
  explicit Event(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace atl::host

#endif  // LIB_HOST_EVENT_H_
