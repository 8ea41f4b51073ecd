// SPDX-License-Identifier: Apache-2.0
// Programs that do part of a tool's work and are fed for it: what goes in, what
// comes out. (process.h runs those that are only waited for.)
#ifndef LIB_HOST_FILTER_H_
#define LIB_HOST_FILTER_H_

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"

namespace atl::host {

// The path of a program: as given where it has a slash, else looked for in PATH
// and then in the folders of the administrator's programs. NotFound names it.
absl::StatusOr<std::string> FindProgram(absl::string_view name);

struct FilterResult {
  int exit_code = 0;   // 128 + the signal where one ended it
  std::string output;  // of stdout
  std::string errors;  // of stderr
};

// Runs it to its end: `input` is its stdin. The mask of blocked signals is empty
// in it, and it gets no descriptors but those three. More than `max_output`
// bytes of output are an error, and the program is killed.
absl::StatusOr<FilterResult> RunFilter(const std::vector<std::string>& argv,
                                       absl::string_view input = "",
                                       size_t max_output = size_t{16} << 20);

// A program that goes on running, its stdin held by this object: it is to end
// when that is closed. The destructor closes it and waits.
class Coprocess {
 public:
  static absl::StatusOr<Coprocess> Start(const std::vector<std::string>& argv);
  Coprocess(Coprocess&& o) noexcept;
  Coprocess& operator=(Coprocess&&) = delete;
  ~Coprocess();

  pid_t pid() const { return pid_; }
  // Readable when it has ended (a pidfd).
  int ended_fd() const { return ended_.get(); }
  // Readable when it has printed something: stdout and stderr together.
  int output_fd() const { return output_.get(); }
  absl::Status Write(absl::string_view text);

 private:
  Coprocess() = default;

  pid_t pid_ = -1;
  UniqueFd input_;
  UniqueFd output_;
  UniqueFd ended_;
};

}  // namespace atl::host

#endif  // LIB_HOST_FILTER_H_
