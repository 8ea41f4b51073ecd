// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/hpet.h"

#include <algorithm>

#include "lib/dev/state.h"

namespace atl::dev {
namespace {

constexpr uint64_t kCapabilities = 0x000;
constexpr uint64_t kConfig = 0x010;
constexpr uint64_t kStatus = 0x020;
constexpr uint64_t kCounter = 0x0F0;
constexpr uint64_t kFirstTimer = 0x100;
constexpr uint64_t kTimerStride = 0x20;
constexpr uint64_t kTimerConfig = 0x00;  // in a timer's block
constexpr uint64_t kTimerComparator = 0x08;
constexpr uint64_t kTimerMessage = 0x10;

constexpr uint64_t kFemtosecondsPerTick = Hpet::kTickNs * 1'000'000;
constexpr uint64_t kCapabilitiesValue = kFemtosecondsPerTick << 32 | 0x8086u << 16 |
                                        1 << 15 |  // legacy replacement
                                        1 << 13 |  // 64 bits
                                        (Hpet::kTimers - 1) << 8 | 0x01;

constexpr uint64_t kEnable = 1 << 0;  // configuration
constexpr uint64_t kLegacy = 1 << 1;

constexpr uint64_t kLevel = 1 << 1;  // a timer's configuration
constexpr uint64_t kInterrupts = 1 << 2;
constexpr uint64_t kPeriodic = 1 << 3;
constexpr uint64_t kSetValue = 1 << 6;
constexpr uint64_t k32Bits = 1 << 8;
constexpr uint64_t kMessages = 1 << 14;
constexpr unsigned kRouteShift = 9;
constexpr uint64_t kTimerWritable =
    kLevel | kInterrupts | kPeriodic | kSetValue | k32Bits | 0x1F << kRouteShift | kMessages;
// Periodic, 64 bits, messages, pins 16 to 23.
constexpr uint64_t kTimerCapabilities = uint64_t{0x00FF0000} << 32 | 1 << 15 | 1 << 5 | 1 << 4;

constexpr uint64_t kLow = 0xFFFFFFFF;
// A guest that asks for an interrupt each tick must not eat the loop thread.
constexpr uint64_t kMinIntervalNs = 20'000;
// A timer that interrupts nobody (what Linux makes of its tick once it has a
// better one) is looked at when the guest does, and else so seldom that it wakes
// the host in vain no more than this; often enough for a counter of 32 bits,
// which turns round in 43 s.
constexpr uint64_t kUnheardNs = 10'000'000'000;
constexpr uint64_t kFarTicks = uint64_t{1} << 58;  // 91 years: not in this machine's life

}  // namespace

Hpet::Hpet(const Wiring& wiring, Clock& clock) : wiring_(wiring), clock_(clock) {
  for (unsigned n = 0; n < kTimers; ++n) timers_[n].timer = clock.NewTimer([this, n] { Fire(n); });
  inputs_[0].line = wiring.irq0;
  inputs_[1].line = wiring.irq8;
  for (Input& input : inputs_) input.replaced = &replaced_;
  Reset();
}

void Hpet::Reset() {
  for (unsigned n = 0; n < kTimers; ++n) {
    SetHigh(n, false);
    Comparator& t = timers_[n];
    t.config = kTimerCapabilities;
    t.value = ~uint64_t{0};
    t.period = t.message = 0;
    t.waiting = false;
    t.timer->Disarm();
  }
  config_ = status_ = base_count_ = base_ns_ = 0;
  SetReplaced(false);
}

uint64_t Hpet::Counter() const {
  if (!enabled()) return base_count_;
  const uint64_t now = clock_.NowNs();
  return base_count_ + (now - std::min(now, base_ns_)) / kTickNs;
}

// Interrupts.

IrqLine* Hpet::LineOf(unsigned n) const {
  if ((config_ & kLegacy) && n < 2) return n == 0 ? wiring_.irq0 : wiring_.irq8;
  const unsigned pin = timers_[n].config >> kRouteShift & 0x1F;
  return pin >= kFirstPin && pin < kFirstPin + kPins ? wiring_.pins[pin - kFirstPin] : nullptr;
}

void Hpet::SetHigh(unsigned n, bool high) {
  if (timers_[n].high == high) return;
  timers_[n].high = high;
  if (IrqLine* line = LineOf(n)) line->Set(high);
}

void Hpet::Interrupt(unsigned n) {
  const Comparator& t = timers_[n];
  if (t.config & kLevel) status_ |= uint64_t{1} << n;
  if (!(t.config & kInterrupts)) return;
  if (t.config & kMessages) {
    if (wiring_.msi != nullptr)
      wiring_.msi->SendMsi(t.message >> 32, static_cast<uint32_t>(t.message));
  } else if (t.config & kLevel) {
    SetHigh(n, true);
  } else if (IrqLine* line = LineOf(n)) {
    line->Set(true);
    line->Set(false);
  }
}

void Hpet::Arm(unsigned n) {
  Comparator& t = timers_[n];
  if (!enabled() || !t.waiting) return t.timer->Disarm();
  const uint64_t now = clock_.NowNs();
  const uint64_t difference = t.value - Counter();
  // A comparator that was passed already matches at once, not after a wrap.
  const int64_t ticks =
      t.config & k32Bits ? static_cast<int32_t>(difference) : static_cast<int64_t>(difference);
  if (ticks > 0 && static_cast<uint64_t>(ticks) > kFarTicks) return t.timer->Disarm();
  uint64_t wait = ticks > 0 ? static_cast<uint64_t>(ticks) * kTickNs : 0;
  if (t.config & kPeriodic) wait = std::max(wait, kMinIntervalNs);
  if (!(t.config & kInterrupts)) wait = std::max(wait, kUnheardNs);
  t.timer->Arm(now + wait);
}

bool Hpet::Due(const Comparator& t) const {
  const uint64_t difference = t.value - Counter();
  return (t.config & k32Bits ? static_cast<int32_t>(difference)
                             : static_cast<int64_t>(difference)) <= 0;
}

void Hpet::Settle() {
  if (!enabled()) return;
  for (unsigned n = 0; n < kTimers; ++n) {
    const Comparator& t = timers_[n];
    if (t.waiting && !(t.config & kInterrupts) && Due(t)) Fire(n);
  }
}

void Hpet::Fire(unsigned n) {
  Comparator& t = timers_[n];
  if (!enabled() || !t.waiting) return;
  // Looked at early: see kUnheardNs.
  if (!(t.config & kInterrupts) && !Due(t)) return Arm(n);
  if ((t.config & kPeriodic) && t.period != 0) {
    const uint64_t mask = t.config & k32Bits ? kLow : ~uint64_t{0};
    const uint64_t late = (Counter() - t.value) & mask;
    t.value = (t.value + (late / t.period + 1) * t.period) & mask;  // missed ones are gone
  } else {
    t.waiting = false;
  }
  Interrupt(n);
  Arm(n);
}

// Registers.

uint64_t Hpet::ReadRegister(uint64_t offset) const {
  if (offset >= kFirstTimer) {
    const uint64_t n = (offset - kFirstTimer) / kTimerStride;
    if (n >= kTimers) return 0;
    switch (offset % kTimerStride) {
      case kTimerConfig:
        return timers_[n].config;
      case kTimerComparator:
        return timers_[n].value;
      case kTimerMessage:
        return timers_[n].message;
      default:
        return 0;
    }
  }
  switch (offset) {
    case kCapabilities:
      return kCapabilitiesValue;
    case kConfig:
      return config_;
    case kStatus:
      return status_;
    case kCounter:
      return Counter();
    default:
      return 0;
  }
}

void Hpet::SetReplaced(bool replaced) {
  if (replaced_.exchange(replaced) != replaced && wiring_.on_replaced) {
    wiring_.on_replaced(replaced);
  }
}

void Hpet::WriteConfig(uint64_t value) {
  const bool was_enabled = enabled();
  const uint64_t counter = Counter();
  // A line that is high is let go where it was.
  for (unsigned n = 0; n < kTimers; ++n) SetHigh(n, false);
  config_ = value & (kEnable | kLegacy);
  if (enabled() != was_enabled) {
    base_count_ = counter;
    base_ns_ = clock_.NowNs();
  }
  SetReplaced((config_ & kLegacy) != 0);
  for (unsigned n = 0; n < kTimers; ++n) Arm(n);
}

void Hpet::WriteComparator(unsigned n, uint64_t value, uint64_t mask) {
  Comparator& t = timers_[n];
  const bool periodic = t.config & kPeriodic;
  if (!periodic || (t.config & kSetValue)) t.value = (t.value & ~mask) | value;
  if (periodic) t.period = (t.period & ~mask) | value;
  if (t.config & k32Bits) {
    t.value &= kLow;
    t.period &= kLow;
  }
  // The low half of a 64-bit value is followed by the high one.
  if (mask != kLow || (t.config & k32Bits)) t.config &= ~kSetValue;
  t.waiting = true;
  Arm(n);
}

void Hpet::WriteRegister(uint64_t offset, uint64_t value, uint64_t mask) {
  const uint64_t merged = (ReadRegister(offset) & ~mask) | value;
  if (offset >= kFirstTimer) {
    const auto n = static_cast<unsigned>((offset - kFirstTimer) / kTimerStride);
    if (n >= kTimers) return;
    Comparator& t = timers_[n];
    switch (offset % kTimerStride) {
      case kTimerConfig:
        SetHigh(n, false);
        t.config = (merged & kTimerWritable) | kTimerCapabilities;
        if (t.config & k32Bits) {
          t.value &= kLow;
          t.period &= kLow;
        }
        return Arm(n);
      case kTimerComparator:
        return WriteComparator(n, value, mask);
      case kTimerMessage:
        t.message = merged;
        return;
      default:
        return;
    }
  }
  switch (offset) {
    case kConfig:
      return WriteConfig(merged);
    case kStatus:  // write 1 to clear
      for (unsigned n = 0; n < kTimers; ++n)
        if (value >> n & 1) SetHigh(n, false);
      status_ &= ~value;
      return;
    case kCounter:
      if (enabled()) return;  // only while it stands
      base_count_ = merged;
      return;
    default:
      return;
  }
}

uint64_t Hpet::Read(unsigned, uint64_t offset, unsigned size) {
  Settle();
  const uint64_t whole = ReadRegister(offset & ~uint64_t{7}) >> (8 * (offset & 7));
  return size == 8 ? whole : whole & kLow;
}

void Hpet::Write(unsigned, uint64_t offset, unsigned size, uint64_t value) {
  Settle();
  const unsigned shift = 8 * (offset & 4);
  const uint64_t mask = size == 8 ? ~uint64_t{0} : kLow << shift;
  WriteRegister(offset & ~uint64_t{7}, value << shift & mask, mask);
}

void Hpet::VisitState(StateVisitor& v) {
  if (!v.loading()) Settle();
  v.Bounded("config", config_, kEnable | kLegacy);
  v.Bounded("status", status_, (1 << kTimers) - 1);
  v.Field("base_count", base_count_);
  v.Field("base_ns", base_ns_);
  for (Comparator& t : timers_) {
    v.Begin("timer");
    v.Field("config", t.config);
    v.Field("value", t.value);
    v.Field("period", t.period);
    v.Field("message", t.message);
    v.Field("waiting", t.waiting);
    v.Field("high", t.high);
    v.End();
  }
  if (v.loading()) {
    SetReplaced((config_ & kLegacy) != 0);
    for (unsigned n = 0; n < kTimers; ++n) {
      if (IrqLine* line = LineOf(n); line != nullptr && timers_[n].high) line->Set(true);
      Arm(n);
    }
  }
}

}  // namespace atl::dev
