// SPDX-License-Identifier: Apache-2.0
// A viewer's end of the console socket.
//
// The framebuffer is memory that `run` writes while it is looked at: copy pixels
// out once and use the copy, or live with a torn picture; what was torn is
// damaged again. Mind that the same pixel may be two values when read twice.
//
// Thread rule: everything on one thread (an event loop's, where fd() is watched),
// but CopyOut() and the pixels: any thread between two calls of Receive().
#ifndef LIB_CONSOLE_VIEWER_H_
#define LIB_CONSOLE_VIEWER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/console/wire.h"
#include "lib/ui/surface.h"

namespace atl::console {

// What run has to say. Called from within Receive() only; may call every
// function of the viewer but Receive().
class ViewerEvents {
 public:
  virtual ~ViewerEvents() = default;
  // The picture has another size, place or kind; all of it is damaged. The first
  // one comes before anything is shown.
  virtual void OnMode(const Mode& mode) = 0;
  // Tiles joined along their rows, from the top, disjoint, inside the picture.
  // One for each Ask(); then ask again when the next one is wanted.
  virtual void OnDamage(const std::vector<ui::Rect>& rects) = 0;
  virtual void OnCursor(const Cursor&) {}
  virtual void OnPointerMode(bool /*absolute*/) {}
  virtual void OnLeds(uint8_t /*lit*/) {}
  virtual void OnName(absl::string_view /*name*/) {}
  virtual void OnClipboard(absl::string_view /*text*/) {}
  virtual void OnText(const ui::TextScreen&) {}
  virtual void OnSynced(uint32_t /*id*/) {}
};

class Viewer {
 public:
  // Input that waits because run does not read it: more is refused.
  static constexpr size_t kMaxWaiting = 1024;

  // Connects and greets; waits for the answer at most `timeout_ms`. Unavailable
  // where nobody listens; errors name the path.
  static absl::StatusOr<std::unique_ptr<Viewer>> Connect(const std::string& path,
                                                         bool view_only = false,
                                                         int timeout_ms = 5000);
  // The same over a connected socket; `name` stands for it in errors.
  static absl::StatusOr<std::unique_ptr<Viewer>> Greet(UniqueFd socket, absl::string_view name,
                                                       bool view_only = false,
                                                       int timeout_ms = 5000);
  ~Viewer();
  Viewer(const Viewer&) = delete;
  Viewer& operator=(const Viewer&) = delete;

  // To be watched: readable (Receive()), and writable too (Flush()) while
  // wants_write().
  int fd() const { return socket_.get(); }
  bool wants_write() const { return !waiting_.empty(); }

  // Everything that has come, without waiting. Unavailable: the guest has ended
  // or run has closed the socket, and why; other errors: it said nonsense. Both
  // are the end.
  absl::Status Receive(ViewerEvents& events);
  // What waits to be sent, as far as there is room.
  absl::Status Flush();
  // Waits until there is something to receive (true), or the time is over.
  absl::StatusOr<bool> Wait(int timeout_ms);

  // The next damage is wanted; once until it has come. `all`: the whole picture.
  absl::Status Ask(bool all = false);
  // ResourceExhausted where too much waits, FailedPrecondition where run takes
  // none from us. `code`, `keysym`: see Key in wire.h.
  absl::Status SendKey(bool down, uint8_t code, uint32_t keysym);
  absl::Status SendPointer(const Pointer& pointer);
  absl::Status SendClipboard(absl::string_view text);
  absl::Status SendPower(PowerAction action);
  absl::Status AskText();
  absl::Status SendSync(uint32_t id);

  const Welcome& welcome() const { return welcome_; }
  // As last told; nothing before.
  const std::optional<Mode>& mode() const { return mode_; }
  const std::string& name() const { return guest_name_; }
  uint8_t leds() const { return leds_; }
  bool absolute() const { return absolute_; }

  // Row `y` of the picture, mode()->width pixels that change under the reader.
  const uint32_t* Row(unsigned y) const;
  // `rect`, cut to the picture, into the same place of `to`, which has the mode's
  // size or nothing is copied.
  void CopyOut(const ui::Rect& rect, ui::Surface& to) const;

 private:
  Viewer(UniqueFd socket, absl::string_view name) : socket_(std::move(socket)), name_(name) {}
  absl::Status Start(bool view_only, int timeout_ms);
  absl::Status Send(const FromViewer& message);
  // One packet, if there is one; `fd` gets a descriptor that came with it.
  absl::StatusOr<bool> Read(std::vector<uint8_t>* packet, UniqueFd* fd);
  absl::Status Take(const FromRun& message, ViewerEvents& events);
  absl::Status Error(absl::string_view what) const;

  UniqueFd socket_;
  const std::string name_;
  const uint8_t* memory_ = nullptr;
  Welcome welcome_;
  std::optional<Mode> mode_;
  std::string guest_name_;
  uint8_t leds_ = 0;
  bool absolute_ = false;
  bool asked_ = false;
  std::deque<std::vector<uint8_t>> waiting_;
  std::vector<uint8_t> buffer_;
};

}  // namespace atl::console

#endif  // LIB_CONSOLE_VIEWER_H_
