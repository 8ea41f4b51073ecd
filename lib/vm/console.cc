// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/console.h"

#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "lib/base/status_macros.h"

namespace atl::vm {

absl::StatusOr<std::unique_ptr<chr::Stream>> OpenStream(const SerialConfig& config) {
  switch (config.kind) {
    case SerialKind::kStdio:
      return chr::NewStdioStream(/*signals=*/false);
    case SerialKind::kFile:
      return chr::NewFileStream(config.path);
    case SerialKind::kNull:
    case SerialKind::kNone:
      return chr::NewNullStream();
  }
  return absl::InvalidArgumentError("unknown kind of character device");
}

// How long output waits to go out together: no one sees it, and it is much
// against the microsecond that the guest takes for a byte.
constexpr uint64_t kTogetherNs = 1'000'000;
// Until a reader that is behind is tried again.
constexpr uint64_t kSlowReaderNs = 20'000'000;

struct ConsolePump::State {
  host::EventLoop* loop;
  chr::Stream* stream;  // null when the pump is gone
  std::function<void()> input_ready;
  std::unique_ptr<host::FdWatch> watch;
  // Input from a file or /dev/null, which epoll does not take: always readable.
  bool always_ready = false;
};

ConsolePump::ConsolePump(host::EventLoop& loop, chr::Stream& stream,
                         std::function<void()> input_ready)
    : state_(std::make_shared<State>()) {
  state_->loop = &loop;
  state_->stream = &stream;
  state_->input_ready = std::move(input_ready);
}

ConsolePump::~ConsolePump() {
  state_->stream->SetLater(nullptr);
  flush_.reset();
  state_->stream->SetRoomHandler(nullptr);
  state_->watch.reset();
  state_->stream = nullptr;
}

absl::Status ConsolePump::Start() {
  chr::Stream& stream = *state_->stream;
  flush_ = state_->loop->NewTimer([this, &stream] {
    if (!stream.FlushReady()) flush_->Arm(host::MonotonicNs() + kSlowReaderNs);
  });
  stream.SetLater([this] { flush_->Arm(host::MonotonicNs() + kTogetherNs); });
  const int fd = stream.input_fd();
  if (fd < 0) return absl::OkStatus();
  struct stat st;
  if (fstat(fd, &st) != 0) return absl::OkStatus();  // closed: there is no input
  std::weak_ptr<State> weak = state_;
  absl::StatusOr<std::unique_ptr<host::FdWatch>> watch =
      state_->loop->Watch(fd, 0, [weak](uint32_t) {
        if (std::shared_ptr<State> state = weak.lock()) Readable(state);
      });
  if (watch.ok()) {
    state_->watch = std::move(watch).value();
  } else if (watch.status().code() == absl::StatusCode::kPermissionDenied) {
    state_->always_ready = true;  // EPERM is epoll's word for "a file"
  } else {
    return watch.status();
  }
  host::EventLoop* const loop = state_->loop;
  stream.SetRoomHandler([weak, loop] {
    loop->Post([weak] {
      if (std::shared_ptr<State> state = weak.lock()) Update(state);
    });
  });
  Update(state_);
  return absl::OkStatus();
}

void ConsolePump::Update(const std::shared_ptr<State>& state) {
  if (state->stream == nullptr) return;
  const bool wants = state->stream->WantsInput();
  if (state->watch != nullptr) {
    state->watch->SetEvents(wants ? uint32_t{EPOLLIN} : 0);
  } else if (state->always_ready && wants) {
    state->loop->Post([state] {
      if (state->stream != nullptr) Readable(state);
    });
  }
}

void ConsolePump::Readable(const std::shared_ptr<State>& state) {
  if (state->stream == nullptr) return;
  if (state->stream->OnReadable()) state->input_ready();
  Update(state);
}

}  // namespace atl::vm
