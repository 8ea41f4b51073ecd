// SPDX-License-Identifier: Apache-2.0
// Between a guest's console socket (lib/console) and the server of its viewers
// (lib/rfb).
#ifndef CMD_VNC_CONSOLE_LINK_H_
#define CMD_VNC_CONSOLE_LINK_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "lib/console/viewer.h"
#include "lib/host/event_loop.h"
#include "lib/rfb/guest.h"
#include "lib/rfb/server.h"

namespace atl::vnc {

// Loop thread.
class ConsoleLink final : public rfb::Guest, private console::ViewerEvents {
 public:
  // All outlive it. `ended` is called once, when there is no guest any more.
  ConsoleLink(console::Viewer* viewer, host::EventLoop* loop,
              std::function<void(absl::Status)> ended)
      : viewer_(*viewer), loop_(*loop), ended_(std::move(ended)) {}

  // The server is told everything that the console has said.
  absl::Status Start(rfb::Server* server);

  void Key(bool down, uint8_t code, uint32_t keysym) override;
  void PointAt(unsigned x, unsigned y, rfb::Wheel wheel, uint8_t buttons) override;
  void Move(int dx, int dy, rfb::Wheel wheel, uint8_t buttons) override;
  void SetClipboard(absl::string_view text) override;
  bool Power(rfb::PowerAction action) override;
  bool Resize(unsigned width, unsigned height) override;
  void Ask(bool all) override;

 private:
  void OnMode(const console::Mode& mode) override;
  void OnDamage(const std::vector<ui::Rect>& rects) override;
  void OnCursor(const console::Cursor& cursor) override;
  void OnPointerMode(bool absolute) override;
  void OnLeds(uint8_t lit) override;
  void OnName(absl::string_view name) override;
  void OnClipboard(absl::string_view text) override;

  void Serve(uint32_t events);
  void Sent(const absl::Status& status);
  void End(absl::Status status);

  console::Viewer& viewer_;
  host::EventLoop& loop_;
  std::function<void(absl::Status)> ended_;
  rfb::Server* server_ = nullptr;
  std::unique_ptr<host::FdWatch> watch_;
};

}  // namespace atl::vnc

#endif  // CMD_VNC_CONSOLE_LINK_H_
