// SPDX-License-Identifier: Apache-2.0
// Programs that are run and waited for.
#ifndef LIB_HOST_PROCESS_H_
#define LIB_HOST_PROCESS_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"

namespace atl::host {

struct ProgramResult {
  int status = 0;      // exit status, or 128 + the signal's number
  std::string output;  // of stdout and stderr together, at most kMaxOutput bytes
};
inline constexpr size_t kMaxProgramOutput = 64 << 10;

// Runs `arguments` (the first is the program: a path, or a name for PATH) with an
// empty stdin until it ends and its output is closed. DeadlineExceeded, and the
// program killed, after `limit`. An error names the program.
absl::StatusOr<ProgramResult> RunProgram(const std::vector<std::string>& arguments,
                                         std::chrono::milliseconds limit);

// A program that is to run when this process ends, however it ends, and also
// after it has lost the right to execute programs: a shell waits for it, in a
// session of its own. What it says goes to this process' stderr.
class AtEnd {
 public:
  static absl::StatusOr<std::unique_ptr<AtEnd>> Create(const std::vector<std::string>& arguments);
  // Runs it now and waits, at most `limit`; an error where it fails.
  absl::Status Run(std::chrono::milliseconds limit);
  // Without Run(): it runs when the process' descriptor is closed, here.
  ~AtEnd() = default;

 private:
  AtEnd(std::string name, UniqueFd hold, UniqueFd result)
      : name_(std::move(name)), hold_(std::move(hold)), result_(std::move(result)) {}
  const std::string name_;
  UniqueFd hold_;    // the program runs once this is closed everywhere
  UniqueFd result_;  // its status comes here
};

}  // namespace atl::host

#endif  // LIB_HOST_PROCESS_H_
