// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/pit.h"

#include <algorithm>

#include "lib/dev/state.h"

namespace atl::dev {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
// A guest that asks for a tick each microsecond must not eat the loop thread.
constexpr uint64_t kMinIntervalNs = 20'000;
constexpr uint64_t kRefreshNs = 15'085;

constexpr uint8_t kGate2 = 0x01;  // port B
constexpr uint8_t kSpeaker = 0x02;
constexpr uint8_t kRefresh = 0x10;
constexpr uint8_t kOutput2 = 0x20;

uint64_t TicksToNs(uint64_t ticks) {  // rounded up
  return static_cast<uint64_t>((static_cast<unsigned __int128>(ticks) * kSecond + Pit::kHz - 1) /
                               Pit::kHz);
}
uint64_t NsToTicks(uint64_t ns) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(ns) * Pit::kHz / kSecond);
}

// Four decimal digits; digits above 9 count as such, as in the chip.
uint32_t FromBcd(uint32_t v) {
  return (v >> 12 & 0xF) * 1000 + (v >> 8 & 0xF) * 100 + (v >> 4 & 0xF) * 10 + (v & 0xF);
}
uint16_t ToBcd(uint32_t v) {
  return static_cast<uint16_t>((v / 1000 % 10) << 12 | (v / 100 % 10) << 8 | (v / 10 % 10) << 4 |
                               v % 10);
}

}  // namespace

Pit::Pit(IrqLine& irq0, Clock& clock) : irq_(irq0), clock_(clock) {
  timer_ = clock.NewTimer([this] { Fire(); });
  Reset();
}

void Pit::Reset() {
  for (Channel& c : channels_) c = Channel();
  channels_[2].gate = false;
  speaker_ = false;
  line_ = false;
  irq_.Set(false);
  timer_->Disarm();
}

uint64_t Pit::Channel::Ticks(uint64_t now) const {
  if (paused) return paused_ticks;
  return now <= start_ns ? 0 : NsToTicks(now - start_ns);
}

bool Pit::Channel::Output(uint64_t now) const {
  if (!counting) return mode != 0;
  const uint64_t t = Ticks(now);
  switch (mode) {
    case 0:
    case 1:
      return t >= count;
    case 2:
      return !gate || t % count != count - 1;
    case 3:
      return !gate || t % count < (count + 1) / 2;
    default:
      return t != count;
  }
}

uint16_t Pit::Channel::Count(uint64_t now) const {
  const uint64_t t = counting ? Ticks(now) : 0;
  uint64_t left;
  switch (mode) {
    case 2:
      left = count - t % count;
      break;
    case 3:  // counts by two, twice a period
      left = (count & ~1u) - (2 * t) % std::max(count & ~1u, 2u);
      break;
    default:  // goes on past zero
      left = (bcd ? 10000 : 0x10000) + count - t % (bcd ? 10000 : 0x10000);
  }
  return bcd ? ToBcd(static_cast<uint32_t>(left % 10000)) : static_cast<uint16_t>(left);
}

void Pit::Channel::LatchCount(uint64_t now) {
  if (latched) return;  // until it is read
  latched = true;
  latch = Count(now);
}

void Pit::Channel::LatchStatus(uint64_t now) {
  if (status_latched) return;
  status_latched = true;
  status = static_cast<uint8_t>((Output(now) ? 0x80 : 0) | (counting ? 0 : 0x40) |
                                static_cast<unsigned>(access) << 4 | mode << 1 | (bcd ? 1 : 0));
}

void Pit::Channel::SetGate(bool level, uint64_t now) {
  if (level == gate) return;
  const bool pauses = mode == 0 || mode == 4;
  if (pauses && counting) {
    if (level) {
      start_ns = now - std::min(now, TicksToNs(paused_ticks));
    } else {
      paused_ticks = Ticks(now);
    }
    paused = !level;
  }
  gate = level;
  if (level && !pauses) start_ns = now;  // triggers, or starts the period anew
}

uint8_t Pit::Channel::Read(uint64_t now) {
  if (status_latched) {
    status_latched = false;
    return status;
  }
  const uint16_t value = latched ? latch : Count(now);
  const bool high = access == Access::kHigh || (access == Access::kBoth && read_high);
  if (access == Access::kBoth) read_high = !read_high;
  if (access != Access::kBoth || high) latched = false;
  return static_cast<uint8_t>(high ? value >> 8 : value);
}

bool Pit::Channel::Write(uint8_t value, uint64_t now) {
  uint32_t written = value;
  if (access == Access::kHigh) written = static_cast<uint32_t>(value) << 8;
  if (access == Access::kBoth) {
    if (!write_high) {
      low = value;
      write_high = true;
      if (mode == 0) counting = false;  // the first byte stops it
      return false;
    }
    write_high = false;
    written = static_cast<uint32_t>(value) << 8 | low;
  }
  count = bcd ? FromBcd(written) : written;
  if (count == 0) count = bcd ? 10000 : 0x10000;
  if ((mode == 2 || mode == 3) && count == 1) count = 2;  // 1 is illegal there
  start_ns = now;
  counting = true;
  paused = (mode == 0 || mode == 4) && !gate;
  paused_ticks = 0;
  return true;
}

void Pit::WriteControl(uint8_t value) {
  const uint64_t now = clock_.NowNs();
  if (value >> 6 == 3) {  // read-back
    for (unsigned i = 0; i < 3; ++i) {
      if (!(value >> (i + 1) & 1)) continue;
      if (!(value & 0x20)) channels_[i].LatchCount(now);
      if (!(value & 0x10)) channels_[i].LatchStatus(now);
    }
    return;
  }
  Channel& c = channels_[value >> 6];
  const auto access = static_cast<Access>(value >> 4 & 3);
  if (access == Access::kNone) return c.LatchCount(now);
  const bool gate = c.gate;
  c = Channel();
  c.gate = gate;
  c.access = access;
  c.mode = value >> 1 & 7;
  if (c.mode > 5) c.mode -= 4;
  c.bcd = value & 1;
  if (&c == &channels_[0]) {
    line_ = c.mode != 0;
    irq_.Set(line_);
    timer_->Disarm();
  }
}

// Channel 0 raises IRQ 0 at each rising edge of its output. The low part of a
// period is not shown: the line falls and rises there.
void Pit::ArmTimer() {
  const Channel& c = channels_[0];
  if (!c.counting || c.mode == 1 || c.mode == 5) return timer_->Disarm();  // no trigger
  const uint64_t now = clock_.NowNs();
  const uint64_t done = c.Ticks(now);
  uint64_t next;
  if (c.mode == 2 || c.mode == 3) {
    next = (done / c.count + 1) * c.count;
  } else {
    next = c.mode == 0 ? c.count : c.count + uint64_t{1};
    if (done >= next) return timer_->Disarm();
  }
  timer_->Arm(std::max(c.start_ns + TicksToNs(next), now + kMinIntervalNs));
}

void Pit::Fire() {
  irq_.Set(false);
  line_ = true;
  irq_.Set(true);
  ArmTimer();
}

uint64_t Pit::Read(unsigned region, uint64_t offset, unsigned) {
  const uint64_t now = clock_.NowNs();
  if (region == kCounters) return offset < 3 ? channels_[offset].Read(now) : 0xFF;
  return (channels_[2].gate ? kGate2 : 0) | (speaker_ ? kSpeaker : 0) |
         ((now / kRefreshNs) & 1 ? kRefresh : 0) | (channels_[2].Output(now) ? kOutput2 : 0);
}

void Pit::Write(unsigned region, uint64_t offset, unsigned, uint64_t wide) {
  const uint8_t value = static_cast<uint8_t>(wide);
  const uint64_t now = clock_.NowNs();
  if (region == kPortB) {
    channels_[2].SetGate(value & kGate2, now);
    speaker_ = value & kSpeaker;
  } else if (offset == 3) {
    WriteControl(value);
  } else if (offset < 3 && channels_[offset].Write(value, now) && offset == 0) {
    if (channels_[0].mode == 0) {
      line_ = false;
      irq_.Set(false);
    }
    ArmTimer();
  }
}

void Pit::Channel::VisitState(StateVisitor& v) {
  v.Bounded("mode", mode, 5);
  v.Field("bcd", bcd);
  v.Bounded("access", access, static_cast<uint64_t>(Access::kBoth));
  v.Field("gate", gate);
  v.Field("counting", counting);
  v.Bounded("count", count, 0x10000);
  v.Field("start_ns", start_ns);
  v.Field("paused", paused);
  v.Field("paused_ticks", paused_ticks);
  v.Field("write_high", write_high);
  v.Field("low", low);
  v.Field("read_high", read_high);
  v.Field("latched", latched);
  v.Field("latch", latch);
  v.Field("status_latched", status_latched);
  v.Field("status", status);
  if (v.loading()) count = std::clamp(count, 1u, 0x10000u);
}

void Pit::VisitState(StateVisitor& v) {
  for (Channel& c : channels_) {
    v.Begin("channel");
    c.VisitState(v);
    v.End();
  }
  v.Field("line", line_);
  v.Field("speaker", speaker_);
  if (v.loading()) {
    irq_.Set(line_);
    ArmTimer();
  }
}

}  // namespace atl::dev
