// SPDX-License-Identifier: Apache-2.0
// The client's side of QMP, as far as counters need it: a command and its reply,
// one at a time, each within a time limit. Descriptors that come with a reply are
// kept.
#ifndef LIB_STATS_SOURCES_QMP_CLIENT_H_
#define LIB_STATS_SOURCES_QMP_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/qmp/json_value.h"

namespace atl::stats {

class QmpClient {
 public:
  // Connects, hears the greeting and negotiates. DeadlineExceeded where nobody
  // answers within `patience_ns`: many servers talk to one client at a time.
  static absl::StatusOr<std::unique_ptr<QmpClient>> Connect(const std::string& path,
                                                            uint64_t patience_ns);

  // The value that is returned. `arguments` is JSON, or empty. A FailedPrecondition
  // is the server's own error, any other one the connection's, which is then over.
  absl::StatusOr<qmp::JsonValue> Call(absl::string_view command, absl::string_view arguments = "");
  // Those that came since they were last taken.
  std::vector<UniqueFd> TakeFds() { return std::exchange(fds_, {}); }
  // Of the process at the other end; 0 where it is not known.
  int pid() const { return pid_; }

 private:
  explicit QmpClient(UniqueFd socket) : socket_(std::move(socket)) {}
  absl::StatusOr<qmp::JsonValue> Next();
  absl::Status Receive();

  UniqueFd socket_;
  int pid_ = 0;
  uint64_t deadline_ns_ = 0;
  qmp::MessageSplitter splitter_;
  std::vector<UniqueFd> fds_;
};

}  // namespace atl::stats

#endif  // LIB_STATS_SOURCES_QMP_CLIENT_H_
