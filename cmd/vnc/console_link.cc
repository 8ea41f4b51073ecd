// SPDX-License-Identifier: Apache-2.0
#include "cmd/vnc/console_link.h"

#include <sys/epoll.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "lib/base/status_macros.h"

namespace atl::vnc {
namespace {

template <typename T>
T Cut(int v) {
  return static_cast<T>(
      std::clamp<int>(v, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
}

}  // namespace

absl::Status ConsoleLink::Start(rfb::Server* server) {
  server_ = server;
  ASSIGN_OR_RETURN(watch_,
                   loop_.Watch(viewer_.fd(), EPOLLIN, [this](uint32_t events) { Serve(events); }));
  if (viewer_.mode()) OnMode(*viewer_.mode());
  if (!viewer_.name().empty()) OnName(viewer_.name());
  OnLeds(viewer_.leds());
  OnPointerMode(viewer_.absolute());
  // So that there is a picture for the first who comes.
  Sent(viewer_.Ask());
  return absl::OkStatus();
}

void ConsoleLink::Serve(uint32_t events) {
  absl::Status status;
  if ((events & EPOLLOUT) != 0) status = viewer_.Flush();
  if (status.ok() && (events & ~uint32_t{EPOLLOUT}) != 0) status = viewer_.Receive(*this);
  if (!status.ok()) {
    End(std::move(status));
    return;
  }
  Sent(absl::OkStatus());
}

// What run does not take while it is busy is lost, as on a real keyboard's
// buffer; that it has gone shows when it is read.
void ConsoleLink::Sent(const absl::Status&) {
  if (watch_ == nullptr) return;
  const uint32_t events = EPOLLIN | (viewer_.wants_write() ? uint32_t{EPOLLOUT} : 0);
  if (watch_->events() != events) watch_->SetEvents(events);
}

void ConsoleLink::End(absl::Status status) {
  if (watch_ != nullptr) watch_->SetEvents(0);
  if (ended_) std::exchange(ended_, nullptr)(std::move(status));
}

void ConsoleLink::Key(bool down, uint8_t code, uint32_t keysym) {
  Sent(viewer_.SendKey(down, code, keysym));
}

void ConsoleLink::PointAt(unsigned x, unsigned y, rfb::Wheel wheel, uint8_t buttons) {
  if (!viewer_.mode()) return;
  Sent(viewer_.SendPointer({.absolute = true,
                            .buttons = buttons,
                            .wheel = Cut<int8_t>(wheel.down),
                            .wheel_right = Cut<int8_t>(wheel.right),
                            .x = Cut<int16_t>(static_cast<int>(x)),
                            .y = Cut<int16_t>(static_cast<int>(y)),
                            .width = static_cast<uint16_t>(viewer_.mode()->width),
                            .height = static_cast<uint16_t>(viewer_.mode()->height)}));
}

void ConsoleLink::Move(int dx, int dy, rfb::Wheel wheel, uint8_t buttons) {
  Sent(viewer_.SendPointer({.buttons = buttons,
                            .wheel = Cut<int8_t>(wheel.down),
                            .wheel_right = Cut<int8_t>(wheel.right),
                            .x = Cut<int16_t>(dx),
                            .y = Cut<int16_t>(dy)}));
}

void ConsoleLink::SetClipboard(absl::string_view text) { Sent(viewer_.SendClipboard(text)); }

bool ConsoleLink::Power(rfb::PowerAction action) {
  if (!viewer_.welcome().power) return false;
  // A guest cannot be asked to restart but by the reset button.
  const absl::Status status =
      viewer_.SendPower(action == rfb::PowerAction::kShutdown ? console::PowerAction::kShutDown
                                                              : console::PowerAction::kReset);
  Sent(status);
  return status.ok();
}

bool ConsoleLink::Resize(unsigned, unsigned) { return false; }

void ConsoleLink::Ask(bool all) { Sent(viewer_.Ask(all)); }

void ConsoleLink::OnMode(const console::Mode& mode) {
  server_->SetPicture({.pixels = viewer_.Row(0),
                       .width = mode.width,
                       .height = mode.height,
                       .stride = mode.stride / 4});
}

void ConsoleLink::OnDamage(const std::vector<ui::Rect>& rects) { server_->Changed(rects); }

void ConsoleLink::OnCursor(const console::Cursor& cursor) {
  server_->SetCursor({.width = cursor.width,
                      .height = cursor.height,
                      .hot_x = cursor.hot_x,
                      .hot_y = cursor.hot_y,
                      .pixels = cursor.pixels});
}

void ConsoleLink::OnPointerMode(bool absolute) { server_->SetPointerAbsolute(absolute); }
void ConsoleLink::OnLeds(uint8_t lit) { server_->SetLeds(lit); }
void ConsoleLink::OnName(absl::string_view name) { server_->SetName(name); }
void ConsoleLink::OnClipboard(absl::string_view text) { server_->SetClipboard(text); }

}  // namespace atl::vnc
