// SPDX-License-Identifier: Apache-2.0
// Two hostile guests at stream sockets, and somebody at the control socket: bytes as they are,
// records of any length, guests that do not read, or go and come in the middle of anything.
//
// Each step is a byte that says what it is, then its bytes. What a guest hears is taken apart:
// whole records, each a frame. Nothing reaches the host.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "lib/base/endian.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/engine.h"
#include "lib/usernet/host_side.h"
#include "lib/usernet/layout.h"
#include "lib/usernet/link.h"
#include "lib/usernet/options.h"
#include "lib/usernet/testing/guest.h"

namespace atl::usernet {
namespace {

using testing_guest::Bytes;

constexpr size_t kVnetHeader = 12;
constexpr int kMaxSteps = 300;

// Sockets without anybody behind them.
class DeafHost final : public HostSide {
 public:
  using HostSide::HostSide;
  absl::StatusOr<UniqueFd> ConnectTcp(const Endpoint&) override { return Half(SOCK_STREAM); }
  absl::StatusOr<UniqueFd> ListenTcp(const Endpoint&) override { return Half(SOCK_STREAM); }
  absl::StatusOr<UniqueFd> Datagram(const Endpoint&) override { return Half(SOCK_DGRAM); }
  absl::StatusOr<UniqueFd> Ping(bool) override { return Half(SOCK_DGRAM); }

 private:
  absl::StatusOr<UniqueFd> Half(int type) {
    int fds[2];
    if (++made_ > 64 || socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
      return absl::ResourceExhaustedError("enough");
    }
    others_.emplace_back(fds[1]);
    return UniqueFd(fds[0]);
  }
  int made_ = 0;
  std::vector<UniqueFd> others_;
};

struct Guest {
  UniqueFd socket;
  bool vnet = false;
  Bytes heard;  // the head of a record

  void Come(Engine* engine, bool with_header) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) return;
    // So that it is full soon.
    const int small = 4096;
    setsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    *this = {};
    vnet = with_header;
    socket.reset(fds[0]);
    (void)engine->AddStream(UniqueFd(fds[1]), with_header);
  }
  void Say(std::span<const uint8_t> bytes) {
    if (!socket.valid()) return;
    const ssize_t n = send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n != static_cast<ssize_t>(bytes.size())) socket.reset();  // a record in pieces is no record
  }
  void SayRecord(std::span<const uint8_t> header, std::span<const uint8_t> frame) {
    Bytes record(4 + header.size() + frame.size());
    StoreBe(record.data(), static_cast<uint32_t>(record.size() - 4));
    std::copy(header.begin(), header.end(), record.begin() + 4);
    std::copy(frame.begin(), frame.end(),
              record.begin() + 4 + static_cast<ptrdiff_t>(header.size()));
    Say(record);
  }
  void Hear(size_t most) {
    static uint8_t bytes[1 << 16];
    if (!socket.valid()) return;
    const ssize_t n = recv(socket.get(), bytes, std::min(most, sizeof bytes), MSG_DONTWAIT);
    if (n <= 0) return;
    heard.insert(heard.end(), bytes, bytes + n);
    size_t at = 0;
    while (heard.size() - at >= 4) {
      const size_t size = LoadBe<uint32_t>(&heard[at]);
      const size_t extra = vnet ? kVnetHeader : 0;
      if (size < extra + kEthernetSize || size > extra + kMaxFrame) __builtin_trap();
      if (heard.size() - at - 4 < size) break;
      at += 4 + size;
    }
    heard.erase(heard.begin(), heard.begin() + static_cast<ptrdiff_t>(at));
  }
};

class Input {
 public:
  explicit Input(std::span<const uint8_t> bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  uint8_t Byte() {
    const auto one = Take(1);
    return one.empty() ? uint8_t{0} : one[0];
  }
  std::span<const uint8_t> Take(size_t n) {
    const auto out = rest_.first(std::min(n, rest_.size()));
    rest_ = rest_.subspan(out.size());
    return out;
  }

 private:
  std::span<const uint8_t> rest_;
};

// A frame of one guest to the other, to all, or to the gateway: its address first, then anything,
// `size` bytes in all.
Bytes Frame(size_t from, unsigned to, Input* in, size_t size) {
  Bytes frame(size);
  frame[6] = 0x52;
  frame[11] = static_cast<uint8_t>(from);
  if (to == 0) {
    std::fill_n(frame.begin(), 6, uint8_t{0xFF});
  } else if (to == 1) {
    std::ranges::copy(testing_guest::kGatewayMac, frame.begin());
  } else {
    frame[0] = 0x52;
    frame[5] = static_cast<uint8_t>(1 - from);
  }
  const auto bytes = in->Take(in->Byte());
  std::copy_n(bytes.begin(), std::min(bytes.size(), size - 12), frame.begin() + 12);
  return frame;
}

void Run(Input in) {
  const uint8_t setup = in.Byte();
  auto loop = *host::EventLoop::Create();
  Options given;
  given.mtu = (setup & 1) ? 9000 : 1500;
  given.resolvers = {IpAddress::V4(0x7F000001)};
  given.max_connections = 24;
  const Options options = *Completed(given);
  auto engine = *Engine::Create(loop.get(), options, std::make_unique<DeafHost>(options));
  std::array<Guest, 2> guests;
  for (Guest& g : guests) g.Come(engine.get(), setup & 2);
  const auto turn = [&] {
    loop->Quit();
    loop->Run();
  };
  for (int steps = 0; !in.empty() && steps < kMaxSteps; ++steps) {
    const uint8_t what = in.Byte();
    const size_t which = what >> 3 & 1;
    Guest& guest = guests[which];
    switch (what & 7) {
      case 0: {  // any bytes
        guest.Say(in.Take(in.Byte()));
        break;
      }
      case 1:
      case 2: {  // a record, the header in front of it anything
        const size_t size = kEthernetSize + ((what & 0x40) != 0 ? in.Byte() * size_t{250} : 64);
        const auto header = guest.vnet ? in.Take(kVnetHeader) : in.Take(0);
        if (what & 0x80) {  // what it takes
          guest.SayRecord(header, {});
          break;
        }
        guest.SayRecord(header, Frame(which, what >> 4 & 3, &in, size));
        break;
      }
      case 3: {  // what an ordinary guest says
        const IpAddress self = IpAddress::V4(0x0A00020F + static_cast<uint32_t>(which));
        const Bytes none(guest.vnet ? kVnetHeader : 0);
        if (what & 0x10) {
          guest.SayRecord(none, testing_guest::ArpRequest(self.v4(), 0x0A000202));
        } else if (what & 0x20) {
          testing_guest::Tcp tcp;
          tcp.from = in.Byte() + uint16_t{1};
          tcp.to = 80;
          tcp.flags = in.Byte();
          guest.SayRecord(none, testing_guest::TcpFrame(self, IpAddress::V4(0x08080808), tcp));
        } else {
          guest.SayRecord(none, testing_guest::PingFrame(self, IpAddress::V4(0x0A000202), 1,
                                                         Bytes(in.Byte() * size_t{200})));
        }
        break;
      }
      case 4:  // hears, a little or all that there is
        guest.Hear((what & 0x10) != 0 ? in.Byte() : size_t{1} << 16);
        break;
      case 5:  // goes, or comes
        if (guest.socket.valid()) {
          guest.socket.reset();
        } else {
          guest.Come(engine.get(), what & 0x10);
        }
        break;
      case 6: {  // a line at the control socket
        const auto words = in.Take(in.Byte());
        std::string line(reinterpret_cast<const char*>(words.data()), words.size());
        if (what & 0x10) line = "hostfwd_add " + line;
        if (what & 0x20) line = "hostfwd_remove " + line;
        const std::string answer = engine->Command(line);
        const absl::string_view text = answer;
        if (!absl::EndsWith(text, "\n")) __builtin_trap();
        if (text != "ok\n" && !absl::EndsWith(text, "\nok\n") &&
            !absl::StartsWith(text, "error: ")) {
          __builtin_trap();
        }
        break;
      }
      case 7:
        turn();
        break;
    }
  }
  // All go; nobody is left behind.
  for (Guest& g : guests) {
    turn();
    g.Hear(1 << 16);
    g.socket.reset();
  }
  for (int i = 0; i < 20 && engine->guests() != 0; ++i) turn();
  if (engine->guests() != 0) __builtin_trap();
}

}  // namespace
}  // namespace atl::usernet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  atl::usernet::Run(atl::usernet::Input({data, size}));
  return 0;
}
