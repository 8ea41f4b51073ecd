// SPDX-License-Identifier: Apache-2.0
// A guest's console for commands that do one thing and end: each call waits for
// its answer.
#ifndef CMD_VNC_GUEST_SESSION_H_
#define CMD_VNC_GUEST_SESSION_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/console/viewer.h"
#include "lib/ui/screen.h"
#include "lib/ui/surface.h"

namespace atl::vnc {

class GuestSession final : private console::ViewerEvents {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kPatience{10};  // for an answer

  static absl::StatusOr<std::unique_ptr<GuestSession>> Attach(const std::string& guest,
                                                              bool view_only);

  // What shows now.
  absl::StatusOr<ui::Surface> Picture();
  // Without cells where no text does.
  absl::StatusOr<ui::TextScreen> Text();
  // False where nothing changed until `deadline`.
  absl::StatusOr<bool> WaitForChange(Clock::time_point deadline);

  absl::Status Key(bool down, uint8_t code, uint32_t keysym);
  // Waits until the guest has taken the keys before, however long it takes.
  absl::Status Sync();

 private:
  GuestSession() = default;
  void OnMode(const console::Mode&) override {}
  void OnDamage(const std::vector<ui::Rect>&) override { changed_ = true; }
  void OnText(const ui::TextScreen& text) override { text_ = text; }
  void OnSynced(uint32_t id) override { synced_ = id; }

  // Receives until `done`; DeadlineExceeded says that `what` did not come.
  template <typename Done>
  absl::Status Until(Done done, Clock::time_point deadline, absl::string_view what);

  std::string guest_;
  std::unique_ptr<console::Viewer> viewer_;
  bool changed_ = false;
  std::optional<ui::TextScreen> text_;
  uint32_t sent_ = 0, synced_ = 0;
};

}  // namespace atl::vnc

#endif  // CMD_VNC_GUEST_SESSION_H_
