// SPDX-License-Identifier: Apache-2.0
#include "cmd/run/screendump.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/ui/picture.h"

namespace atl::run {

Screendump::Screendump(const ScreendumpOptions& options, host::EventLoop& loop, ui::Screen& screen,
                       std::function<void(const absl::Status&)> failed)
    : options_(options), screen_(screen) {
  if (!options_.after) return;
  timer_ = loop.NewTimer([this, failed = std::move(failed)] {
    absl::Status status = Write();
    if (!status.ok()) failed(status);
  });
  timer_->Arm(host::MonotonicNs() +
              static_cast<uint64_t>(std::chrono::nanoseconds(*options_.after).count()));
}

absl::Status Screendump::Write() {
  written_ = true;
  if (absl::EndsWithIgnoreCase(options_.file, ".txt")) {
    const std::optional<ui::TextScreen> text = screen_.Text();
    if (!text) {
      return absl::FailedPreconditionError(
          absl::StrCat(options_.file, ": the guest's screen shows no text"));
    }
    return ui::WriteWhole(ui::TextOf(*text), options_.file);
  }
  return ui::WritePicture(screen_.Capture(), ui::PictureFormatOf(options_.file), options_.file);
}

// A guest that ended before its picture was due is pictured at its end.
absl::Status Screendump::AtEnd() { return written_ ? absl::OkStatus() : Write(); }

}  // namespace atl::run
