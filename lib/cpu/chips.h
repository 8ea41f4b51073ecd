// SPDX-License-Identifier: Apache-2.0
// The interrupt controllers and the timer of a VM that has them itself: the 8259s and
// their trigger registers, the IOAPIC, the 8254 with port 0x61. Guests' accesses to
// those do not come to VcpuBus, which has nothing to acknowledge either.
//
// Thread rule: from any thread, never blocking long; Reset() while no vCPU runs.
#ifndef LIB_CPU_CHIPS_H_
#define LIB_CPU_CHIPS_H_

#include "absl/status/status.h"

namespace atl::cpu {

class InterruptChips {
 public:
  static constexpr unsigned kLines = 24;

  virtual ~InterruptChips() = default;
  // Lines 0 to 15 are the ISA interrupts, each an input of the 8259s and of the IOAPIC
  // (IRQ 0 at pin 2 there), 16 to 23 the IOAPIC's pins of that number. The 8254 drives
  // line 0 too.
  virtual void SetLine(unsigned line, bool high) = 0;
  // As the trigger registers (ports 0x4D0, 0x4D1) say it.
  virtual void SetLevelTriggered(unsigned irq) = 0;
  // Whether something else gives the timer's interrupts (an HPET): the 8254 has none then.
  virtual void ReplaceTimer(bool replaced) = 0;
  // As after power-on, but for lines that are high.
  virtual absl::Status Reset() = 0;
};

}  // namespace atl::cpu

#endif  // LIB_CPU_CHIPS_H_
