// SPDX-License-Identifier: Apache-2.0
// A viewer that greets and then says anything, packet by packet.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/unique_fd.h"
#include "lib/console/server.h"
#include "lib/console/testing/fake_guest.h"
#include "lib/console/wire.h"

namespace {

namespace console = atl::console;

// One server for all inputs: what a viewer leaves behind is part of the test.
struct World {
  console::FakeScreen screen{100, 50};
  console::FakeInput input;
  std::unique_ptr<console::Server> server;
  World() {
    console::ServerHooks hooks;
    hooks.power = [](console::PowerAction) {};
    hooks.clipboard = [](absl::string_view) {};
    auto made = console::Server::Create({"", "fuzz", &atl::ui::Layouts()[2]}, screen, input, hooks);
    if (!made.ok()) abort();
    server = *std::move(made);
  }
  // As often as work may have been put off to the next round.
  void Serve() {
    int ends[2];
    for (int i = 0; i < 3; ++i) {
      if (pipe(ends) != 0) abort();
      close(ends[1]);
      if (!server->ServeUntil(ends[0]).ok()) abort();
      close(ends[0]);
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World& world = *new World;
  absl::StatusOr<atl::UniqueFd> fd = world.server->NewViewer({});
  if (!fd.ok()) abort();
  const auto say = [&](std::span<const uint8_t> packet) {
    (void)!send(fd->get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  };
  if (size > 0 && (data[0] & 7) != 0) {
    console::Hello hello;
    hello.view_only = (data[0] & 8) != 0;
    say(console::Encode(console::FromViewer(hello)));
  }
  std::span<const uint8_t> rest(data, size);
  const auto types = console::Types();
  while (rest.size() >= 2) {
    const console::TypeInfo& type = types[rest[0] % types.size()];
    const size_t n = std::min<size_t>({rest[1], rest.size() - 2, type.max_size});
    console::Header header{};
    header.type = type.type;
    header.size = static_cast<uint32_t>(std::max<size_t>(n, type.min_size));
    const auto* h = reinterpret_cast<const uint8_t*>(&header);
    std::vector<uint8_t> packet(h, h + sizeof header);
    packet.insert(packet.end(), rest.begin() + 2, rest.begin() + 2 + static_cast<ptrdiff_t>(n));
    packet.resize(sizeof header + header.size);
    say(packet);
    rest = rest.subspan(2 + n);
  }
  world.Serve();
  // What it says is always well-formed.
  std::vector<uint8_t> packet(console::kMaxPacket);
  for (ssize_t n;
       (n = recv(fd->get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) > 0;) {
    if (!console::DecodeFromRun(std::span<const uint8_t>(packet).first(static_cast<size_t>(n)))
             .ok()) {
      abort();
    }
  }
  fd->reset();
  world.Serve();
  return 0;
}
