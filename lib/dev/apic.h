// SPDX-License-Identifier: Apache-2.0
// What the IOAPIC and the LAPICs say to each other.
#ifndef LIB_DEV_APIC_H_
#define LIB_DEV_APIC_H_

#include <cstdint>

namespace atl::dev {

// Intel SDM vol. 3, 11.6.1: the delivery modes of ICR, LVT, IOAPIC and MSI.
enum class Delivery : uint8_t {
  kFixed = 0,
  kLowestPriority = 1,
  kSmi = 2,
  kReserved = 3,
  kNmi = 4,
  kInit = 5,
  kStartup = 6,
  kExtInt = 7,
};

// An interrupt on its way. `wide`: sent by a LAPIC in x2APIC mode, where the
// destination has 32 bits; else 8, and 0xFF is everybody.
struct ApicMessage {
  uint32_t destination = 0;
  bool logical = false;
  bool wide = false;
  Delivery delivery = Delivery::kFixed;
  uint8_t vector = 0;
  bool level = false;  // trigger mode
};

// What carries them; implemented by IrqChips.
class ApicFabric {
 public:
  virtual ~ApicFabric() = default;
  virtual void Send(const ApicMessage& message) = 0;
  // Shorthand "all including self" and "all excluding self" (`except`).
  virtual void SendToAll(const ApicMessage& message, const class Lapic* except) = 0;
  virtual void BroadcastEoi(uint8_t vector) = 0;
  virtual bool pic_output() const = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_APIC_H_
