// SPDX-License-Identifier: Apache-2.0
// The transceiver that a card reaches by MDIO: the registers of IEEE 802.3, 22.2.4
// with a link that is there at once, and those of Marvell's 88E1011 that drivers
// of the 82540EM want (317453, 8.6 and 13.3).
#ifndef LIB_NIC_PHY_H_
#define LIB_NIC_PHY_H_

#include <cstdint>

#include "lib/dev/state.h"

namespace atl::nic {

class Phy {
 public:
  Phy() { Reset(); }
  void Reset();
  uint16_t Read(unsigned reg) const;  // `reg` below 32
  // Whether the link was negotiated anew.
  bool Write(unsigned reg, uint16_t value);
  void SetLink(bool up) { link_ = up; }
  bool loopback() const { return (control_ & 1 << 14) != 0; }
  void VisitState(dev::StateVisitor& v);

 private:
  bool link_ = true;  // the cable's, no state of the guest
  uint16_t control_ = 0;
  uint16_t advertised_ = 0;
  uint16_t gigabit_control_ = 0;
  uint16_t specific_[16] = {};  // registers 16 to 31 that keep what is written
};

}  // namespace atl::nic

#endif  // LIB_NIC_PHY_H_
