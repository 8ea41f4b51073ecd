// SPDX-License-Identifier: Apache-2.0
// How far a long operation is.
#ifndef LIB_CLI_PROGRESS_H_
#define LIB_CLI_PROGRESS_H_

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "lib/base/mutex.h"

namespace atl::cli {

enum class ProgressForm {
  kOff,
  kAuto,     // a bar, on a terminal only, and only once a second has passed
  kPercent,  // "    (12.34/100%)\r", as qemu-img -p
  kJson,     // {"progress": {"done": 1, "total": 2, "percent": 50.00}} a line
};

// Thread rule: Update() from any thread, any number at once; it is cheap (one
// clock reading and one atomic) and writes at most ten times a second. `to`
// must outlive this.
class Progress {
 public:
  // Seconds from any fixed point; tests bring their own.
  using Clock = std::function<double()>;

  Progress(ProgressForm form, FILE* to, absl::string_view label, Clock clock = nullptr);
  // Ends the line that is on the terminal. Says 100 % only after Finish().
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` of `total` units; total 0 counts as done.
  void Update(uint64_t done, uint64_t total);
  // All done.
  void Finish();

 private:
  void Show(double part, uint64_t done, uint64_t total) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  ProgressForm form_;
  FILE* const to_;
  const std::string label_;
  const Clock clock_;
  const double start_;
  std::atomic<double> next_;
  Mutex mu_;
  bool shown_ ABSL_GUARDED_BY(mu_) = false;  // something of ours stands on the line
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t last_total_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace atl::cli

#endif  // LIB_CLI_PROGRESS_H_
