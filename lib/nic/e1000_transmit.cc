// SPDX-License-Identifier: Apache-2.0
#include "lib/nic/e1000_transmit.h"

#include <algorithm>

#include "lib/nic/ethernet.h"

namespace atl::nic::e1000 {
namespace {

// A descriptor's second half: `low` has the length, CSO or DTYP, and the command;
// `high` the status, CSS or POPTS, and the tag.
constexpr uint32_t kEndOfPacket = 1 << 24;
constexpr uint32_t kInsertChecksum = 1 << 26;  // legacy
constexpr uint32_t kSegment = 1 << 26;         // extended: TSE
constexpr uint32_t kReportStatus = 1 << 27;
constexpr uint32_t kExtended = 1 << 29;
constexpr uint32_t kInsertTag = 1 << 30;
constexpr uint32_t kDelay = 1u << 31;
constexpr uint32_t kDone = 1;
constexpr uint32_t kTypeMask = 0xF << 20;
constexpr uint32_t kContextType = 0;
constexpr uint32_t kLengthLegacy = 0xFFFF;
constexpr uint32_t kLengthExtended = 0xFFFFF;
// TUCMD.
constexpr uint8_t kTcp = 1 << 0;
constexpr uint8_t kIpv4 = 1 << 1;
// POPTS.
constexpr uint8_t kOptionIp = 1 << 0;
constexpr uint8_t kOptionPayload = 1 << 1;

// What a frame may have that is not cut into segments (13.4.33: 16288 bytes with
// the check sequence).
constexpr size_t kMaxWhole = 16284;

// A guest that makes a long ring of long descriptors keeps the card busy, not the
// machine.
constexpr unsigned kMaxDescriptors = 512;
constexpr unsigned kMaxFrames = 2048;
constexpr uint64_t kMaxBytes = 4 << 20;

}  // namespace

Transmitter::Outcome Transmitter::Run() {
  Outcome outcome;
  if (!out_.Continue()) return outcome;
  unsigned descriptors = 0;
  unsigned frames = out_.TakeCount();
  uint64_t bytes = 0;
  while (registers_.file.Has(kTctl, kTctlEnable)) {
    const Registers::Ring ring = registers_.ring(kTdbal);
    if (!ring.sound() || ring.head == ring.tail) break;
    if (++descriptors > kMaxDescriptors || frames > kMaxFrames || bytes > kMaxBytes) {
      outcome.unfinished = true;
      break;
    }
    const Gpa at(ring.base + uint64_t{ring.head} * kDescriptorBytes);
    const uint64_t address = memory_.Load<uint64_t>(at).value_or(0);
    const uint64_t rest = memory_.Load<uint64_t>(at + 8).value_or(0);
    const uint32_t low = static_cast<uint32_t>(rest);
    const uint32_t high = static_cast<uint32_t>(rest >> 32);
    if ((low & kExtended) != 0 && (low & kTypeMask) == kContextType) {
      Context& c = contexts_[(low & kSegment) != 0];
      c.ip = static_cast<uint32_t>(address);
      c.payload = static_cast<uint32_t>(address >> 32);
      c.command = static_cast<uint8_t>(low >> 24);
      c.headers = static_cast<uint8_t>(high >> 8);
      c.segment = static_cast<uint16_t>(high >> 16);
    } else {
      bytes += low & ((low & kExtended) != 0 ? kLengthExtended : kLengthLegacy);
      Data(address, low, high);
    }
    const uint32_t next = ring.head + 1 == ring.count ? 0 : ring.head + 1;
    registers_.file[kTdh] = next;
    if ((low & kReportStatus) != 0) WriteBack(at, low, high, outcome);
    if (next == ring.tail) outcome.emptied = true;
    frames += out_.TakeCount();
    if (out_.busy()) break;
  }
  return outcome;
}

void Transmitter::WriteBack(Gpa at, uint32_t low, uint32_t high, Outcome& outcome) {
  memory_.Store<uint8_t>(at + 12, static_cast<uint8_t>((high & 0xF) | kDone));
  ((low & kDelay) != 0 ? outcome.written_later : outcome.written) = true;
}

void Transmitter::Data(uint64_t address, uint32_t low, uint32_t high) {
  const bool extended = (low & kExtended) != 0;
  const bool segments = extended && (low & kSegment) != 0;
  if (!begun_) {
    // What holds for the whole frame stands in its first descriptor, or, where
    // it is not segmented, in its last.
    begun_ = true;
    options_ = static_cast<uint8_t>(high >> 8);
    tagged_ = (low & kInsertTag) != 0;
    tag_ = static_cast<uint16_t>(high >> 16);
  }
  const std::span<uint8_t> to = out_.Add(low & (extended ? kLengthExtended : kLengthLegacy));
  // What is not memory is sent as zeroes.
  if (!to.empty()) (void)memory_.Read(Gpa(address), to);
  if ((low & kEndOfPacket) == 0) return;
  if (!segments) {
    tagged_ = (low & kInsertTag) != 0;
    tag_ = static_cast<uint16_t>(high >> 16);
  }
  Finish(extended, segments, low, high);
  begun_ = false;
}

Transmission::Plan Transmitter::ContextPlan(const Context& c, uint8_t options) const {
  const auto checksum = [](uint32_t v, bool on) {
    const uint32_t last = v >> 16;  // inclusive; 0: the frame's
    return Transmission::Checksum{on, static_cast<uint16_t>(v & 0xFF),
                                  static_cast<uint16_t>(v >> 8 & 0xFF), last == 0 ? 0 : last + 1};
  };
  Transmission::Plan plan;
  plan.ip = checksum(c.ip, (options & kOptionIp) != 0);
  plan.payload = checksum(c.payload, (options & kOptionPayload) != 0);
  plan.ipv6 = (c.command & kIpv4) == 0;
  plan.udp = (c.command & kTcp) == 0;
  return plan;
}

void Transmitter::Finish(bool extended, bool segments, uint32_t low, uint32_t high) {
  Transmission::Plan plan;
  if (extended) {
    const Context& c = contexts_[segments];
    plan = ContextPlan(c, options_);
    if (segments) {
      plan.headers = c.headers;
      plan.segment = std::max<uint16_t>(c.segment, 1);  // 0 is too small, not none
      plan.ip.on = plan.ip.on && !plan.ipv6;
      registers_.Count(kTxSegmented);
    }
  } else if ((low & kInsertChecksum) != 0) {
    plan.payload = {true, static_cast<uint16_t>(high >> 8 & 0xFF),
                    static_cast<uint16_t>(low >> 16 & 0xFF), 0};
  }
  if (registers_.file.Has(kCtrl, kCtrlVlanMode)) {
    plan.tagged = tagged_;
    plan.tag = tag_;
  }
  if (!segments) {
    if (out_.size() > kMaxWhole) out_.Clear();
    if (registers_.file.Has(kTctl, kTctlPadShort) && out_.size() != 0 && out_.size() < kMinFrame) {
      (void)out_.Add(kMinFrame - out_.size());
    }
  }
  out_.Send(plan);
}

void Transmitter::Reset() {
  contexts_[0] = contexts_[1] = {};
  begun_ = tagged_ = false;
  options_ = 0;
  tag_ = 0;
}

void Transmitter::VisitState(dev::StateVisitor& v) {
  for (Context& c : contexts_) {
    v.Begin("context");
    v.Field("ip", c.ip);
    v.Field("payload", c.payload);
    v.Field("command", c.command);
    v.Field("headers", c.headers);
    v.Field("segment", c.segment);
    v.End();
  }
  v.Field("begun", begun_);
  v.Field("tagged", tagged_);
  v.Field("options", options_);
  v.Field("tag", tag_);
}

}  // namespace atl::nic::e1000
