// SPDX-License-Identifier: Apache-2.0
// The outside end of a serial port: a stream, and the loop's watch on its input.
#ifndef LIB_VM_CONSOLE_H_
#define LIB_VM_CONSOLE_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/char/stream.h"
#include "lib/host/event_loop.h"
#include "lib/vm/config.h"

namespace atl::vm {

// The stream that `config` describes; opens its file.
absl::StatusOr<std::unique_ptr<chr::Stream>> OpenStream(const SerialConfig& config);

// The terminal of a serial port, which a monitor shares: Ctrl-A c changes who
// gets what is typed. Loop thread.
class MuxedConsole {
 public:
  virtual ~MuxedConsole() = default;
  // `front`: whether the monitor is in front from now on. `input`: what was
  // typed while it is. Once.
  virtual void Attach(std::function<void(bool)> front,
                      std::function<void(absl::string_view)> input) = 0;
  virtual void Write(absl::string_view text) = 0;
};

// Moves input from the stream's descriptor into it and tells the device, and
// what the device wrote, a few bytes together, out of it. Made
// and destroyed on the loop thread (or before it runs).
class ConsolePump {
 public:
  // `input_ready` tells the device, under its lock. The stream, which the
  // device reads from, outlives the pump.
  ConsolePump(host::EventLoop& loop, chr::Stream& stream, std::function<void()> input_ready);
  ~ConsolePump();
  ConsolePump(const ConsolePump&) = delete;
  ConsolePump& operator=(const ConsolePump&) = delete;

  absl::Status Start();

 private:
  // Shared with what the loop has been asked to do later, which may come after
  // the pump is gone.
  struct State;
  static void Update(const std::shared_ptr<State>& state);
  static void Readable(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;
  std::unique_ptr<host::LoopTimer> flush_;
};

}  // namespace atl::vm

#endif  // LIB_VM_CONSOLE_H_
