// SPDX-License-Identifier: Apache-2.0
// Whatever a peer sends, through the whole stack: sniffing, HTTP, WebSocket, TLS
// records, the security types and every message. The first byte picks the
// server's set-up, the second how the bytes come in pieces.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "lib/rfb/connection.h"
#include "lib/rfb/testing/frames.h"

namespace atl::rfb {
namespace {

class NoGuest final : public Guest {
 public:
  void Key(bool, uint8_t, uint32_t) override {}
  void PointAt(unsigned, unsigned, Wheel, uint8_t) override {}
  void Move(int, int, Wheel, uint8_t) override {}
  void SetClipboard(absl::string_view) override {}
  bool Power(PowerAction) override { return true; }
  bool Resize(unsigned, unsigned) override { return true; }
  void Ask(bool) override {}
};

struct World {
  World() {
    frame.Resize(72, 40);
    Draw(testing::FrameKind::kDesk, 1, &frame);
    desktop.width = 72;
    desktop.height = 40;
    desktop.name = "fuzz";
    desktop.clipboard = "text";
    desktop.has_cursor = true;
    desktop.cursor = {4, 4, 1, 1, std::vector<uint32_t>(16, 0x80FFFFFF)};
    desktop.shadow = std::make_unique<Shadow>(72, 40);
    const ui::Rect all{0, 0, 72, 40};
    desktop.shadow->Update(testing::PictureOf(frame), std::span(&all, 1));
    absl::StatusOr<std::shared_ptr<TlsCredentials>> tls = LoadTls({});
    for (unsigned i = 0; i < 8; ++i) {
      Access& a = access[i];
      if ((i & 1) != 0) {
        a.auth = Auth::kVnc;
        a.passwords = {MakeVncPassword("x", false)};
      }
      if ((i & 2) != 0 && tls.ok()) {
        a.tls = *tls;
        a.tls_required = (i & 4) != 0;
      }
    }
    files.files = {{"/vnc.html", "page"}};
  }
  ui::Surface frame;
  Desktop desktop;
  Access access[8];
  WebFiles files;
  NoGuest guest;
};

}  // namespace
}  // namespace atl::rfb

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl::rfb;  // NOLINT: a fuzz target is this function alone
  static const auto* const world = new World;
  if (size < 2) return 0;
  NoGuest guest;
  const Surroundings surroundings{&world->access[data[0] & 7], &world->desktop, &guest,
                                  &world->files};
  Connection connection(surroundings,
                        (data[0] & 8) != 0 ? Connection::Speaks::kEither : Connection::Speaks::kRfb,
                        (data[0] & 16) != 0);
  const size_t piece = data[1] == 0 ? size : data[1];
  connection.Start();
  std::span<const uint8_t> rest(data + 2, size - 2);
  while (!rest.empty()) {
    const std::span<const uint8_t> now = rest.first(std::min(rest.size(), piece));
    if (!connection.Receive(now).ok() || !connection.Pump().ok()) break;
    // Half of the viewers read what they get.
    if ((data[0] & 32) == 0) {
      connection.wire().Clear();
      if (!connection.WireTook().ok()) break;
    }
    rest = rest.subspan(now.size());
  }
  return 0;
}
