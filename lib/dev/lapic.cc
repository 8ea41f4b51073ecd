// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/lapic.h"

#include <algorithm>
#include <bit>

#include "lib/dev/irq_chips.h"

namespace atl::dev {
namespace {

// Register numbers: page offset / 16, MSR - 0x800.
enum Register : unsigned {
  kIdRegister = 0x02,
  kVersion = 0x03,
  kTaskPriority = 0x08,
  kArbitrationPriority = 0x09,
  kProcessorPriority = 0x0A,
  kEoi = 0x0B,
  kRemoteRead = 0x0C,
  kLogicalDestination = 0x0D,
  kDestinationFormat = 0x0E,
  kSpurious = 0x0F,
  kIsr = 0x10,
  kTmr = 0x18,
  kIrr = 0x20,
  kErrorStatus = 0x28,
  kCommandLow = 0x30,
  kCommandHigh = 0x31,
  kFirstLvt = 0x32,
  kInitialCount = 0x38,
  kCurrentCount = 0x39,
  kDivide = 0x3E,
  kSelfIpi = 0x3F,
};

constexpr uint32_t kVersionValue = 0x14 | 5 << 16;  // 6 LVT entries
constexpr uint64_t kBaseEnable = 1 << 11;
constexpr uint64_t kBaseX2 = 1 << 10;
constexpr uint64_t kBaseBootstrap = 1 << 8;
constexpr uint64_t kBaseReserved = 0xFFF00000000002FF;

constexpr uint32_t kMasked = 1 << 16;
constexpr uint32_t kLintBits = 0x1A7FF;
constexpr uint32_t kLvtWritable[] = {0x700FF, 0x107FF, 0x107FF, kLintBits, kLintBits, 0x100FF};

constexpr uint32_t kSendIllegalVector = 1 << 5;
constexpr uint32_t kReceiveIllegalVector = 1 << 6;
constexpr uint32_t kIllegalRegister = 1 << 7;
constexpr uint8_t kFirstVector = 16;

// A guest that asks for a tick each nanosecond must not eat the loop thread.
constexpr uint64_t kMinPeriodNs = 20'000;

int Highest(const uint32_t (&set)[8]) {
  for (int i = 7; i >= 0; --i)
    if (set[i] != 0) return 32 * i + 31 - std::countl_zero(set[i]);
  return -1;
}
bool Test(const uint32_t (&set)[8], unsigned v) { return set[v / 32] >> (v % 32) & 1; }
void Put(uint32_t (&set)[8], unsigned v, bool on) {
  const uint32_t bit = 1u << (v % 32);
  set[v / 32] = on ? set[v / 32] | bit : set[v / 32] & ~bit;
}

bool ReadableX2(unsigned r) {
  return r == kIdRegister || r == kVersion || r == kTaskPriority || r == kProcessorPriority ||
         r == kLogicalDestination || r == kSpurious || (r >= kIsr && r <= kErrorStatus) ||
         r == kCommandLow || (r >= kFirstLvt && r <= kCurrentCount) || r == kDivide;
}
bool WritableX2(unsigned r) {
  return r == kTaskPriority || r == kEoi || r == kSpurious || r == kErrorStatus ||
         r == kCommandLow || (r >= kFirstLvt && r <= kInitialCount) || r == kDivide ||
         r == kSelfIpi;
}

}  // namespace

Lapic::Lapic(uint32_t id, uint64_t tsc_hz, Clock& clock, ApicFabric& fabric)
    : id_(id), tsc_hz_(std::max<uint64_t>(tsc_hz, 1)), clock_(clock), fabric_(fabric) {
  timer_ = clock.NewTimer([this] { Fire(); });
}

void Lapic::Connect(VcpuSignals* signals) {
  signals_ = signals;
  if (signals_ != nullptr) signals_->SetInterruptLine(pending());
}

void Lapic::Reset() {
  base_ = IrqChips::kLapicBase | kBaseEnable | (id_ == 0 ? kBaseBootstrap : 0);
  ResetRegisters();
  Update();
}

void Lapic::ResetRegisters() {
  task_priority_ = 0;
  logical_destination_ = 0;
  destination_format_ = 0xFFFFFFFF;
  spurious_ = 0xFF;
  for (auto* set : {&isr_, &tmr_, &irr_}) std::fill(std::begin(*set), std::end(*set), 0);
  errors_ = error_status_ = 0;
  icr_ = 0;
  for (uint32_t& lvt : lvt_) lvt = kMasked;
  // Virtual wire mode, as firmware finds it (MultiProcessor Specification 3.6.2.2).
  if (id_ == 0) lvt_[kLint0] = static_cast<uint32_t>(Delivery::kExtInt) << 8;
  divide_ = 0;
  StopTimer();
}

void Lapic::Update() {
  const int wanted = hardware_enabled() ? Highest(irr_) : -1;
  const bool high = (wanted >= 0 && (wanted >> 4) > (ProcessorPriority() >> 4)) ||
                    (fabric_.pic_output() && AcceptsExtInt());
  if (pending_.exchange(high, std::memory_order_acq_rel) != high && signals_ != nullptr)
    signals_->SetInterruptLine(high);
}

uint8_t Lapic::ProcessorPriority() const {
  const int serving = Highest(isr_);
  const uint8_t isr_class = serving < 0 ? 0 : serving & 0xF0;
  return (task_priority_ & 0xF0) >= isr_class ? task_priority_ : isr_class;
}

bool Lapic::AcceptsExtInt() const {
  if (!hardware_enabled()) return true;  // INTR is wired through
  return !(lvt_[kLint0] & kMasked) &&
         static_cast<Delivery>(lvt_[kLint0] >> 8 & 7) == Delivery::kExtInt;
}

int Lapic::Acknowledge() {
  const int vector = hardware_enabled() ? Highest(irr_) : -1;
  if (vector < 0 || (vector >> 4) <= (ProcessorPriority() >> 4)) return -1;
  Put(irr_, vector, false);
  Put(isr_, vector, true);
  Update();
  return vector;
}

void Lapic::EndOfInterrupt() {
  const int vector = Highest(isr_);
  if (vector < 0) return;
  Put(isr_, vector, false);
  if (Test(tmr_, vector)) fabric_.BroadcastEoi(static_cast<uint8_t>(vector));
  Update();
}

void Lapic::set_task_priority(uint8_t value) {
  task_priority_ = value;
  Update();
}

// Messages.

uint32_t Lapic::logical_id() const {
  return x2() ? (id_ >> 4) << 16 | 1u << (id_ & 15) : logical_destination_ >> 24;
}

bool Lapic::IsAddressed(const ApicMessage& m) const {
  if (!hardware_enabled()) return false;
  if (m.destination == (m.wide ? 0xFFFFFFFF : 0xFF) && !(m.logical && !m.wide)) return true;
  if (!m.logical) return m.destination == id_;
  const uint32_t mine = logical_id();
  if (x2()) return (m.destination >> 16) == (mine >> 16) && (m.destination & mine & 0xFFFF) != 0;
  if (m.destination > 0xFF) return false;
  if (destination_format_ >> 28 == 0xF) return (m.destination & mine) != 0;
  const uint32_t cluster = m.destination >> 4;
  return (cluster == 0xF || cluster == mine >> 4) && (m.destination & mine & 0xF) != 0;
}

void Lapic::Deliver(const ApicMessage& m) {
  switch (m.delivery) {
    case Delivery::kFixed:
    case Delivery::kLowestPriority:
      if (takes_interrupts()) Accept(m.vector, m.level);
      return;
    case Delivery::kNmi:
      if (signals_ != nullptr) signals_->RaiseNmi();
      return;
    case Delivery::kInit:
      ResetRegisters();
      Update();
      if (signals_ != nullptr) signals_->SendInit();
      return;
    case Delivery::kStartup:
      if (signals_ != nullptr) signals_->SendSipi(m.vector);
      return;
    case Delivery::kSmi:
    case Delivery::kReserved:
    case Delivery::kExtInt:
      return;
  }
}

void Lapic::Accept(uint8_t vector, bool level) {
  if (vector < kFirstVector) return ReportError(kReceiveIllegalVector);
  Put(irr_, vector, true);
  Put(tmr_, vector, level);
  Update();
}

void Lapic::SendIpi() {
  ApicMessage m{.destination = static_cast<uint32_t>(x2() ? icr_ >> 32 : icr_ >> 56),
                .logical = (icr_ & 1 << 11) != 0,
                .wide = x2(),
                .delivery = static_cast<Delivery>(icr_ >> 8 & 7),
                .vector = static_cast<uint8_t>(icr_)};
  const bool deassert = (icr_ & 1 << 15) && !(icr_ & 1 << 14);
  if (m.delivery == Delivery::kInit && deassert) return;
  const bool has_vector = m.delivery == Delivery::kFixed || m.delivery == Delivery::kLowestPriority;
  if (has_vector && m.vector < kFirstVector) return ReportError(kSendIllegalVector);
  switch (icr_ >> 18 & 3) {
    case 0:
      return fabric_.Send(m);
    case 1:
      if (has_vector) Deliver(m);
      return;
    case 2:
      return fabric_.SendToAll(m, nullptr);
    case 3:
      return fabric_.SendToAll(m, this);
  }
}

void Lapic::RunLvt(Lvt lvt) {
  const uint32_t entry = lvt_[lvt];
  if (entry & kMasked) return;
  const bool has_mode = lvt != kTimer && lvt != kError;
  const Delivery mode = has_mode ? static_cast<Delivery>(entry >> 8 & 7) : Delivery::kFixed;
  if (mode != Delivery::kFixed && mode != Delivery::kNmi) return;
  Deliver({.delivery = mode, .vector = static_cast<uint8_t>(entry)});
}

void Lapic::SetLint0(bool level) {
  if (level && !lint0_) RunLvt(kLint0);
  lint0_ = level;
  Update();
}

void Lapic::PulseLint1() { RunLvt(kLint1); }

void Lapic::ReportError(uint32_t bit) {
  // An error entry whose own vector is illegal must not report itself for ever.
  const bool known = errors_ & bit;
  errors_ |= bit;
  if (!known) RunLvt(kError);
}

// Registers.

uint32_t Lapic::ReadRegister(unsigned r) {
  if (r >= kIsr && r < kIsr + 8) return isr_[r - kIsr];
  if (r >= kTmr && r < kTmr + 8) return tmr_[r - kTmr];
  if (r >= kIrr && r < kIrr + 8) return irr_[r - kIrr];
  if (r >= kFirstLvt && r < kFirstLvt + kLvts) return lvt_[r - kFirstLvt];
  switch (r) {
    case kIdRegister:
      return x2() ? id_ : id_ << 24;
    case kVersion:
      return kVersionValue;
    case kTaskPriority:
      return task_priority_;
    case kArbitrationPriority:
    case kProcessorPriority:
      return ProcessorPriority();
    case kEoi:
    case kRemoteRead:
      return 0;
    case kLogicalDestination:
      return x2() ? logical_id() : logical_destination_;
    case kDestinationFormat:
      return destination_format_;
    case kSpurious:
      return spurious_;
    case kErrorStatus:
      return error_status_;
    case kCommandLow:
      return static_cast<uint32_t>(icr_);
    case kCommandHigh:
      return static_cast<uint32_t>(icr_ >> 32);
    case kInitialCount:
      return initial_count_;
    case kCurrentCount:
      return CurrentCount();
    case kDivide:
      return divide_;
    default:
      ReportError(kIllegalRegister);
      return 0;
  }
}

void Lapic::WriteRegister(unsigned r, uint32_t value) {
  if (r >= kFirstLvt && r < kFirstLvt + kLvts) return WriteLvt(r - kFirstLvt, value);
  switch (r) {
    case kTaskPriority:
      return set_task_priority(static_cast<uint8_t>(value));
    case kEoi:
      return EndOfInterrupt();
    case kLogicalDestination:
      logical_destination_ = value & 0xFF000000;
      return;
    case kDestinationFormat:
      destination_format_ = value | 0x0FFFFFFF;
      return;
    case kSpurious:
      spurious_ = value & 0x3FF;
      if (!(spurious_ & kSoftwareEnable))
        for (uint32_t& lvt : lvt_) lvt |= kMasked;
      return Update();
    case kErrorStatus:
      error_status_ = errors_;
      errors_ = 0;
      return;
    case kCommandLow:
      icr_ = (icr_ & 0xFFFFFFFF00000000) | (value & 0xCCFFF);
      return SendIpi();
    case kCommandHigh:
      icr_ = (icr_ & 0xFFFFFFFF) | uint64_t{value & 0xFF000000} << 32;
      return;
    case kInitialCount:
      if (timer_mode() == TimerMode::kDeadline) return;
      initial_count_ = value;
      StartCount(period_ns());
      return;
    case kDivide: {
      const uint64_t count = CurrentCount();
      divide_ = value & 0xB;
      if (counting_ && timer_mode() != TimerMode::kDeadline) StartCount(count * divider());
      return;
    }
    case kIdRegister:
    case kVersion:
    case kArbitrationPriority:
    case kProcessorPriority:
    case kRemoteRead:
    case kCurrentCount:
      return;
    default:
      if (r < kIsr || r >= kIrr + 8) ReportError(kIllegalRegister);
  }
}

void Lapic::WriteLvt(unsigned lvt, uint32_t value) {
  value &= kLvtWritable[lvt];
  if (!(spurious_ & kSoftwareEnable)) value |= kMasked;
  if (lvt == kTimer) {
    const TimerMode before = timer_mode();
    lvt_[kTimer] = value;
    const bool deadline = timer_mode() == TimerMode::kDeadline;
    if ((before == TimerMode::kDeadline) != deadline) StopTimer();
    return;
  }
  lvt_[lvt] = value;
  Update();
}

uint32_t Lapic::ReadPage(uint64_t offset) {
  // In x2APIC mode the page is not there (11.12.2).
  return x2() ? 0xFFFFFFFF : ReadRegister(static_cast<unsigned>(offset >> 4));
}

void Lapic::WritePage(uint64_t offset, uint32_t value) {
  if (!x2() && offset % 16 == 0) WriteRegister(static_cast<unsigned>(offset >> 4), value);
}

bool Lapic::ReadX2(uint32_t msr, uint64_t* value) {
  const unsigned r = msr - 0x800;
  if (!x2() || !ReadableX2(r)) return false;
  *value = r == kCommandLow ? icr_ : ReadRegister(r);
  return true;
}

bool Lapic::WriteX2(uint32_t msr, uint64_t value) {
  const unsigned r = msr - 0x800;
  if (!x2() || !WritableX2(r)) return false;
  if (r == kCommandLow) {
    icr_ = value & 0xFFFFFFFF000CCFFF;
    SendIpi();
    return true;
  }
  if (value >> 32 || (value != 0 && (r == kEoi || r == kErrorStatus))) return false;
  if (r == kSelfIpi) {
    Deliver({.vector = static_cast<uint8_t>(value)});
  } else {
    WriteRegister(r, static_cast<uint32_t>(value));
  }
  return true;
}

bool Lapic::WriteBase(uint64_t value) {
  const bool enable = value & kBaseEnable;
  const bool to_x2 = value & kBaseX2;
  if ((value & kBaseReserved) || (to_x2 && !enable)) return false;
  if (x2() && enable && !to_x2) return false;  // only by way of disabled
  if (!hardware_enabled() && to_x2) return false;
  const bool was_enabled = hardware_enabled();
  base_ = (value & ~kBaseBootstrap) | (id_ == 0 ? kBaseBootstrap : 0);
  if (was_enabled && !enable) ResetRegisters();
  Update();
  return true;
}

// The timer. Its input clock runs at 1 GHz: a count is a nanosecond times the
// divider.

uint64_t Lapic::divider() const {
  const unsigned code = (divide_ & 3) | (divide_ >> 1 & 4);
  return code == 7 ? 1 : uint64_t{2} << code;
}

uint32_t Lapic::CurrentCount() const {
  if (!counting_ || timer_mode() == TimerMode::kDeadline) return 0;
  const uint64_t now = clock_.NowNs();
  uint64_t left = 0;
  if (now < expires_ns_) {
    left = expires_ns_ - now;
  } else if (timer_mode() == TimerMode::kPeriodic && period_ns() != 0) {
    left = period_ns() - (now - expires_ns_) % period_ns();
  }
  return static_cast<uint32_t>((left + divider() - 1) / divider());
}

void Lapic::StartCount(uint64_t ns) {
  counting_ = ns != 0;
  if (!counting_) return timer_->Disarm();
  expires_ns_ = clock_.NowNs() + ns;
  timer_->Arm(expires_ns_);
}

void Lapic::StopTimer() {
  counting_ = false;
  initial_count_ = 0;
  expires_ns_ = deadline_tsc_ = 0;
  timer_->Disarm();
}

void Lapic::WriteDeadline(uint64_t tsc) {
  if (timer_mode() != TimerMode::kDeadline) return;
  deadline_tsc_ = tsc;
  counting_ = tsc != 0;
  if (!counting_) return timer_->Disarm();
  const auto ns = (static_cast<unsigned __int128>(tsc) * 1'000'000'000 + tsc_hz_ - 1) / tsc_hz_;
  expires_ns_ = ns > ~uint64_t{0} ? ~uint64_t{0} : static_cast<uint64_t>(ns);
  if (expires_ns_ <= clock_.NowNs()) {
    timer_->Disarm();
    Fire();
  } else {
    timer_->Arm(expires_ns_);
  }
}

void Lapic::Fire() {
  if (!counting_) return;
  const uint64_t now = clock_.NowNs();
  if (timer_mode() == TimerMode::kPeriodic && period_ns() != 0) {
    // Ticks that were missed are not made up for, as on a CPU whose vector is
    // still pending.
    expires_ns_ += period_ns();
    if (expires_ns_ <= now) expires_ns_ += ((now - expires_ns_) / period_ns() + 1) * period_ns();
    timer_->Arm(std::max(expires_ns_, now + kMinPeriodNs));
  } else {
    counting_ = false;
    deadline_tsc_ = 0;
  }
  RunLvt(kTimer);
}

void Lapic::VisitState(StateVisitor& v) {
  uint64_t base = base_;
  v.Field("base", base);
  base_ = base;
  v.Field("task_priority", task_priority_);
  v.Field("logical_destination", logical_destination_);
  v.Field("destination_format", destination_format_);
  v.Bounded("spurious", spurious_, 0x3FF);
  v.Array("isr", isr_);
  v.Array("tmr", tmr_);
  v.Array("irr", irr_);
  v.Field("errors", errors_);
  v.Field("error_status", error_status_);
  v.Field("icr", icr_);
  v.Array("lvt", lvt_);
  v.Field("lint0", lint0_);
  v.Field("divide", divide_);
  v.Field("initial_count", initial_count_);
  v.Field("counting", counting_);
  v.Field("expires_ns", expires_ns_);
  v.Field("deadline_tsc", deadline_tsc_);
  if (v.loading()) {
    if (counting_) {
      timer_->Arm(expires_ns_);
    } else {
      timer_->Disarm();
    }
    Update();
  }
}

}  // namespace atl::dev
