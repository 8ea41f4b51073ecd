// SPDX-License-Identifier: Apache-2.0
#include "cmd/run/screendump.h"

#include <utility>

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
  return ui::WriteScreen(screen_, ui::PictureFormatOf(options_.file), options_.file);
}

// A guest that ended before its picture was due is pictured at its end.
absl::Status Screendump::AtEnd() { return written_ ? absl::OkStatus() : Write(); }

}  // namespace atl::run
