// SPDX-License-Identifier: Apache-2.0
// What a peer at the other end of a stream socket says, byte by byte as it may come, while the
// hub has room or not; and what the machine sends it meanwhile. The frames that come out are
// compared with those that a parser of four lines finds.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/endian.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/net/frame.h"
#include "lib/net/stream.h"
#include "lib/net/testing/fake_port.h"
#include "lib/net/vnet_header.h"

namespace atl::net {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr int kMaxSteps = 200;

// The records of `said` up to one that is too long; `closed` where there is such a one.
std::vector<Bytes> Records(const Bytes& said, size_t most, bool* closed) {
  std::vector<Bytes> out;
  for (size_t at = 0; said.size() - at >= 4;) {
    const size_t size = LoadBe<uint32_t>(&said[at]);
    *closed = size > most;
    if (*closed || said.size() - at - 4 < size) break;
    const auto begin = said.begin() + static_cast<ptrdiff_t>(at + 4);
    out.emplace_back(begin, begin + static_cast<ptrdiff_t>(size));
    at += 4 + size;
  }
  return out;
}

void Run(std::span<const uint8_t> input) {
  size_t at = 0;
  const auto byte = [&] { return at < input.size() ? input[at++] : uint8_t{0}; };
  const bool vnet = byte() & 1;
  auto loop = *host::EventLoop::Create();
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) return;
  UniqueFd peer(ends[1]);
  FakePort port;
  port.peer_offloads = port.accepts = {true, true, true, true, true, true};
  StreamOptions options = {.name = "fuzz", .vnet_header = vnet};
  if (vnet) options.accepts = port.peer_offloads;
  auto stream = *NewStream(UniqueFd(ends[0]), options);
  int warnings = 0;
  port.Connect(stream.get());
  if (!stream->Start(*loop, port, [&](absl::string_view) { ++warnings; }).ok()) return;
  const auto turn = [&] {
    loop->Quit();
    loop->Run();
  };
  const auto hear = [&](size_t most) {
    static uint8_t bytes[1 << 16];
    (void)!recv(peer.get(), bytes, std::min(most, sizeof bytes), MSG_DONTWAIT);
  };

  Bytes said;
  const auto say = [&](Bytes bytes) {
    const ssize_t n = send(peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) said.insert(said.end(), bytes.begin(), bytes.begin() + n);
  };
  for (int steps = 0; at < input.size() && steps < kMaxSteps; ++steps) {
    const uint8_t what = byte();
    switch (what & 7) {
      case 0:
      case 1: {  // any bytes
        const size_t size = std::min<size_t>(byte(), input.size() - at);
        say(Bytes(input.begin() + static_cast<ptrdiff_t>(at),
                  input.begin() + static_cast<ptrdiff_t>(at + size)));
        at += size;
        break;
      }
      case 2: {  // a record, with a header of anything
        Bytes record(4 + (vnet ? kVnetHeaderBytes : 0) +
                     byte() * size_t{(what & 8) != 0 ? 257u : 1u});
        StoreBe(record.data(), static_cast<uint32_t>(record.size() - 4));
        const size_t size = std::min({size_t{40}, record.size() - 4, input.size() - at});
        std::copy_n(input.begin() + static_cast<ptrdiff_t>(at), size, record.begin() + 4);
        at += size;
        say(std::move(record));
        break;
      }
      case 3:
        port.room = (what & 8) != 0 ? ~0u : byte();
        break;
      case 4:
        port.MakeRoom((what & 8) != 0 ? ~0u : byte());
        break;
      case 5: {  // the machine sends
        Work work;
        work.needs_checksum = what & 8;
        work.checksum_start = 14;
        port.Deliver(Bytes(kEthernetHeader + 2 + byte() * size_t{250}, what), work);
        break;
      }
      case 6:
        hear((what & 8) != 0 ? byte() : ~size_t{0});
        break;
      case 7:
        turn();
        break;
    }
  }
  // All that was said is read in the end.
  for (int i = 0; i < 2000 && warnings == 0; ++i) {
    uint8_t bytes[1];
    const size_t before = port.sent.size() + port.malformed + port.not_accepted;
    port.MakeRoom(~0u);
    hear(~size_t{0});
    turn();
    if (before == port.sent.size() + port.malformed + port.not_accepted &&
        recv(peer.get(), bytes, 1, MSG_PEEK | MSG_DONTWAIT) <= 0 && i > 20) {
      break;
    }
  }
  bool closed = false;
  const size_t extra = vnet ? kVnetHeaderBytes : 0;
  const std::vector<Bytes> records = Records(said, extra + kMaxFrame, &closed);
  if (closed != (warnings != 0) || port.link == closed) abort();
  size_t found = 0;
  unsigned dropped = 0;
  for (const Bytes& r : records) {
    Frame frame;
    frame.bytes = std::span(r).subspan(std::min(extra, r.size()));
    if (vnet) {
      VnetHeader header;
      if (r.size() < sizeof header) continue;
      memcpy(&header, r.data(), sizeof header);
      const std::optional<Work> work = WorkFrom(header);
      if (!work) continue;
      frame.work = *work;
    }
    if (!WellFormed(frame)) {
      ++dropped;
      continue;
    }
    if (found == port.sent.size() || !std::ranges::equal(port.sent[found].bytes, frame.bytes)) {
      abort();
    }
    ++found;
  }
  if (found != port.sent.size() || dropped != port.malformed || port.not_accepted != 0) abort();
  port.Connect(nullptr);
  stream.reset();
}

}  // namespace
}  // namespace atl::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  atl::net::Run({data, size});
  return 0;
}
