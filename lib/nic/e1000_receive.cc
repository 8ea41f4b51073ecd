// SPDX-License-Identifier: Apache-2.0
#include "lib/nic/e1000_receive.h"

#include <algorithm>

#include "lib/base/endian.h"
#include "lib/nic/ethernet.h"

namespace atl::nic::e1000 {
namespace {

// Status and errors of a descriptor, 3.2.3.
constexpr uint8_t kDone = 1 << 0;
constexpr uint8_t kEndOfPacket = 1 << 1;
constexpr uint8_t kIgnoreChecksums = 1 << 2;
constexpr uint8_t kTagged = 1 << 3;
constexpr uint8_t kPayloadChecked = 1 << 5;
constexpr uint8_t kIpChecked = 1 << 6;
constexpr uint8_t kInexact = 1 << 7;
constexpr uint8_t kPayloadError = 1 << 5;
constexpr uint8_t kIpError = 1 << 6;

// With the check sequence.
constexpr size_t kMaxUsual = 1522;
constexpr size_t kMaxLong = 16384;

constexpr size_t kTypeAt = 12;
constexpr uint16_t kTypePause = 0x8808;

}  // namespace

uint32_t Receiver::buffer_bytes() const {
  const uint32_t rctl = registers_.file[kRctl];
  const unsigned code = rctl >> 16 & 3;
  if ((rctl & kRctlSizeExtension) == 0 || code == 0) return 2048u >> code;
  return 32768u >> code;  // 16384, 8192, 4096
}

Receiver::Match Receiver::Filter(std::span<const uint8_t> frame) const {
  const uint32_t rctl = registers_.file[kRctl];
  const uint16_t type = LoadBe<uint16_t>(&frame[kTypeAt]);
  if ((rctl & kRctlVlanFilter) != 0 && type == registers_.file[kVet] && frame.size() >= 16) {
    const uint16_t tag = LoadBe<uint16_t>(&frame[kHeaderBytes]);
    const unsigned id = tag & 0xFFF;
    if ((registers_.vlan[id >> 5] >> (id & 31) & 1) == 0) return {};
    const bool cfi = (tag & 0x1000) != 0;
    if ((rctl & kRctlCfiFilter) != 0 && cfi != ((rctl & kRctlCfi) != 0)) return {};
  }
  if ((rctl & kRctlDiscardPause) != 0 && type == kTypePause) return {};
  for (unsigned i = 0; i < kAddresses; ++i) {
    const uint32_t low = registers_.addresses[2 * i];
    const uint32_t high = registers_.addresses[2 * i + 1];
    // Address select 0: the destination.
    if ((high & kAddressValid) == 0 || (high & 0x30000) != 0) continue;
    if (LoadLe<uint32_t>(&frame[0]) == low && LoadLe<uint16_t>(&frame[4]) == (high & 0xFFFF)) {
      return {true, true};
    }
  }
  if (IsBroadcast(frame.data())) {
    return {(rctl & (kRctlBroadcast | kRctlMulticastAll)) != 0, true};
  }
  if (!IsGroup(frame.data())) return {(rctl & kRctlUnicastAll) != 0, false};
  if ((rctl & kRctlMulticastAll) != 0) return {true, false};
  // Twelve of the address' upper bits, by RCTL.MO from bit 36, 35, 34 or 32.
  constexpr unsigned kShifts[] = {4, 3, 2, 0};
  const unsigned hash = (frame[4] | unsigned{frame[5]} << 8) >> kShifts[rctl >> 12 & 3] & 0xFFF;
  return {(registers_.multicast[hash >> 5] >> (hash & 31) & 1) != 0, false};
}

void Receiver::Checksums(std::span<const uint8_t> frame, bool checked, uint8_t& status,
                         uint8_t& errors) const {
  const uint32_t rxcsum = registers_.file[kRxcsum];
  Ipv4Checks found;
  if ((rxcsum & (kRxcsumIp | kRxcsumTcpUdp)) != 0) found = CheckIpv4(frame, checked);
  if (!found.ip) {
    status |= kIgnoreChecksums;
    return;
  }
  if ((rxcsum & kRxcsumIp) != 0) {
    status |= kIpChecked;
    if (!found.ip_good) errors |= kIpError;
  }
  if ((rxcsum & kRxcsumTcpUdp) != 0 && found.protocol != 0) {
    status |= kPayloadChecked;
    if (!found.payload_good) errors |= kPayloadError;
  }
}

Receiver::Verdict Receiver::Receive(std::span<const uint8_t> frame, bool checked,
                                    bool& below_minimum) {
  const uint32_t rctl = registers_.file[kRctl];
  if ((rctl & kRctlEnable) == 0 || frame.size() < kHeaderBytes) return Verdict::kDropped;
  const Match match = Filter(frame);
  if (!match.taken) return Verdict::kDropped;
  const size_t on_wire = std::max(frame.size(), kMinFrame) + kCheckBytes;
  if (on_wire > ((rctl & kRctlLong) != 0 ? kMaxLong : kMaxUsual)) {
    registers_.Count(kRxOversize);
    return Verdict::kDropped;
  }

  const Registers::Ring ring = registers_.ring(kRdbal);
  const uint32_t room = buffer_bytes();
  const size_t stored = on_wire - ((rctl & kRctlStripCheck) != 0 ? kCheckBytes : 0);
  // A ring that cannot hold the frame at all would be waited for for ever.
  if (!ring.sound() || (stored + room - 1) / room >= ring.count) {
    registers_.Count(kMissed);
    return Verdict::kDropped;
  }
  if ((stored + room - 1) / room > ring.owned()) {
    registers_.Count(kRxNoBuffer);
    return Verdict::kNoRoom;
  }

  uint8_t status = kDone | (match.exact ? 0 : kInexact);
  uint8_t errors = 0;
  Checksums(frame, checked, status, errors);
  bytes_.assign(frame.begin(), frame.end());
  bytes_.resize(std::max(frame.size(), kMinFrame));
  if ((rctl & kRctlStripCheck) == 0) {
    const uint32_t check = FrameCheck(bytes_);
    bytes_.resize(bytes_.size() + kCheckBytes);
    StoreLe(&bytes_[bytes_.size() - kCheckBytes], check);
  }
  uint16_t tag = 0;
  constexpr size_t kTagBytes = 4;
  if (registers_.file.Has(kCtrl, kCtrlVlanMode) &&
      LoadBe<uint16_t>(&bytes_[kTypeAt]) == registers_.file[kVet]) {
    status |= kTagged;
    tag = LoadBe<uint16_t>(&bytes_[kHeaderBytes]);
    bytes_.erase(bytes_.begin() + kTypeAt, bytes_.begin() + kTypeAt + kTagBytes);
  }
  // The packet checksum: from PCSS on, without the check sequence.
  const size_t start = registers_.file[kRxcsum] & 0xFF;
  const uint16_t sum = start < frame.size() ? ByteSwap<uint16_t>(OnesSum(frame.subspan(start))) : 0;

  uint32_t head = ring.head;
  uint32_t used = 0;
  for (size_t done = 0; done < bytes_.size(); ++used) {
    const Gpa at(ring.base + uint64_t{head} * kDescriptorBytes);
    const size_t n = std::min<size_t>(bytes_.size() - done, room);
    // An address that is no memory loses the bytes, as on the bus.
    if (const auto buffer = memory_.Load<uint64_t>(at)) {
      (void)memory_.Write(Gpa(*buffer), std::span(bytes_).subspan(done, n));
    }
    done += n;
    const bool last = done == bytes_.size();
    const uint64_t flags = last ? uint8_t(status | kEndOfPacket) : kDone;
    // In one store: the driver looks at the status at any time.
    memory_.Store<uint64_t>(at + 8, uint64_t{n} | uint64_t{sum} << 16 | flags << 32 |
                                        uint64_t{last ? errors : uint8_t{0}} << 40 |
                                        uint64_t{tag} << 48);
    head = head + 1 == ring.count ? 0 : head + 1;
  }
  registers_.file[kRdh] = head;

  const uint32_t threshold = ring.count >> (1 + (rctl >> 8 & 3));
  below_minimum = ring.owned() > threshold && ring.owned() - used <= threshold;

  registers_.Count(kRxGood);
  registers_.Count(kRxTotal);
  registers_.CountBytes(kRxGoodBytes, on_wire);
  registers_.CountBytes(kRxBytes, on_wire);
  registers_.CountSize(kRx64, on_wire);
  if (IsBroadcast(frame.data())) {
    registers_.Count(kRxBroadcast);
  } else if (IsGroup(frame.data())) {
    registers_.Count(kRxMulticast);
  }
  return Verdict::kStored;
}

}  // namespace atl::nic::e1000
