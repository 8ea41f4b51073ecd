// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/rtc.h"

#include <time.h>

#include <algorithm>

#include "lib/base/units.h"
#include "lib/dev/state.h"

namespace atl::dev {
namespace {

enum Register : uint8_t {
  kSeconds = 0x00,
  kSecondsAlarm = 0x01,
  kMinutes = 0x02,
  kMinutesAlarm = 0x03,
  kHours = 0x04,
  kHoursAlarm = 0x05,
  kWeekday = 0x06,
  kDay = 0x07,
  kMonth = 0x08,
  kYear = 0x09,
  kA = 0x0A,
  kB = 0x0B,
  kC = 0x0C,
  kD = 0x0D,
  kShutdown = 0x0F,
  kFloppies = 0x10,
  kEquipment = 0x14,
  kCentury = 0x32,
  kBootOrderThird = 0x38,
  kBootOrder = 0x3D,
  kCpus = 0x5F,
};

constexpr uint8_t kUpdateInProgress = 0x80;  // A
constexpr uint8_t kDividerReset = 0x60;
constexpr uint8_t kRate = 0x0F;
constexpr uint8_t kSet = 0x80;       // B
constexpr uint8_t kPeriodic = 0x40;  // B and C
constexpr uint8_t kAlarm = 0x20;
constexpr uint8_t kUpdateEnded = 0x10;
constexpr uint8_t kBinary = 0x04;
constexpr uint8_t k24Hours = 0x02;
constexpr uint8_t kIrqFlag = 0x80;   // C
constexpr uint8_t kValidRam = 0x80;  // D
constexpr uint8_t kAny = 0xC0;       // an alarm byte that matches everything

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kHalfSecond = kSecond / 2;
constexpr uint64_t kUpdateNs = 244'000;  // announced before it happens
constexpr int64_t kDaySeconds = 24 * 3600;
// Either way from the wall clock, in seconds: some 70,000 years, more than the
// registers can say.
constexpr uint64_t kFarthest = uint64_t{1} << 41;

bool IsTime(uint8_t i) {
  return i == kSeconds || i == kMinutes || i == kHours || (i >= kWeekday && i <= kYear) ||
         i == kCentury;
}

}  // namespace

Rtc::Rtc(IrqLine& irq8, Clock& clock) : irq_(irq8), clock_(clock) {
  timer_ = clock.NewTimer([this] {
    CatchUp();
    Update();
  });
  base_seconds_ = clock.WallSeconds();
  base_ns_ = seen_ns_ = clock.NowNs();
  cmos_[kA] = 0x26;
  cmos_[kB] = k24Hours;
  cmos_[kD] = kValidRam;
  cmos_[kEquipment] = 0x06;  // FPU, PS/2 mouse
}

void Rtc::SetCmos(uint8_t index, uint8_t value) {
  index &= kCmosSize - 1;
  if (index > kD && index != kCentury) cmos_[index] = value;
}

void Rtc::SetMemorySize(uint64_t low_bytes, uint64_t high_bytes) {
  const auto set = [this](uint8_t index, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i)
      SetCmos(static_cast<uint8_t>(index + i), static_cast<uint8_t>(value >> (8 * i)));
  };
  const uint64_t extended_kib =
      std::min<uint64_t>(low_bytes > kMiB ? (low_bytes - kMiB) / kKiB : 0, 0xFFFF);
  set(0x15, std::min<uint64_t>(low_bytes / kKiB, 640), 2);
  set(0x17, extended_kib, 2);
  set(0x30, extended_kib, 2);
  set(0x34,
      std::min<uint64_t>(low_bytes > 16 * kMiB ? (low_bytes - 16 * kMiB) / (64 * kKiB) : 0, 0xFFFF),
      2);
  set(0x5B, std::min<uint64_t>(high_bytes / (64 * kKiB), 0xFFFFFF), 3);
}

bool Rtc::SetBootOrder(absl::string_view order, bool check_floppy) {
  uint8_t codes[3] = {};
  if (order.size() > 3) return false;
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t code = absl::string_view("acdn").find(order[i]);
    if (code == absl::string_view::npos) return false;
    codes[i] = static_cast<uint8_t>(code + 1);
  }
  SetCmos(kBootOrder, static_cast<uint8_t>(codes[0] | codes[1] << 4));
  SetCmos(kBootOrderThird, static_cast<uint8_t>(codes[2] << 4 | (check_floppy ? 0 : 1)));
  return true;
}

void Rtc::SetFloppies(uint8_t types, unsigned drives) {
  SetCmos(kFloppies, types);
  const uint8_t others = cmos_[kEquipment] & 0x3E;
  SetCmos(kEquipment, drives == 0 ? others : static_cast<uint8_t>(others | 1 | (drives - 1) << 6));
}

void Rtc::SetCpuCount(unsigned vcpus) {
  SetCmos(kCpus, static_cast<uint8_t>(std::clamp(vcpus, 1u, 256u) - 1));
}

void Rtc::Reset() {
  CatchUp();
  cmos_[kB] &= static_cast<uint8_t>(~(kPeriodic | kAlarm | kUpdateEnded));
  cmos_[kC] = 0;
  index_ = 0;
  Update();
}

// The time.

bool Rtc::halted() const {
  return (cmos_[kB] & kSet) || (cmos_[kA] & kDividerReset) == kDividerReset;
}

Rtc::Instant Rtc::At(uint64_t now) const {
  const uint64_t since = now - std::min(now, base_ns_);
  return {static_cast<int64_t>(static_cast<uint64_t>(base_seconds_) + since / kSecond),
          since % kSecond};
}

Rtc::Instant Rtc::Now() const { return At(clock_.NowNs()); }

uint8_t Rtc::ToRegister(int value) const {
  return static_cast<uint8_t>(cmos_[kB] & kBinary ? value : (value / 10 << 4) | value % 10);
}
int Rtc::FromRegister(uint8_t v) const {
  return cmos_[kB] & kBinary ? v : (v >> 4) * 10 + (v & 0xF);
}

uint8_t Rtc::HourToRegister(int hour) const {
  if (cmos_[kB] & k24Hours) return ToRegister(hour);
  return ToRegister(hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0);
}
int Rtc::HourFromRegister(uint8_t v) const {
  if (cmos_[kB] & k24Hours) return FromRegister(v);
  return FromRegister(v & 0x7F) % 12 + (v & 0x80 ? 12 : 0);
}

void Rtc::Encode(int64_t seconds) {
  const time_t t = seconds;
  tm civil{};
  gmtime_r(&t, &civil);
  const int year = civil.tm_year + 1900;
  cmos_[kSeconds] = ToRegister(civil.tm_sec);
  cmos_[kMinutes] = ToRegister(civil.tm_min);
  cmos_[kHours] = HourToRegister(civil.tm_hour);
  cmos_[kWeekday] = ToRegister(civil.tm_wday + 1);
  cmos_[kDay] = ToRegister(civil.tm_mday);
  cmos_[kMonth] = ToRegister(civil.tm_mon + 1);
  cmos_[kYear] = ToRegister(std::max(year, 0) % 100);
  cmos_[kCentury] = ToRegister(std::max(year, 0) / 100 % 100);
}

// What the guest wrote may be no date; timegm() makes one of it.
int64_t Rtc::Decode() const {
  tm civil{};
  civil.tm_sec = FromRegister(cmos_[kSeconds]);
  civil.tm_min = FromRegister(cmos_[kMinutes]);
  civil.tm_hour = HourFromRegister(cmos_[kHours]);
  civil.tm_mday = FromRegister(cmos_[kDay]);
  civil.tm_mon = FromRegister(cmos_[kMonth]) - 1;
  civil.tm_year = FromRegister(cmos_[kYear]) + FromRegister(cmos_[kCentury]) * 100 - 1900;
  return timegm(&civil);
}

void Rtc::Freeze() {
  const Instant now = Now();
  Encode(now.seconds);
  base_ns_ = now.ns;
  frozen_ = true;
}

void Rtc::Thaw() {
  const uint64_t now = clock_.NowNs();
  base_seconds_ = Decode();
  base_ns_ = now - std::min(now, base_ns_);
  frozen_ = false;
  seen_ns_ = now;
}

// Interrupts.

uint64_t Rtc::PeriodNs() const {
  unsigned rate = cmos_[kA] & kRate;
  if (rate == 0 || (cmos_[kA] & kDividerReset) == kDividerReset) return 0;
  if (rate < 3) rate += 7;
  return kSecond * (uint64_t{1} << (rate - 1)) / 32768;
}

int64_t Rtc::NextAlarm(int64_t after) const {
  const auto matches = [](uint8_t alarm, int wanted, int value) {
    return (alarm & kAny) == kAny || wanted == value;
  };
  const int hour = HourFromRegister(cmos_[kHoursAlarm]);
  const int minute = FromRegister(cmos_[kMinutesAlarm]);
  const int second = FromRegister(cmos_[kSecondsAlarm]);
  if (!matches(cmos_[kHoursAlarm], hour, std::clamp(hour, 0, 23)) ||
      !matches(cmos_[kMinutesAlarm], minute, std::clamp(minute, 0, 59)) ||
      !matches(cmos_[kSecondsAlarm], second, std::clamp(second, 0, 59))) {
    return -1;
  }
  const int64_t start = after + 1;
  const int64_t day = (start % kDaySeconds + kDaySeconds) % kDaySeconds;
  const int64_t midnight = start - day;
  // Whole hours and minutes that do not match are a step each: an alarm that the
  // guest sets costs little of our time.
  for (int64_t t = day; t < day + kDaySeconds + 1;) {
    const int64_t of_day = t % kDaySeconds;
    if (!matches(cmos_[kHoursAlarm], hour, static_cast<int>(of_day / 3600))) {
      t = (t / 3600 + 1) * 3600;
    } else if (!matches(cmos_[kMinutesAlarm], minute, static_cast<int>(of_day / 60 % 60))) {
      t = (t / 60 + 1) * 60;
    } else if (!matches(cmos_[kSecondsAlarm], second, static_cast<int>(of_day % 60))) {
      t += (second - of_day % 60 + 60) % 60;
    } else {
      return midnight + t;
    }
  }
  return -1;
}

void Rtc::CatchUp() {
  const uint64_t now = clock_.NowNs();
  const uint64_t seen = std::min(seen_ns_, now);
  const uint64_t period = PeriodNs();
  if (period != 0 && now / period != seen / period) cmos_[kC] |= kPeriodic;
  if (!frozen_) {
    const int64_t before = At(seen).seconds;
    const int64_t seconds = At(now).seconds;
    if (seconds != before) {
      cmos_[kC] |= kUpdateEnded;
      const int64_t alarm = NextAlarm(before);
      if (alarm >= 0 && alarm <= seconds) cmos_[kC] |= kAlarm;
    }
  }
  seen_ns_ = now;
  const bool asserted = cmos_[kC] & cmos_[kB] & (kPeriodic | kAlarm | kUpdateEnded);
  cmos_[kC] = static_cast<uint8_t>((cmos_[kC] & ~kIrqFlag) | (asserted ? kIrqFlag : 0));
}

// The timer runs only for interrupts that are enabled and not asserted yet.
void Rtc::Update() {
  irq_.Set(cmos_[kC] & kIrqFlag);
  const uint64_t now = clock_.NowNs();
  const uint8_t wanted = cmos_[kB] & ~cmos_[kC];
  uint64_t next = ~uint64_t{0};
  const uint64_t period = PeriodNs();
  if ((wanted & kPeriodic) && period != 0) next = (now / period + 1) * period;
  if (!frozen_ && (wanted & (kUpdateEnded | kAlarm))) {
    const Instant at = At(now);
    const uint64_t next_second = now + (kSecond - at.ns);
    if (wanted & kUpdateEnded) next = std::min(next, next_second);
    const int64_t alarm = wanted & kAlarm ? NextAlarm(at.seconds) : -1;
    if (alarm >= 0) {
      const auto whole = static_cast<uint64_t>(alarm - at.seconds - 1);
      next = std::min(next, next_second + whole * kSecond);
    }
  }
  if (next == ~uint64_t{0}) {
    timer_->Disarm();
  } else {
    timer_->Arm(next);
  }
}

// Registers.

uint8_t Rtc::ReadRegister(uint8_t index) {
  if (IsTime(index)) {
    if (!frozen_) Encode(Now().seconds);
    return cmos_[index];
  }
  if (index == kA) {
    const bool updating = !frozen_ && Now().ns >= kSecond - kUpdateNs;
    return cmos_[kA] | (updating ? kUpdateInProgress : 0);
  }
  if (index == kC) {
    CatchUp();
    const uint8_t value = cmos_[kC];
    cmos_[kC] = 0;
    Update();
    return value;
  }
  return cmos_[index];
}

void Rtc::WriteRegister(uint8_t index, uint8_t value) {
  CatchUp();
  if (IsTime(index)) {
    const bool was_frozen = frozen_;
    if (!was_frozen) Freeze();
    cmos_[index] = value;
    if (!was_frozen) Thaw();
  } else if (index == kA || index == kB) {
    const bool was_divider_reset = (cmos_[kA] & kDividerReset) == kDividerReset;
    const uint8_t wanted = index == kA ? value & ~kUpdateInProgress : value;
    // The time goes into the registers in the old format and, where only the
    // format changes, must not be read back in the new one.
    if (index == kB && !frozen_ && ((cmos_[kB] ^ wanted) & (kBinary | k24Hours))) {
      cmos_[kB] = static_cast<uint8_t>((cmos_[kB] & ~(kBinary | k24Hours)) |
                                       (wanted & (kBinary | k24Hours)));
    }
    if (!frozen_) {
      cmos_[index] = wanted;
      if (halted()) Freeze();
    } else {
      cmos_[index] = wanted;
      const bool divider_reset = (cmos_[kA] & kDividerReset) == kDividerReset;
      // Released, the divider comes to its first update half a second later.
      if (was_divider_reset && !divider_reset) base_ns_ = kHalfSecond;
      if (!halted()) Thaw();
    }
    if (cmos_[kB] & kSet) cmos_[kB] &= static_cast<uint8_t>(~kUpdateEnded);
    CatchUp();
  } else if (index != kC && index != kD) {
    cmos_[index] = value;
  }
  Update();
}

uint64_t Rtc::Read(unsigned, uint64_t offset, unsigned) {
  return offset == 1 ? ReadRegister(index_) : 0xFF;
}

void Rtc::Write(unsigned, uint64_t offset, unsigned, uint64_t value) {
  if (offset == 0) {
    index_ = value & 0x7F;  // bit 7, masking NMI, has nothing to mask
  } else if (offset == 1) {
    WriteRegister(index_, static_cast<uint8_t>(value));
  }
}

// Saved is how far the guest's time is from the wall clock's: a machine that
// sleeps in a file for a week finds a week gone by, as one that was turned off.
void Rtc::VisitState(StateVisitor& v) {
  v.Bounded("index", index_, kCmosSize - 1);
  const auto wall = static_cast<uint64_t>(clock_.WallSeconds());
  uint64_t ahead = kFarthest;  // of the wall clock, from the farthest back
  // What is refused must leave a clock that goes: nothing is taken before the end.
  bool frozen = frozen_;
  uint64_t phase = frozen_ ? base_ns_ : 0;
  if (!v.loading()) {
    CatchUp();
    if (!frozen_) {
      const Instant now = Now();
      // A clock at either end of the range passes it by a second now and then.
      const int64_t by = now.seconds - static_cast<int64_t>(wall);
      constexpr auto kMost = static_cast<int64_t>(kFarthest);
      ahead += static_cast<uint64_t>(std::clamp(by, -kMost, kMost));
      phase = now.ns;
      Encode(0);  // what the time's registers hold is no state while it runs
    }
  }
  v.Array("cmos", cmos_);
  v.Field("frozen", frozen);
  v.Bounded("ahead", ahead, 2 * kFarthest);
  v.Bounded("phase", phase, kSecond - 1);
  if (v.loading()) {
    if (!v.status().ok()) return;
    const uint64_t now = clock_.NowNs();
    frozen_ = frozen;
    base_seconds_ = static_cast<int64_t>(wall + ahead - kFarthest);
    base_ns_ = frozen_ ? phase : now - std::min(now, phase);
    seen_ns_ = now;
    Update();
  }
}

}  // namespace atl::dev
