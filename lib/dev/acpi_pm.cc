// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/acpi_pm.h"

#include "lib/dev/state.h"

namespace atl::dev {
namespace {

constexpr uint16_t kTimerStatus = 1 << 0;  // PM1 status and enable
constexpr uint16_t kPowerButton = 1 << 8;
constexpr uint16_t kSleepButton = 1 << 9;
constexpr uint16_t kPm1Events = 0x0721;  // timer, global, power and sleep button, RTC
constexpr uint16_t kWake = 1 << 15;      // status only

constexpr uint16_t kSciEnable = 1 << 0;  // PM1 control
constexpr unsigned kSleepTypeShift = 10;
constexpr uint16_t kSleepEnable = 1 << 13;
constexpr uint16_t kControlWritable = 0x1C02;  // SLP_TYP, BM_RLD
constexpr uint8_t kS3SleepType = 1;

constexpr uint64_t kTimerMask = 0xFFFFFF;
constexpr unsigned kCarryShift = 23;
constexpr uint64_t kSecond = 1'000'000'000;

uint16_t SetByte(uint16_t word, unsigned byte, uint8_t value) {
  return static_cast<uint16_t>((word & ~(0xFF << (8 * byte))) | value << (8 * byte));
}

}  // namespace

AcpiPm::AcpiPm(IrqLine& sci, Clock& clock, SystemControl& system)
    : sci_(sci), clock_(clock), system_(system) {
  timer_ = clock.NewTimer([this] {
    CatchUp();
    Update();
  });
  Reset();
}

void AcpiPm::Reset() {
  pm1_status_ = pm1_enable_ = pm1_control_ = 0;
  gpe_status_ = gpe_enable_ = 0;
  apm_control_ = apm_status_ = 0;
  carries_ = TimerTicks() >> kCarryShift;
  Update();
}

void AcpiPm::EnableAcpi() {
  pm1_control_ |= kSciEnable;
  Update();
}

void AcpiPm::PressPowerButton() {
  pm1_status_ |= kPowerButton;
  Update();
}

void AcpiPm::PressSleepButton() {
  pm1_status_ |= kSleepButton;
  Update();
}

void AcpiPm::RaiseGpe(unsigned event) {
  gpe_status_ |= static_cast<uint16_t>(1u << (event & 15));
  Update();
}

uint64_t AcpiPm::TimerTicks() const {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(clock_.NowNs()) * kTimerHz / kSecond);
}

void AcpiPm::CatchUp() {
  const uint64_t carries = TimerTicks() >> kCarryShift;
  if (carries != carries_) pm1_status_ |= kTimerStatus;
  carries_ = carries;
}

void AcpiPm::Update() {
  const bool event = (pm1_status_ & pm1_enable_ & kPm1Events) || (gpe_status_ & gpe_enable_);
  sci_.Set(event && (pm1_control_ & kSciEnable));
  if ((pm1_enable_ & kTimerStatus) && !(pm1_status_ & kTimerStatus)) {
    const uint64_t ticks = (carries_ + 1) << kCarryShift;
    timer_->Arm(static_cast<uint64_t>(
        (static_cast<unsigned __int128>(ticks) * kSecond + kTimerHz - 1) / kTimerHz));
  } else {
    timer_->Disarm();
  }
}

void AcpiPm::WriteControl(uint16_t value) {
  pm1_control_ = static_cast<uint16_t>((pm1_control_ & kSciEnable) | (value & kControlWritable));
  if (!(value & kSleepEnable)) return;
  // Suspend to memory is not offered; whatever else it is, the machine is off.
  if ((value >> kSleepTypeShift & 7) != kS3SleepType) system_.RequestPowerOff();
}

uint8_t AcpiPm::ReadByte(unsigned region, uint64_t offset) const {
  const unsigned shift = 8 * (offset & 1);
  if (region == kApm) return offset == 0 ? apm_control_ : apm_status_;
  if (region == kGpe0)
    return static_cast<uint8_t>((offset < 2 ? gpe_status_ : gpe_enable_) >> shift);
  switch (offset / 2) {
    case 0:
      return static_cast<uint8_t>(pm1_status_ >> shift);
    case 1:
      return static_cast<uint8_t>(pm1_enable_ >> shift);
    case 2:
      return static_cast<uint8_t>(pm1_control_ >> shift);
    default:
      return 0;
  }
}

void AcpiPm::WriteByte(unsigned region, uint64_t offset, uint8_t value) {
  const unsigned byte = offset & 1;
  const uint16_t ones = static_cast<uint16_t>(value << (8 * byte));
  if (region == kApm) {
    if (offset == 1) {
      apm_status_ = value;
      return;
    }
    apm_control_ = value;
    if (value == kAcpiEnable) pm1_control_ |= kSciEnable;
    if (value == kAcpiDisable) pm1_control_ &= static_cast<uint16_t>(~kSciEnable);
    return;
  }
  if (region == kGpe0) {
    if (offset < 2) {
      gpe_status_ &= static_cast<uint16_t>(~ones);  // write 1 to clear
    } else if (offset < 4) {
      gpe_enable_ = SetByte(gpe_enable_, byte, value);
    }
    return;
  }
  switch (offset / 2) {
    case 0:
      pm1_status_ &= static_cast<uint16_t>(~(ones & (kPm1Events | kWake)));
      return;
    case 1:
      pm1_enable_ = SetByte(pm1_enable_, byte, value) & kPm1Events;
      return;
    case 2:
      return WriteControl(SetByte(pm1_control_ & ~kSleepEnable, byte, value));
    default:
      return;
  }
}

uint64_t AcpiPm::Read(unsigned region, uint64_t offset, unsigned size) {
  if (region == kPm && offset >= 8 && offset < 12)
    return (TimerTicks() & kTimerMask) >> (8 * (offset - 8));
  CatchUp();
  Update();
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) value |= uint64_t{ReadByte(region, offset + i)} << (8 * i);
  return value;
}

void AcpiPm::Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) {
  CatchUp();
  // The control register acts once, on the whole that is written.
  if (region == kPm && offset == 4 && size >= 2) {
    WriteControl(static_cast<uint16_t>(value));
  } else {
    for (unsigned i = 0; i < size; ++i)
      WriteByte(region, offset + i, static_cast<uint8_t>(value >> (8 * i)));
  }
  Update();
}

void AcpiPm::VisitState(StateVisitor& v) {
  if (!v.loading()) CatchUp();
  v.Field("pm1_status", pm1_status_);
  v.Bounded("pm1_enable", pm1_enable_, kPm1Events);
  v.Field("pm1_control", pm1_control_);
  v.Field("gpe_status", gpe_status_);
  v.Field("gpe_enable", gpe_enable_);
  v.Field("apm_control", apm_control_);
  v.Field("apm_status", apm_status_);
  v.Field("carries", carries_);
  if (v.loading()) {
    carries_ = TimerTicks() >> kCarryShift;  // what it is by the clock
    Update();
  }
}

}  // namespace atl::dev
