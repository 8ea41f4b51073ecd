// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/cli/json.h"

namespace atl::cli {
namespace {

constexpr double kQuiet = 1.0;     // shorter operations show no bar
constexpr double kInterval = 0.1;  // seconds between two writes
constexpr int kBarWidth = 40;

double SteadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Progress::Progress(ProgressForm form, FILE* to, absl::string_view label, Clock clock)
    : form_(form),
      to_(to),
      label_(label),
      clock_(clock ? std::move(clock) : SteadySeconds),
      start_(clock_()),
      next_(start_ + (form == ProgressForm::kAuto ? kQuiet : 0)) {
  if (form_ == ProgressForm::kAuto && !isatty(fileno(to))) form_ = ProgressForm::kOff;
}

Progress::~Progress() {
  MutexLock lock(&mu_);
  if (shown_ && form_ != ProgressForm::kJson) {
    std::fputc('\n', to_);
    std::fflush(to_);
  }
}

void Progress::Update(uint64_t done, uint64_t total) {
  if (form_ == ProgressForm::kOff) return;
  const double now = clock_();
  double next = next_.load(std::memory_order_relaxed);
  // Only the thread that moves the time on writes.
  if (now < next || !next_.compare_exchange_strong(next, now + kInterval)) return;
  MutexLock lock(&mu_);
  if (finished_) return;
  last_total_ = total;
  Show(total == 0 ? 1 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total)), done,
       total);
}

void Progress::Finish() {
  if (form_ == ProgressForm::kOff) return;
  MutexLock lock(&mu_);
  if (finished_) return;
  finished_ = true;
  // A bar that was never shown is not shown for its end.
  if (form_ == ProgressForm::kAuto && !shown_) return;
  Show(1, last_total_, last_total_);
}

void Progress::Show(double part, uint64_t done, uint64_t total) {
  switch (form_) {
    case ProgressForm::kOff:
      return;
    case ProgressForm::kPercent:
      absl::FPrintF(to_, "    (%3.2f/100%%)\r", part * 100);
      break;
    case ProgressForm::kJson:
      absl::FPrintF(to_,
                    "{\"progress\": {\"what\": %s, \"done\": %d, \"total\": %d, "
                    "\"percent\": %.2f}}\n",
                    JsonQuote(label_), done, total, part * 100);
      break;
    case ProgressForm::kAuto: {
      const int filled = static_cast<int>(part * kBarWidth);
      const double elapsed = clock_() - start_;
      std::string left;
      if (part > 0.01 && part < 1) {
        left = absl::StrFormat("  %.0f s left", elapsed / part * (1 - part));
      }
      // \033[K clears what a longer line before this one left behind.
      absl::FPrintF(to_, "\r%s [%s%s] %3.0f %%%s\033[K", label_, std::string(filled, '#'),
                    std::string(kBarWidth - filled, '.'), part * 100, left);
      break;
    }
  }
  shown_ = true;
  std::fflush(to_);
}

}  // namespace atl::cli
