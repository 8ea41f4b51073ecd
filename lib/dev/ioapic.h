// SPDX-License-Identifier: Apache-2.0
// 82093AA I/O APIC with 24 pins, as version 0x20 (with the EOI register). Part
// of IrqChips and under its lock. Lines carry assertion, so the polarity bit is
// kept and not used.
#ifndef LIB_DEV_IOAPIC_H_
#define LIB_DEV_IOAPIC_H_

#include <cstdint>

#include "lib/dev/apic.h"
#include "lib/dev/state.h"

namespace atl::dev {

class Ioapic {
 public:
  static constexpr unsigned kPins = 24;

  explicit Ioapic(ApicFabric& fabric) : fabric_(fabric) { Reset(); }

  void Reset();  // lines keep their levels
  void SetLine(unsigned pin, bool level);
  // A LAPIC ended this level-triggered vector.
  void EndOfInterrupt(uint8_t vector);

  // The redirection entry of a pin.
  uint64_t entry(unsigned pin) const { return entries_[pin]; }

  uint32_t Read(uint64_t offset) const;
  void Write(uint64_t offset, uint32_t value);
  void VisitState(StateVisitor& v);

 private:
  uint32_t ReadIndexed() const;
  void WriteIndexed(uint32_t value);
  void Deliver(unsigned pin);
  void ServeLevel(unsigned pin);  // delivers where the line asks and may

  ApicFabric& fabric_;
  uint8_t index_ = 0;
  uint8_t id_ = 0;
  uint32_t lines_ = 0;
  uint64_t entries_[kPins] = {};
};

}  // namespace atl::dev

#endif  // LIB_DEV_IOAPIC_H_
