// SPDX-License-Identifier: Apache-2.0
// A connection with no socket: what a test's viewer writes goes in, what it is
// sent is kept. The guest behind it notes what it gets.
#ifndef LIB_RFB_TESTING_RIG_H_
#define LIB_RFB_TESTING_RIG_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "lib/rfb/connection.h"
#include "lib/rfb/encoder_pool.h"
#include "lib/rfb/guest.h"
#include "lib/rfb/testing/client.h"
#include "lib/rfb/testing/frames.h"

namespace atl::rfb::testing {

class FakeGuest final : public Guest {
 public:
  void Key(bool down, uint8_t code, uint32_t keysym) override {
    said.push_back(absl::StrCat("key ", down ? "down " : "up ", int{code}, " ", keysym));
  }
  void PointAt(unsigned x, unsigned y, Wheel wheel, uint8_t buttons) override {
    said.push_back(absl::StrCat("point ", x, ",", y, " ", wheel.down, " ", int{buttons}));
  }
  void Move(int dx, int dy, Wheel wheel, uint8_t buttons) override {
    said.push_back(absl::StrCat("move ", dx, ",", dy, " ", wheel.down, " ", int{buttons}));
  }
  void SetClipboard(absl::string_view text) override {
    said.push_back(absl::StrCat("clipboard ", text));
  }
  bool Power(PowerAction action) override {
    said.push_back(absl::StrCat("power ", static_cast<int>(action)));
    return power;
  }
  bool Resize(unsigned width, unsigned height) override {
    said.push_back(absl::StrCat("resize ", width, "x", height));
    return resize;
  }
  void Ask(bool) override { ++asked; }

  std::vector<std::string> said;
  unsigned asked = 0;
  bool power = true, resize = false;
};

class Rig {
 public:
  explicit Rig(unsigned width = 320, unsigned height = 200, Access with = {},
               Connection::Speaks speaks = Connection::Speaks::kRfb, bool view_only = false,
               EncoderPool* pool = nullptr)
      : access(std::move(with)), view(width, height) {
    frame.Resize(width, height);
    Draw(FrameKind::kDesk, 1, &frame);
    desktop.width = width;
    desktop.height = height;
    desktop.name = "a guest";
    desktop.shadow = std::make_unique<Shadow>(width, height);
    Update();
    surroundings = {&access, &desktop, &guest, nullptr};
    surroundings.pool = pool;
    connection = std::make_unique<Connection>(surroundings, speaks, view_only);
    connection->Start();
  }

  absl::Status Write(absl::string_view bytes) {
    return connection->Receive(
        std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
  }
  // What was sent since the last call; as if the wire had taken it.
  std::string Read() {
    Output& wire = connection->wire();
    std::string out(reinterpret_cast<const char*>(wire.data()), wire.size());
    wire.Clear();
    return out;
  }
  // Version 3.8, no security, ServerInit: what a viewer of these days does.
  absl::Status Enter() {
    for (const std::string& s : {std::string("RFB 003.008\n"), std::string("\1"), ClientInit()}) {
      absl::Status status = Write(s);
      if (!status.ok()) return status;
    }
    Read();
    return absl::OkStatus();
  }
  // Messages, then everything that follows of them until there is no more.
  absl::Status Say(absl::string_view messages) {
    absl::Status status = Write(messages);
    if (!status.ok()) return status;
    return Settle();
  }
  absl::Status Settle() {
    for (int i = 0; i < 1000; ++i) {
      absl::Status status = connection->Pump();
      if (!status.ok()) return status;
      const std::string bytes = Read();
      if (bytes.empty()) return absl::OkStatus();
      bytes_sent += bytes.size();
      status = view.Take(std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
      if (!status.ok()) return status;
      status = connection->WireTook();
      if (!status.ok()) return status;
    }
    return absl::InternalError("it never ends");
  }
  ui::Rect Whole() const { return {0, 0, frame.width, frame.height}; }
  // The whole frame is taken over; what changed of it is told.
  Change Update() {
    const ui::Rect all = Whole();
    Change change = desktop.shadow->Update(PictureOf(frame), std::span(&all, 1));
    if (connection != nullptr && connection->session() != nullptr) {
      connection->session()->PictureChanged(change);
    }
    return change;
  }
  // Pixels of the view that are not what the frame has, through its format.
  size_t Wrong() const {
    size_t out = 0;
    for (unsigned y = 0; y < frame.height; ++y) {
      for (unsigned x = 0; x < frame.width; ++x) {
        out += view.picture().Row(y)[x] != view.Through(frame.Row(y)[x]) ? 1 : 0;
      }
    }
    return out;
  }

  Access access;
  FakeGuest guest;
  ui::Surface frame;
  Desktop desktop;
  Surroundings surroundings;
  std::unique_ptr<Connection> connection;
  Client view;
  size_t bytes_sent = 0;
};

}  // namespace atl::rfb::testing

#endif  // LIB_RFB_TESTING_RIG_H_
