// SPDX-License-Identifier: Apache-2.0
#include "lib/nic/phy.h"

namespace atl::nic {
namespace {

constexpr unsigned kControl = 0, kStatus = 1, kId1 = 2, kId2 = 3, kAdvertise = 4, kPartner = 5,
                   kExpansion = 6, kGigabitControl = 9, kGigabitStatus = 10, kExtendedStatus = 15,
                   kSpecificStatus = 17, kInterruptStatus = 19;

constexpr uint16_t kResetBit = 1 << 15;
constexpr uint16_t kAutoNegotiate = 1 << 12;
constexpr uint16_t kPowerDown = 1 << 11;
constexpr uint16_t kRestart = 1 << 9;
constexpr uint16_t kStatusDone = 1 << 5;
constexpr uint16_t kStatusLink = 1 << 2;
// 100 and 10 Mb/s in both duplexes, extended status, negotiation, registers past 1.
constexpr uint16_t kAbilities = 0x7949;

}  // namespace

void Phy::Reset() {
  control_ = 0x1140;     // negotiation, full duplex, 1000 Mb/s
  advertised_ = 0x0DE1;  // pause, 100 and 10 Mb/s, 802.3
  gigabit_control_ = 0x0E00;
  for (uint16_t& r : specific_) r = 0;
  specific_[0] = 0x0068;        // 16: automatic crossover
  specific_[20 - 16] = 0x0D60;  // extended control: 25 MHz clock
}

uint16_t Phy::Read(unsigned reg) const {
  const bool link = link_ && (control_ & kPowerDown) == 0;
  switch (reg) {
    case kControl:
      return control_;
    case kStatus:
      return static_cast<uint16_t>(kAbilities | (link ? kStatusLink | kStatusDone : 0));
    case kId1:
      return 0x0141;  // Marvell
    case kId2:
      return 0x0C20;  // 88E1011, as in the 82540EM
    case kAdvertise:
      return advertised_;
    case kPartner:
      return link ? 0x45E1 : 0;
    case kExpansion:
      return link ? 0x0001 : 0;
    case kGigabitControl:
      return gigabit_control_;
    case kGigabitStatus:
      return link ? 0x3C00 : 0;  // both receivers well, partner does 1000 full and half
    case kExtendedStatus:
      return 0x3000;
    case kSpecificStatus:
      return link ? 0xAC00 : 0x8000;  // 1000 Mb/s, full duplex, resolved, link
    case kInterruptStatus:
      return 0;
    default:
      return reg >= 16 && reg < 32 ? specific_[reg - 16] : 0;
  }
}

bool Phy::Write(unsigned reg, uint16_t value) {
  switch (reg) {
    case kControl:
      if ((value & kResetBit) != 0) {
        Reset();
        return true;
      }
      control_ = value & 0x7DC0;  // without what clears itself
      return (value & kAutoNegotiate) != 0 && (value & kRestart) != 0;
    case kAdvertise:
      advertised_ = value;
      return false;
    case kGigabitControl:
      gigabit_control_ = value;
      return false;
    case kSpecificStatus:
    case kInterruptStatus:
      return false;
    default:
      if (reg >= 16 && reg < 32) specific_[reg - 16] = value;
      return false;
  }
}

void Phy::VisitState(dev::StateVisitor& v) {
  v.Begin("phy");
  v.Field("control", control_);
  v.Field("advertised", advertised_);
  v.Field("gigabit_control", gigabit_control_);
  v.Array("specific", specific_);
  v.End();
}

}  // namespace atl::nic
