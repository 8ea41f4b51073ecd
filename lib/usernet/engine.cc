// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/engine.h"

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/status_macros.h"
#include "lib/host/socket.h"
#include "lib/usernet/checksum.h"
#include "lib/usernet/layout.h"
#include "lib/usernet/stream_link.h"

namespace atl::usernet {
namespace {

constexpr size_t kMaxForwards = 1024;
constexpr int kAcceptsPerTurn = 16;
constexpr size_t kMaxShown = 100;

constexpr uint8_t kEchoReply = 0, kEchoRequest = 8;
constexpr uint8_t kEchoRequest6 = 128, kEchoReply6 = 129;

// Of the descriptors that the process may have, those for connections.
size_t MaxFlows(uint32_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 256;
  if (limit.rlim_cur < limit.rlim_max) {
    rlimit raised = limit;
    raised.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  const uint64_t spare = limit.rlim_cur / 8 + 64;
  const uint64_t left = limit.rlim_cur > spare ? limit.rlim_cur - spare : 16;
  return static_cast<size_t>(std::min<uint64_t>(wanted, left));
}

bool ChecksumRight(const InPacket& p) {
  if (p.checksum_known) return true;
  Checksum sum;
  if (p.protocol != kIcmp) {
    sum.AddPseudoHeader(p.from, p.to, p.protocol, static_cast<uint32_t>(p.payload.size()));
  }
  sum.Add(p.payload);
  return sum.sum() == 0xFFFF;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(host::EventLoop* loop, const Options& given,
                                                       std::unique_ptr<HostSide> host) {
  ASSIGN_OR_RETURN(const Options options, Completed(given));
  std::unique_ptr<PcapWriter> pcap;
  if (!options.pcap.empty()) {
    ASSIGN_OR_RETURN(pcap, PcapWriter::Create(options.pcap));
  }
  std::unique_ptr<Engine> engine(new Engine(loop, options, std::move(host), std::move(pcap)));
  Engine* const e = engine.get();
  if (!options.tftp.empty()) {
    absl::StatusOr<TftpServer> tftp = TftpServer::Create(
        options.tftp, options.mtu,
        [e](const Endpoint& guest, const Endpoint& server, std::span<const uint8_t> bytes) {
          SendUdp(&e->lan_, server, guest, bytes);
          e->lan_.Flush();
        });
    RETURN_IF_ERROR(tftp.status());
    e->tftp_.emplace(*std::move(tftp));
  }
  for (const Forward& f : options.forwards) RETURN_IF_ERROR(e->AddForward(f));
  return engine;
}

Engine::Engine(host::EventLoop* loop, const Options& options, std::unique_ptr<HostSide> host,
               std::unique_ptr<PcapWriter> pcap)
    : loop_(loop),
      options_(options),
      host_(host != nullptr ? std::move(host) : std::make_unique<HostSide>(options_)),
      pcap_(std::move(pcap)),
      lan_(options_, this, pcap_.get()),
      ndp_(loop, &lan_, options_),
      dhcp_(options_),
      dhcp6_(options_, lan_.mac()) {
  const size_t flows = MaxFlows(options.max_connections);
  tcp_ = std::make_unique<TcpTable>(loop, &lan_, host_.get(), options_.mtu, flows - flows / 4);
  udp_ = std::make_unique<UdpTable>(loop, &lan_, host_.get(), std::max<size_t>(flows / 4, 1));
  tftp_timer_ = loop->NewTimer([this] {
    if (tftp_) tftp_->Timeout(host::MonotonicNs());
    ArmTftp();
  });
}

Engine::~Engine() = default;

absl::Status Engine::AddStream(UniqueFd fd, bool vnet_header) {
  absl::StatusOr<std::unique_ptr<StreamLink>> link =
      StreamLink::Create(loop_, std::move(fd), vnet_header, &lan_);
  RETURN_IF_ERROR(link.status());
  return AddLink(*std::move(link));
}

absl::Status Engine::AddLink(std::unique_ptr<Link> link) {
  if (lan_.Attach(std::move(link))) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("there are ", Lan::kMaxGuests, " guests"));
}

void Engine::GuestGone() {
  if (lan_.guests() == 0) {
    tcp_->AbortAll();
    udp_->Clear();
  }
  if (gone_) gone_();
}

void Engine::WireReady() { tcp_->WireReady(); }
void Engine::BatchEnd() { tcp_->RunDirty(); }

void Engine::Deliver(const InPacket& packet, bool payload_stays) {
  switch (packet.protocol) {
    case kTcp:
      if (!packet.to.multicast()) tcp_->Receive(packet, payload_stays);
      break;
    case kUdp:
      DeliverUdp(packet);
      break;
    case kIcmp:
      if (packet.to.is4() && ChecksumRight(packet)) DeliverIcmp(packet);
      break;
    case kIcmp6:
      if (packet.to.is4() || !ChecksumRight(packet)) break;
      if (!ndp_.Receive(packet)) DeliverIcmp(packet);
      break;
  }
}

void Engine::DeliverIcmp(const InPacket& packet) {
  const std::optional<IcmpHeader> in = ReadAt<IcmpHeader>(packet.payload, 0);
  const bool v4 = packet.to.is4();
  if (!in || in->type != (v4 ? kEchoRequest : kEchoRequest6) || packet.to.multicast()) return;
  if (!lan_.Ours(packet.to)) {
    udp_->ReceivePing(packet.from, packet.to, packet.payload);
    return;
  }
  IcmpHeader h = *in;
  h.type = v4 ? kEchoReply : kEchoReply6;
  h.checksum = uint16_t{0};
  Packet reply;
  reply.from = packet.to;
  reply.to = packet.from;
  reply.protocol = packet.protocol;
  reply.header = {reinterpret_cast<const uint8_t*>(&h), sizeof h};
  reply.payload.Add(const_cast<uint8_t*>(packet.payload.data()) + sizeof h,
                    packet.payload.size() - sizeof h);
  reply.checksum_at = offsetof(IcmpHeader, checksum);
  lan_.Send(reply);
  lan_.Flush();
}

void Engine::DeliverUdp(const InPacket& packet) {
  const std::optional<UdpHeader> h = ReadAt<UdpHeader>(packet.payload, 0);
  if (!h) return;
  // With segmentation of datagrams not offered, the size is the datagram's.
  const size_t size = h->size;
  if (size < sizeof *h || size > packet.payload.size()) return;
  InPacket exact = packet;
  exact.payload = packet.payload.first(size);
  // IPv4's may come without a checksum.
  if ((h->checksum != 0 || !packet.to.is4()) && !ChecksumRight(exact)) return;
  const std::span<const uint8_t> payload = exact.payload.subspan(sizeof *h);
  const Endpoint guest{packet.from, h->from};
  const Endpoint to{packet.to, h->to};
  const bool v4 = packet.to.is4();
  const bool to_gateway = packet.to == (v4 ? lan_.gateway() : lan_.gateway6());
  if (v4 && to.port == DhcpServer::kServerPort && (to_gateway || packet.to.multicast())) {
    if (const std::optional<DhcpServer::Reply> reply = dhcp_.Answer(payload)) SendDhcp(*reply);
    return;
  }
  if (!v4 && to.port == Dhcp6Server::kServerPort && packet.from.link_local6()) {
    if (const std::optional<std::vector<uint8_t>> reply = dhcp6_.Answer(payload)) {
      SendUdp(&lan_, {lan_.link_local(), Dhcp6Server::kServerPort},
              {packet.from, Dhcp6Server::kClientPort}, *reply);
      lan_.Flush();
    }
    return;
  }
  if (packet.from.unspecified() || packet.to.multicast()) return;
  if (to_gateway && to.port == TftpServer::kPort && tftp_) {
    tftp_->Receive(guest, to, payload, host::MonotonicNs());
    ArmTftp();
    return;
  }
  // The network's broadcast address, and guests that are asked for at the gateway.
  if (lan_.Inside(packet.to) && !lan_.Ours(packet.to)) return;
  if (!v4 && packet.from.link_local6()) return;
  udp_->Receive(guest, to, payload);
  lan_.Flush();
}

void Engine::SendDhcp(const DhcpServer::Reply& reply) {
  if (reply.lease) lan_.Learn(IpAddress::V4(reply.lease->address), reply.lease->mac);
  SendUdp(&lan_, {lan_.gateway(), DhcpServer::kServerPort},
          {IpAddress::V4(reply.to), DhcpServer::kClientPort}, reply.message);
  lan_.Flush();
}

void Engine::ArmTftp() {
  const uint64_t at = tftp_ ? tftp_->deadline() : 0;
  if (at != 0) tftp_timer_->Arm(at);
}

absl::Status Engine::AddForward(Forward f) {
  if (forwards_.size() >= kMaxForwards) {
    return absl::ResourceExhaustedError(absl::StrCat("there are ", kMaxForwards, " forwards"));
  }
  if (f.guest.address.unspecified()) {
    if (!f.host.address.is4()) {
      return absl::InvalidArgumentError(
          absl::StrCat(f.ToString(), ": an IPv6 forward must name the guest's address"));
    }
    f.guest.address = IpAddress::V4(options_.first_lease);
  }
  if (f.guest.address.is4() != f.host.address.is4()) {
    return absl::InvalidArgumentError(
        absl::StrCat(f.ToString(), ": host and guest are of different families"));
  }
  if (!lan_.Inside(f.guest.address) || lan_.Ours(f.guest.address)) {
    return absl::InvalidArgumentError(
        absl::StrCat(f.ToString(), ": ", f.guest.address.ToString(), " is no guest's address"));
  }
  const std::string what = absl::StrCat("forward ", f.ToString());
  auto open = std::make_unique<OpenForward>();
  open->rule = f;
  if (f.udp) {
    absl::StatusOr<UniqueFd> socket = host_->Datagram(f.host);
    if (!socket.ok()) return Annotate(socket.status(), what);
    open->udp_fd = socket->get();
    RETURN_IF_ERROR(Annotate(udp_->AddForward(*std::move(socket), f.guest), what));
  } else {
    absl::StatusOr<UniqueFd> listener = host_->ListenTcp(f.host);
    if (!listener.ok()) return Annotate(listener.status(), what);
    open->listener = *std::move(listener);
    const int fd = open->listener.get();
    const Endpoint guest = f.guest;
    ASSIGN_OR_RETURN(open->watch, loop_->Watch(fd, EPOLLIN, [this, fd, guest](uint32_t) {
      for (int i = 0; i < kAcceptsPerTurn; ++i) {
        absl::StatusOr<UniqueFd> socket = host::Accept(fd);
        if (!socket.ok()) break;
        SocketAddress peer;
        getpeername(socket->get(), peer.get(), &peer.size);
        tcp_->Accepted(*std::move(socket), guest, peer.endpoint());
      }
      tcp_->RunDirty();
    }));
  }
  forwards_.push_back(std::move(open));
  return absl::OkStatus();
}

absl::Status Engine::RemoveForward(const Forward& forward) {
  const auto it = std::ranges::find_if(forwards_, [&](const auto& f) {
    return f->rule.udp == forward.udp && f->rule.host == forward.host;
  });
  if (it == forwards_.end()) {
    return absl::NotFoundError(absl::StrCat(
        "nothing is forwarded from ", forward.udp ? "udp:" : "tcp:", forward.host.ToString()));
  }
  if ((*it)->udp_fd >= 0) udp_->RemoveForward((*it)->udp_fd);
  forwards_.erase(it);
  return absl::OkStatus();
}

std::string Engine::Command(absl::string_view line) {
  const auto answer = [](const absl::Status& status) {
    return status.ok() ? std::string("ok\n") : absl::StrCat("error: ", status.message(), "\n");
  };
  absl::string_view rest = absl::StripSuffix(line, "\r");
  if (absl::ConsumePrefix(&rest, "hostfwd_add ")) {
    const absl::StatusOr<Forward> f = ParseForward(rest);
    return answer(f.ok() ? AddForward(*f) : f.status());
  }
  if (absl::ConsumePrefix(&rest, "hostfwd_remove ")) {
    const absl::StatusOr<Forward> f = ParseForwardHost(rest);
    return answer(f.ok() ? RemoveForward(*f) : f.status());
  }
  if (rest == "info") return absl::StrCat(Info(), "ok\n");
  return answer(absl::InvalidArgumentError(
      "commands are hostfwd_add RULE, hostfwd_remove [tcp|udp]:[HOSTADDR]:HOSTPORT and info"));
}

std::string Engine::Info() const {
  std::string out = absl::StrCat("guests ", lan_.guests(), "\n");
  for (const Lease& l : dhcp_.leases()) {
    absl::StrAppend(&out, "lease ", IpAddress::V4(l.address).ToString(), " ", MacToString(l.mac),
                    "\n");
  }
  for (const auto& f : forwards_) absl::StrAppend(&out, "forward ", f->rule.ToString(), "\n");
  absl::StrAppend(&out, "tcp ", tcp_->size(), " udp ", udp_->size(), " buffers ",
                  tcp_->memory().used, "\n");
  size_t shown = 0;
  tcp_->ForEach([&](const TcpFlow& f) {
    if (++shown > kMaxShown) return;
    absl::StrAppend(&out, "connection ", f.guest().ToString(), " ", f.remote().ToString(), " ",
                    f.state_name(), " in ", f.bytes_to_guest(), " out ", f.bytes_to_host(), "\n");
  });
  return out;
}

}  // namespace atl::usernet
