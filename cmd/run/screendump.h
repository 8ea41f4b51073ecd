// SPDX-License-Identifier: Apache-2.0
// -screendump: a picture of the guest's screen at its end, or at a time.
#ifndef CMD_RUN_SCREENDUMP_H_
#define CMD_RUN_SCREENDUMP_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "cmd/run/options.h"
#include "lib/host/event_loop.h"
#include "lib/ui/screen.h"

namespace atl::run {

class Screendump {
 public:
  // `failed` hears of a picture that could not be written at its time. The loop
  // and the screen outlive the object; all calls on the loop thread.
  Screendump(const ScreendumpOptions& options, host::EventLoop& loop, ui::Screen& screen,
             std::function<void(const absl::Status&)> failed);

  // The guest has ended, its screen is still there.
  absl::Status AtEnd();

 private:
  absl::Status Write();

  const ScreendumpOptions options_;
  ui::Screen& screen_;
  bool written_ = false;
  std::unique_ptr<host::LoopTimer> timer_;
};

}  // namespace atl::run

#endif  // CMD_RUN_SCREENDUMP_H_
