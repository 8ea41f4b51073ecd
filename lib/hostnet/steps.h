// SPDX-License-Identifier: Apache-2.0
// Changes to the host's network as a list of steps: shown before they are made
// (--dry-run), made in order, and taken back where one fails.
#ifndef LIB_HOSTNET_STEPS_H_
#define LIB_HOSTNET_STEPS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace atl::hostnet {

struct Step {
  // What an administrator would type, a command a line; empty for bookkeeping.
  std::string text;
  std::function<absl::Status()> make;
  std::function<absl::Status()> undo;  // may be empty: nothing to take back
};

class Plan {
 public:
  void Add(std::string text, std::function<absl::Status()> make,
           std::function<absl::Status()> undo = {}) {
    steps_.push_back({std::move(text), std::move(make), std::move(undo)});
  }
  void Append(Plan other) {
    for (Step& step : other.steps_) steps_.push_back(std::move(step));
  }

  // No step: the host is as it is wanted.
  bool empty() const { return steps_.empty(); }
  std::vector<std::string> Lines() const;

  // Makes the steps. Where one fails those before it are undone, the last
  // first, and its error comes back; what could not be undone is named in it.
  absl::Status Make() const;

 private:
  std::vector<Step> steps_;
};

}  // namespace atl::hostnet

#endif  // LIB_HOSTNET_STEPS_H_
