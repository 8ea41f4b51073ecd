// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "lib/char/input_buffer.h"
#include "lib/char/output_buffer.h"
#include "lib/char/stream.h"

namespace atl::chr {
namespace {

constexpr uint8_t kEscape = 0x01;  // Ctrl-A

// The terminal of the process: there is one, whoever restores it.
termios original;
std::atomic<bool> is_raw{false};

void MakeRaw(bool signals) {
  // In the background, changing the terminal would stop the process.
  if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp()) return;
  if (is_raw || tcgetattr(STDIN_FILENO, &original) != 0) return;
  termios raw = original;
  raw.c_iflag &=
      ~static_cast<tcflag_t>(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
  // Output stays cooked: other lines on this terminal come from here, too.
  raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON | IEXTEN);
  if (!signals) raw.c_lflag &= ~static_cast<tcflag_t>(ISIG);
  raw.c_cflag = (raw.c_cflag & ~static_cast<tcflag_t>(CSIZE | PARENB)) | CS8;
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0) is_raw = true;
}

class StdioStream final : public Stream {
 public:
  explicit StdioStream(bool signals) : output_(STDOUT_FILENO) { MakeRaw(signals); }
  ~StdioStream() override { RestoreTerminal(); }

  size_t Read(std::span<uint8_t> to) override { return input_.Take(to, room_); }
  void Write(std::span<const uint8_t> bytes) override { output_.Write(bytes); }
  void SetLater(std::function<void()> later) override { output_.SetLater(std::move(later)); }
  bool FlushReady() override { return output_.FlushReady(); }

  int input_fd() const override { return STDIN_FILENO; }
  bool WantsInput() const override { return !ended_ && input_.room() != 0; }
  void SetRoomHandler(std::function<void()> handler) override { room_ = std::move(handler); }
  void SetEscapeHandler(std::function<void(Escape)> handler) override {
    escape_ = std::move(handler);
  }

  void SetMonitor(std::function<void(bool)> front,
                  std::function<void(absl::string_view)> input) override {
    monitor_front_ = std::move(front);
    monitor_input_ = std::move(input);
  }

  bool OnReadable() override {
    uint8_t bytes[512];
    const size_t room = std::min(input_.room(), sizeof bytes);
    pollfd p{STDIN_FILENO, POLLIN, 0};
    if (room == 0 || poll(&p, 1, 0) <= 0) return false;
    const ssize_t n = read(STDIN_FILENO, bytes, room);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) ended_ = true;
    if (n <= 0) return false;
    size_t kept = 0;
    for (ssize_t i = 0; i < n; ++i) {
      if (Escaped(bytes[i])) continue;
      if (in_monitor_) {
        const char typed = static_cast<char>(bytes[i]);
        monitor_input_({&typed, 1});
      } else {
        bytes[kept++] = bytes[i];
      }
    }
    input_.Add({bytes, kept});
    return kept != 0;
  }

 private:
  // Whether the byte is part of an escape sequence and not for the guest.
  bool Escaped(uint8_t byte) {
    if (!std::exchange(after_escape_, false)) {
      after_escape_ = byte == kEscape && isatty(STDIN_FILENO);
      return after_escape_;
    }
    switch (byte) {
      case 'x':
        return Ask(Escape::kQuit);
      case 'c':
        if (!monitor_front_) return Ask(Escape::kMonitor);
        in_monitor_ = !in_monitor_;
        monitor_front_(in_monitor_);
        return true;
      case 'b':
        return Ask(Escape::kBreak);
      case kEscape:
        return false;  // twice is itself
      default:
        return true;
    }
  }
  bool Ask(Escape what) {
    if (escape_) escape_(what);
    return true;
  }

  InputBuffer input_;
  OutputBuffer output_;
  std::function<void()> room_;
  std::function<void(Escape)> escape_;
  std::function<void(bool)> monitor_front_;
  std::function<void(absl::string_view)> monitor_input_;
  bool in_monitor_ = false;
  bool after_escape_ = false;
  bool ended_ = false;
};

}  // namespace

void RestoreTerminal() {
  if (is_raw.exchange(false)) tcsetattr(STDIN_FILENO, TCSANOW, &original);
}

std::unique_ptr<Stream> NewStdioStream(bool signals) {
  return std::make_unique<StdioStream>(signals);
}

}  // namespace atl::chr
