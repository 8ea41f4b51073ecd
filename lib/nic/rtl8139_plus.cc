// SPDX-License-Identifier: Apache-2.0
#include "lib/nic/rtl8139_plus.h"

#include <algorithm>
#include <array>

#include "lib/base/endian.h"
#include "lib/nic/ethernet.h"

namespace atl::nic::rtl8139 {
namespace {

constexpr unsigned kRing = 64;
constexpr unsigned kDescriptorBytes = 16;
constexpr unsigned kMaxFrames = 2048;

// The first word of every descriptor.
constexpr uint32_t kOwn = 1u << 31;
constexpr uint32_t kEndOfRing = 1 << 30;
constexpr uint32_t kFirst = 1 << 29;
constexpr uint32_t kLast = 1 << 28;
// Of one to send.
constexpr uint32_t kLargeSend = 1 << 27;
constexpr uint32_t kIpChecksum = 1 << 18;
constexpr uint32_t kUdpChecksum = 1 << 17;
constexpr uint32_t kTcpChecksum = 1 << 16;
constexpr uint32_t kTag = 1 << 17;  // in the second word
// Of one that was received.
constexpr uint32_t kBufferSize = 0x1FFF;
constexpr uint32_t kIsTcp = 1 << 16;
constexpr uint32_t kIsUdp = 2 << 16;
constexpr uint32_t kIsIp = 3 << 16;
constexpr uint32_t kIpFailed = 1 << 15;
constexpr uint32_t kUdpFailed = 1 << 14;
constexpr uint32_t kTcpFailed = 1 << 13;
constexpr uint32_t kTagged = 1 << 16;  // in the second word

// Of a frame that is not cut into segments.
constexpr size_t kMaxWhole = 8192;

uint8_t After(unsigned index, uint32_t word) {
  return (word & kEndOfRing) != 0 || index + 1 >= kRing ? 0 : static_cast<uint8_t>(index + 1);
}

}  // namespace

PlusTransmitter::Outcome PlusTransmitter::Run() {
  Outcome outcome;
  if (!out_.Continue()) return outcome;
  unsigned frames = out_.TakeCount();
  for (unsigned n = 0; n < kRing; ++n) {
    if (frames > kMaxFrames) {
      outcome.unfinished = true;
      return outcome;
    }
    const uint64_t base =
        uint64_t{registers_[static_cast<Reg>(low_ + 1)]} << 32 | (registers_[low_] & ~0xFFu);
    const Gpa at(base + uint64_t{next_} * kDescriptorBytes);
    const uint32_t word = memory_.Load<uint32_t>(at).value_or(0);
    if ((word & kOwn) == 0) {
      outcome.emptied = true;
      return outcome;
    }
    const uint32_t vlan = memory_.Load<uint32_t>(at + 4).value_or(0);
    const Gpa address(memory_.Load<uint64_t>(at + 8).value_or(0));
    if ((word & kFirst) != 0 || !begun_) {
      out_.Clear();
      begun_ = true;
      command_ = word;
      vlan_ = vlan;
    }
    const std::span<uint8_t> to = out_.Add(word & 0xFFFF);
    // What is not memory is sent as zeroes.
    if (!to.empty()) (void)memory_.Read(address, to);
    // Given back, sent without errors.
    memory_.Store<uint32_t>(at, word & (kEndOfRing | kFirst | kLast));
    next_ = After(next_, word);
    if ((word & kLast) == 0) continue;
    begun_ = false;
    ++outcome.sent;
    const Transmission::Plan plan = MakePlan();
    if (plan.segment == 0 && out_.size() > kMaxWhole) out_.Clear();
    if (out_.size() != 0 && out_.size() < kMinFrame) (void)out_.Add(kMinFrame - out_.size());
    if (!out_.Send(plan)) return outcome;
    frames += out_.TakeCount();
  }
  return outcome;
}

// The chip finds the headers itself. What it cannot find, it leaves alone: the
// lengths in a packet are the guest's and may say anything.
Transmission::Plan PlusTransmitter::MakePlan() {
  Transmission::Plan plan;
  if ((vlan_ & kTag) != 0) {
    plan.tagged = true;
    plan.tag = ByteSwap(static_cast<uint16_t>(vlan_));
  }
  const bool large = (command_ & kLargeSend) != 0;
  if (!large && (command_ & (kIpChecksum | kUdpChecksum | kTcpChecksum)) == 0) return plan;
  const size_t size = out_.size();
  const std::span<uint8_t> frame = out_.bytes();
  constexpr size_t kIp = kHeaderBytes;
  constexpr size_t kIpHeader = 20;
  constexpr size_t kTcpHeader = 20;
  constexpr size_t kUdpHeader = 8;
  if (size < kIp + kIpHeader || LoadBe<uint16_t>(&frame[kIp - 2]) != kTypeIpv4) return plan;
  const size_t ip_header = 4u * (frame[kIp] & 0xF);
  if (frame[kIp] >> 4 != 4 || ip_header < kIpHeader || kIp + ip_header > size) return plan;
  const size_t l4 = kIp + ip_header;
  plan.ip = {large || (command_ & kIpChecksum) != 0, kIp, kIp + 10, static_cast<uint32_t>(l4)};
  if (plan.ip.on) StoreBe<uint16_t>(&frame[kIp + 10], 0);

  const uint8_t protocol = frame[kIp + 9];
  const bool tcp = protocol == kProtocolTcp && (large || (command_ & kTcpChecksum) != 0);
  const bool udp = protocol == kProtocolUdp && !large && (command_ & kUdpChecksum) != 0;
  if (!tcp && !udp) return plan;
  // By the packet's own length; what follows it is padding.
  const size_t total = large ? size - kIp : LoadBe<uint16_t>(&frame[kIp + 2]);
  if (total > size - kIp || total < ip_header + (tcp ? kTcpHeader : kUdpHeader)) return plan;
  const size_t at = l4 + (tcp ? 16 : 6);
  uint16_t pseudo = OnesSum(frame.subspan(kIp + 12, 8));
  pseudo = OnesAdd(pseudo, protocol);
  if (!large) pseudo = OnesAdd(pseudo, static_cast<uint16_t>(total - ip_header));
  if (large) {
    const size_t tcp_header = 4u * (frame[l4 + 12] >> 4);
    const unsigned segment = command_ >> 16 & 0x7FF;
    if (tcp_header < kTcpHeader || l4 + tcp_header > size || segment == 0) return plan;
    plan.segment = static_cast<uint16_t>(segment);
    plan.headers = static_cast<uint16_t>(l4 + tcp_header);
  }
  StoreBe(&frame[at], pseudo);
  plan.udp = udp;
  plan.payload = {true, static_cast<uint16_t>(l4), static_cast<uint16_t>(at),
                  total == size - kIp ? 0 : static_cast<uint32_t>(kIp + total)};
  return plan;
}

void PlusTransmitter::Reset() {
  next_ = 0;
  begun_ = false;
  command_ = vlan_ = 0;
}

void PlusTransmitter::VisitState(dev::StateVisitor& v) {
  v.Begin("ring");
  v.Bounded("next", next_, kRing - 1);
  v.Field("begun", begun_);
  v.Field("command", command_);
  v.Field("vlan", vlan_);
  v.End();
}

PlusReceiver::Verdict PlusReceiver::Receive(std::span<const uint8_t> frame, uint32_t match,
                                            bool checked) {
  const uint32_t mode = registers_[kCpcr];
  const size_t length = frame.size() + kCheckBytes;
  bytes_.assign(frame.begin(), frame.end());
  bytes_.resize(length);
  StoreLe(&bytes_[length - kCheckBytes], FrameCheck(frame));

  uint32_t vlan = 0;
  constexpr size_t kTypeAt = 12;
  if ((mode & kPlusUntag) != 0 && LoadBe<uint16_t>(&frame[kTypeAt]) == kTypeVlan) {
    vlan = kTagged | ByteSwap(LoadBe<uint16_t>(&frame[kHeaderBytes]));
    bytes_.erase(bytes_.begin() + kTypeAt, bytes_.begin() + kTypeAt + 4);
  }
  uint32_t status = match;
  if ((mode & kPlusChecksums) != 0) {
    const Ipv4Checks found = CheckIpv4(frame, checked);
    if (found.ip) {
      const bool good = found.payload_good;
      switch (found.protocol) {
        case kProtocolTcp:
          status |= kIsTcp | (good ? 0 : kTcpFailed);
          break;
        case kProtocolUdp:
          status |= kIsUdp | (good ? 0 : kUdpFailed);
          break;
        default:
          status |= kIsIp;
          break;
      }
      if (!found.ip_good) status |= kIpFailed;
    }
  }

  // Descriptors are read once, before anything is written: they may lie in the
  // buffers that they name.
  struct Piece {
    Gpa at;
    uint32_t word;
    Gpa buffer;
    size_t size;
  };
  std::array<Piece, kRing> pieces;
  unsigned count = 0;
  uint8_t next = next_;
  const uint64_t base = uint64_t{registers_[kRdsar1]} << 32 | registers_[kRdsar0];
  for (size_t room = 0; room < bytes_.size();) {
    if (count == kRing) return Verdict::kDropped;  // the whole ring is too small
    const Gpa at(base + uint64_t{next} * kDescriptorBytes);
    const auto word = memory_.Load<uint32_t>(at);
    if (!word) return Verdict::kDropped;  // no ring at all
    if ((*word & kOwn) == 0) return Verdict::kNoRoom;
    const size_t size = *word & kBufferSize;
    pieces[count++] = {at, *word, Gpa(memory_.Load<uint64_t>(at + 8).value_or(0)), size};
    room += size;
    next = After(next, *word);
  }
  size_t done = 0;
  for (unsigned i = 0; i < count; ++i) {
    const Piece& p = pieces[i];
    const size_t n = std::min(p.size, bytes_.size() - done);
    (void)memory_.Write(p.buffer, std::span(bytes_).subspan(done, n));
    done += n;
    const bool last = i + 1 == count;
    memory_.Store<uint32_t>(p.at + 4, vlan);
    memory_.Store<uint32_t>(
        p.at,
        (p.word & kEndOfRing) | (i == 0 ? kFirst : 0) | (last ? kLast : 0) |
            (last ? status | static_cast<uint32_t>(bytes_.size()) : static_cast<uint32_t>(n)));
  }
  next_ = next;
  return Verdict::kStored;
}

void PlusReceiver::VisitState(dev::StateVisitor& v) { v.Bounded("receive_next", next_, kRing - 1); }

}  // namespace atl::nic::rtl8139
