// SPDX-License-Identifier: Apache-2.0
// A hostile guest, and a hostile peer behind the sockets: frames as they are, TCP segments
// that fit what the engine said last, and what the far end does, in any order.
//
// Each step is a byte that says what it is, then its bytes. Sockets are pairs within this
// process: nothing reaches the host.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
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

constexpr size_t kMaxPeers = 64;

class FakeHost final : public HostSide {
 public:
  using HostSide::HostSide;
  absl::StatusOr<UniqueFd> ConnectTcp(const Endpoint& to) override {
    if (to.port == 1) return absl::UnavailableError("refused");
    return Pair(SOCK_STREAM);
  }
  absl::StatusOr<UniqueFd> ListenTcp(const Endpoint&) override {
    return absl::UnavailableError("none");
  }
  absl::StatusOr<UniqueFd> Datagram(const Endpoint&) override { return Pair(SOCK_DGRAM); }
  absl::StatusOr<UniqueFd> Ping(bool) override { return Pair(SOCK_DGRAM); }

  std::vector<UniqueFd> peers;

 private:
  absl::StatusOr<UniqueFd> Pair(int type) {
    if (peers.size() >= kMaxPeers) return absl::ResourceExhaustedError("enough");
    int fds[2];
    if (socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
      return absl::ResourceExhaustedError("socketpair");
    }
    peers.emplace_back(fds[1]);
    return UniqueFd(fds[0]);
  }
};

// Looks at all that comes, as late as it may.
class Watcher final : public Link {
 public:
  Watcher(bool offloads, bool* full, std::array<testing_guest::Tcp, 4>* last)
      : offloads_(offloads), full_(full), last_(last) {}
  void Send(const OutFrame& frame) override {
    if (++frames_ > 100000) __builtin_trap();
    Bytes header(frame.header.begin(), frame.header.end());
    std::vector<iovec> parts(frame.payload.begin(), frame.payload.end());
    waiting_.emplace_back(std::move(header), std::move(parts));
    if (waiting_.size() >= 64) Flush();
  }
  void Flush() override {
    for (auto& [bytes, parts] : waiting_) {
      for (const iovec& p : parts) {
        const uint8_t* const from = static_cast<const uint8_t*>(p.iov_base);
        bytes.insert(bytes.end(), from, from + p.iov_len);
      }
      const auto ip = testing_guest::ParseIp(bytes);
      // Whole packets that leave here are right, whatever came in.
      if (!offloads_ && !ip && bytes[12] == 0x08 && bytes[13] == 0) __builtin_trap();
      const auto tcp = ip ? testing_guest::ParseTcp(*ip) : std::nullopt;
      if (tcp) (*last_)[tcp->to % last_->size()] = *tcp;
    }
    waiting_.clear();
  }
  bool Full() const override { return *full_; }
  LinkOffloads offloads() const override { return {offloads_, offloads_, offloads_}; }

 private:
  const bool offloads_;
  bool* const full_;
  std::array<testing_guest::Tcp, 4>* const last_;
  std::vector<std::pair<Bytes, std::vector<iovec>>> waiting_;
  size_t frames_ = 0;
};

class Input {
 public:
  explicit Input(std::span<const uint8_t> bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  uint8_t Byte() {
    if (rest_.empty()) return 0;
    const uint8_t b = rest_[0];
    rest_ = rest_.subspan(1);
    return b;
  }
  uint16_t Word() { return static_cast<uint16_t>(Byte() << 8 | Byte()); }
  std::span<const uint8_t> Take(size_t n) {
    const auto out = rest_.first(std::min(n, rest_.size()));
    rest_ = rest_.subspan(out.size());
    return out;
  }

 private:
  std::span<const uint8_t> rest_;
};

void Run(Input in) {
  const uint8_t setup = in.Byte();
  auto loop = *host::EventLoop::Create();
  Options given;
  given.restricted = (setup & 7) == 7;
  given.mtu = (setup & 8) ? 9000 : 1500;
  given.bootfile = "file";
  given.resolvers = {IpAddress::V4(0x7F000001)};
  given.max_connections = 24;
  const Options options = *Completed(given);
  auto fake = std::make_unique<FakeHost>(options);
  FakeHost* const host = fake.get();
  auto engine = *Engine::Create(loop.get(), options, std::move(fake));
  bool full = false;
  std::array<testing_guest::Tcp, 4> last;
  auto watcher = std::make_unique<Watcher>(setup & 16, &full, &last);
  Link* const link = watcher.get();
  if (!engine->AddLink(std::move(watcher)).ok()) return;
  LinkHandler* const lan = engine->link_handler();

  std::vector<Bytes> batch;  // stays until the batch's end
  const auto frame = [&](Bytes bytes, const FrameWork& work) {
    if (bytes.size() < kEthernetSize) return;
    batch.push_back(std::move(bytes));
    lan->LinkFrame(link, batch.back(), work);
  };
  const auto end_batch = [&] {
    lan->LinkBatchEnd(link);
    for (Bytes& b : batch) std::fill(b.begin(), b.end(), 0xEE);
    batch.clear();
  };
  const bool v6 = setup & 32;
  const IpAddress guest = *IpAddress::Parse(v6 ? "fec0::15" : "10.0.2.15");
  for (int steps = 0; !in.empty() && steps < 400; ++steps) {
    const uint8_t what = in.Byte();
    switch (what & 7) {
      case 0: {  // any frame
        const auto bytes = in.Take(in.Byte() * size_t{4});
        frame(Bytes(bytes.begin(), bytes.end()), {});
        break;
      }
      case 1: {  // any IP packet, its header right
        const uint8_t protocol = in.Byte();
        const uint8_t to = in.Byte();
        const auto bytes = in.Take(in.Byte() * size_t{2});
        const IpAddress target = v6 ? *IpAddress::Parse(to & 1 ? "fec0::2" : "2001:db8::1")
                                    : IpAddress::V4(to & 1   ? 0x0A000202
                                                    : to & 2 ? 0x0A000203
                                                             : 0x08080808u + to);
        FrameWork work;
        work.needs_checksum = what & 8;
        work.segment_size = what & 16 ? 100 : 0;
        frame(testing_guest::IpFrame(guest, target, protocol, Bytes(bytes.begin(), bytes.end()),
                                     testing_guest::kGuestMac, what & 32 ? 255 : 64),
              work);
        break;
      }
      case 2:
      case 3: {  // a TCP segment that is near what fits
        testing_guest::Tcp tcp;
        const uint8_t which = in.Byte() & 3;
        const testing_guest::Tcp& said = last[which];
        tcp.from = which;
        tcp.from = static_cast<uint16_t>(tcp.from + 4);  // a port that is not 0
        tcp.to = 80;
        tcp.flags = in.Byte();
        tcp.sequence = said.acknowledgement + static_cast<uint32_t>(static_cast<int8_t>(in.Byte()));
        const uint8_t ack = in.Byte();
        tcp.acknowledgement = said.sequence + static_cast<uint32_t>(said.payload.size()) +
                              ((said.flags & (kSyn | kFin)) != 0 ? 1 : 0) -
                              (ack & 0x80 ? ack & 0x7F : 0);
        tcp.window = in.Word();
        if (tcp.flags & kSyn) {
          const auto options = in.Take(what >> 4 & 12);
          tcp.options.assign(options.begin(), options.end());
          tcp.options.resize((tcp.options.size() + 3) & ~size_t{3});
        }
        tcp.payload.assign(in.Byte() * size_t{(what & 8) != 0 ? 100u : 1u}, 'x');
        frame(
            testing_guest::TcpFrame(guest, *IpAddress::Parse(v6 ? "2001:db8::1" : "8.8.8.8"), tcp),
            {});
        break;
      }
      case 4:  // the far end writes, reads, closes
        if (!host->peers.empty()) {
          UniqueFd& peer = host->peers[in.Byte() % host->peers.size()];
          static uint8_t bytes[65536];
          if (!peer.valid()) break;
          if (what & 8) {
            (void)!send(peer.get(), bytes, in.Byte() * size_t{256}, MSG_NOSIGNAL | MSG_DONTWAIT);
          } else if (what & 16) {
            (void)!recv(peer.get(), bytes, sizeof bytes, MSG_DONTWAIT);
          } else if (what & 32) {
            shutdown(peer.get(), SHUT_WR);
          } else {
            peer.reset();
          }
        }
        break;
      case 5:
        end_batch();
        full = what & 8;
        if (!full) lan->LinkReady(link);
        break;
      case 6: {  // UDP
        const uint16_t port = what & 8 ? 53 : what & 16 ? 67 : in.Word();
        const auto bytes = in.Take(in.Byte() * size_t{2});
        const char* const to = v6 ? "fec0::3" : what & 16 ? "255.255.255.255" : "10.0.2.3";
        frame(testing_guest::UdpFrame({guest, static_cast<uint16_t>(1000 + (what >> 5))},
                                      {*IpAddress::Parse(to), port},
                                      Bytes(bytes.begin(), bytes.end())),
              {});
        break;
      }
      case 7:  // a turn of the loop
        end_batch();
        loop->Quit();
        loop->Run();
        break;
    }
  }
  end_batch();
  const MemoryBudget& memory = engine->tcp().memory();
  if (memory.used > memory.limit + 64 * MemoryBudget::kSmallRing) __builtin_trap();
  if (engine->Info().size() > 100000) __builtin_trap();
}

}  // namespace
}  // namespace atl::usernet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  atl::usernet::Run(atl::usernet::Input({data, size}));
  return 0;
}
