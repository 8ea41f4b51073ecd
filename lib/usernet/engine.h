// SPDX-License-Identifier: Apache-2.0
// A user-mode network: guests on a switch, and between them and the host a gateway that
// speaks to the one side in packets and to the other by ordinary sockets. Nothing here
// needs a right that an ordinary user has not.
//
//   guest ─ Link ─┐                  ┌ TcpTable ─ TcpFlow ─ socket
//   guest ─ Link ─┼─ Lan ─ Engine ───┼ UdpTable ─ socket
//   guest ─ Link ─┘  (ARP, IP)       ├ DhcpServer, Dhcp6Server, TftpServer, Ndp
//                                    └ forwards: listening sockets
//
// Guests and peers are hostile. Every table has a bound, memory has a budget, work per
// packet has one; restricting guests, and what may be reached of the host, is decided in
// one place: HostSide::Out().
//
// One thread, the loop's, for everything.
#ifndef LIB_USERNET_ENGINE_H_
#define LIB_USERNET_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/dhcp.h"
#include "lib/usernet/dhcp6.h"
#include "lib/usernet/host_side.h"
#include "lib/usernet/lan.h"
#include "lib/usernet/link.h"
#include "lib/usernet/ndp.h"
#include "lib/usernet/options.h"
#include "lib/usernet/pcap.h"
#include "lib/usernet/tcp.h"
#include "lib/usernet/tftp.h"
#include "lib/usernet/udp.h"

namespace atl::usernet {

class Engine final : private LanHandler {
 public:
  // `loop` lives longer. Opens what the options name: forwards, the folder, the pcap
  // file. `host` null: the host's own sockets.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(host::EventLoop* loop,
                                                        const Options& options,
                                                        std::unique_ptr<HostSide> host = nullptr);
  ~Engine() override;

  // A guest at a stream socket (stream_link.h), until it closes it.
  absl::Status AddStream(UniqueFd fd, bool vnet_header);
  // A guest at a link of another kind, made for link_handler(). Unlike others it is destroyed
  // only when it says that it is closed, or with the engine.
  absl::Status AddLink(std::unique_ptr<Link> link);
  LinkHandler* link_handler() { return &lan_; }
  size_t guests() const { return lan_.guests(); }
  // Called when a guest has gone.
  void SetGuestGone(std::function<void()> gone) { gone_ = std::move(gone); }

  absl::Status AddForward(Forward forward);
  // By what the host's side is.
  absl::Status RemoveForward(const Forward& forward);

  // A line of the control socket, without its end: the answer, its lines ended.
  std::string Command(absl::string_view line);
  std::string Info() const;

  const Options& options() const { return options_; }
  const TcpTable& tcp() const { return *tcp_; }

 private:
  struct OpenForward {
    Forward rule;
    UniqueFd listener;  // of TCP
    std::unique_ptr<host::FdWatch> watch;
    int udp_fd = -1;
  };

  Engine(host::EventLoop* loop, const Options& options, std::unique_ptr<HostSide> host,
         std::unique_ptr<PcapWriter> pcap);

  void Deliver(const InPacket& packet, bool payload_stays) override;
  void BatchEnd() override;
  void WireReady() override;
  void GuestGone() override;

  void DeliverUdp(const InPacket& packet);
  void DeliverIcmp(const InPacket& packet);
  void SendDhcp(const DhcpServer::Reply& reply);
  void ArmTftp();

  host::EventLoop* const loop_;
  const Options options_;
  const std::unique_ptr<HostSide> host_;
  const std::unique_ptr<PcapWriter> pcap_;
  Lan lan_;
  Ndp ndp_;
  DhcpServer dhcp_;
  Dhcp6Server dhcp6_;
  std::optional<TftpServer> tftp_;
  std::unique_ptr<host::LoopTimer> tftp_timer_;
  std::unique_ptr<TcpTable> tcp_;
  std::unique_ptr<UdpTable> udp_;
  std::vector<std::unique_ptr<OpenForward>> forwards_;
  std::function<void()> gone_;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_ENGINE_H_
