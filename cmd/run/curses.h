// SPDX-License-Identifier: Apache-2.0
// -display curses: the guest's text screen in this terminal, and the terminal's
// keys as the guest's keyboard.
#ifndef CMD_RUN_CURSES_H_
#define CMD_RUN_CURSES_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "lib/host/event_loop.h"
#include "lib/ui/screen.h"

namespace atl::run {

class CursesDisplay {
 public:
  // Takes the terminal over until destroyed; all on the loop thread, one at a
  // time. `quit`: somebody typed Ctrl-A x. FailedPrecondition where standard
  // input or output is no terminal.
  static absl::StatusOr<std::unique_ptr<CursesDisplay>> Create(host::EventLoop& loop,
                                                               ui::Screen& screen, ui::Input& input,
                                                               std::function<void()> quit);
  virtual ~CursesDisplay() = default;

  // The terminal has another size: SIGWINCH.
  virtual void Resized() = 0;
};

}  // namespace atl::run

#endif  // CMD_RUN_CURSES_H_
