// SPDX-License-Identifier: Apache-2.0
// A character stream between a guest's port and something outside: a terminal,
// a file, a socket, nothing.
//
// Two sides. The device pulls and pushes bytes, never blocking. The machine's
// loop watches input_fd() while WantsInput() and calls OnReadable(), which moves
// bytes into the stream's bounded buffer; when it returns true the machine tells
// the device, under the device's lock, that input is there, and the device reads.
// Thread rule: Read and Write from any one thread at a time, the loop's calls
// from the loop thread, both sides at once.
#ifndef LIB_CHAR_STREAM_H_
#define LIB_CHAR_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::chr {

class Stream {
 public:
  virtual ~Stream() = default;

  // Takes bytes that have come in, 0 where there are none now.
  virtual size_t Read(std::span<uint8_t> to) = 0;
  // Never blocks; what the other end does not take, past a buffer, is dropped:
  // a guest must not stop because nobody reads its console.
  virtual void Write(std::span<const uint8_t> bytes) = 0;

  // Lets what Write() takes wait a moment for more, so that it goes out together.
  // `later` is called on the writer's thread when something begins to wait;
  // FlushReady(), which never blocks, is then to follow soon, and again while it is
  // false. Set while nobody writes; null: nothing waits.
  virtual void SetLater(std::function<void()> later) { (void)later; }
  virtual bool FlushReady() { return true; }

  virtual int input_fd() const { return -1; }
  virtual bool WantsInput() const { return false; }
  virtual bool OnReadable() { return false; }
  // Called, on the device's thread, when WantsInput() becomes true again: the
  // loop is to poll input_fd() anew. Never blocks.
  virtual void SetRoomHandler(std::function<void()> handler) { (void)handler; }
  // What an escape key sequence asked for; the machine acts.
  enum class Escape { kQuit, kMonitor, kBreak };
  virtual void SetEscapeHandler(std::function<void(Escape)> handler) { (void)handler; }
  // A monitor shares the stream: what is typed goes to `input` while it is in
  // front, which escape c changes and `front` is told of. Loop thread.
  virtual void SetMonitor(std::function<void(bool)> front,
                          std::function<void(absl::string_view)> input) {
    (void)front;
    (void)input;
  }
};

// stdin and stdout, raw where they are a terminal (restored by the destructor
// and by RestoreTerminal()). Ctrl-A is the escape: x quits, c the monitor,
// b break, Ctrl-A itself. `signals`: leave Ctrl-C and the like to the tty.
std::unique_ptr<Stream> NewStdioStream(bool signals);
// Async-signal-safe; harmless where there is no stdio stream.
void RestoreTerminal();
std::unique_ptr<Stream> NewNullStream();
// Output is appended; there is no input.
absl::StatusOr<std::unique_ptr<Stream>> NewFileStream(const std::string& path);

}  // namespace atl::chr

#endif  // LIB_CHAR_STREAM_H_
