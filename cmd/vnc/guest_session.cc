// SPDX-License-Identifier: Apache-2.0
#include "cmd/vnc/guest_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/console/attach.h"

namespace atl::vnc {

absl::StatusOr<std::unique_ptr<GuestSession>> GuestSession::Attach(const std::string& guest,
                                                                   bool view_only) {
  std::unique_ptr<GuestSession> out(new GuestSession);
  out->guest_ = guest;
  ASSIGN_OR_RETURN(out->viewer_, console::Attach(guest, view_only));
  return out;
}

template <typename Done>
absl::Status GuestSession::Until(Done done, Clock::time_point deadline, absl::string_view what) {
  constexpr std::chrono::milliseconds kStep{1000};
  RETURN_IF_ERROR(viewer_->Receive(*this));
  while (!done()) {
    const Clock::time_point now = Clock::now();
    if (now >= deadline) return absl::DeadlineExceededError(absl::StrCat(guest_, ": ", what));
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - now);
    RETURN_IF_ERROR(viewer_->Wait(static_cast<int>(std::min(left, kStep).count()) + 1).status());
    RETURN_IF_ERROR(viewer_->Receive(*this));
  }
  return absl::OkStatus();
}

absl::StatusOr<ui::Surface> GuestSession::Picture() {
  changed_ = false;
  RETURN_IF_ERROR(viewer_->Ask(/*all=*/true));
  RETURN_IF_ERROR(Until([this] { return changed_; }, Clock::now() + kPatience, "no picture comes"));
  ui::Surface out;
  const console::Mode& mode = *viewer_->mode();
  out.Resize(mode.width, mode.height);
  viewer_->CopyOut({0, 0, mode.width, mode.height}, out);
  // What the fourth byte holds is nothing to see.
  for (uint32_t& pixel : out.pixels) pixel &= 0xFFFFFF;
  return out;
}

absl::StatusOr<ui::TextScreen> GuestSession::Text() {
  text_.reset();
  RETURN_IF_ERROR(viewer_->AskText());
  RETURN_IF_ERROR(Until([this] { return text_.has_value(); }, Clock::now() + kPatience,
                        "no answer from the console"));
  return *std::move(text_);
}

absl::StatusOr<bool> GuestSession::WaitForChange(Clock::time_point deadline) {
  changed_ = false;
  RETURN_IF_ERROR(viewer_->Ask());
  const absl::Status status = Until([this] { return changed_; }, deadline, "");
  if (absl::IsDeadlineExceeded(status)) return false;
  RETURN_IF_ERROR(status);
  return true;
}

absl::Status GuestSession::Key(bool down, uint8_t code, uint32_t keysym) {
  return viewer_->SendKey(down, code, keysym);
}

absl::Status GuestSession::Sync() {
  RETURN_IF_ERROR(viewer_->SendSync(++sent_));
  return Until([this] { return synced_ == sent_; }, Clock::time_point::max(), "");
}

}  // namespace atl::vnc
