// SPDX-License-Identifier: Apache-2.0
// What a PCI function needs of the machine around it. The machine implements
// these over its buses and interrupt controllers; tests have fakes.
#ifndef LIB_PCI_WIRING_H_
#define LIB_PCI_WIRING_H_

#include <cstdint>

#include "lib/dev/bus.h"
#include "lib/dev/device.h"
#include "lib/dev/irq.h"
#include "lib/mem/address.h"

namespace atl::pci {

using dev::Space;

// Lays a device's regions into the address spaces. Called with the device's
// lock held, on the thread of the guest's access: the implementation has a lock
// below all devices' and enters no device.
class BarMapper {
 public:
  virtual ~BarMapper() = default;
  // A region is mapped at one place at most. `base` + `size` does not overflow
  // and lies within 64 KiB in port space; `size` is a power of two. The guest
  // chooses `base`: it may lie over RAM or other devices, whose order is the
  // machine's affair.
  virtual void Map(dev::Device& device, unsigned region, Space space, uint64_t base,
                   uint64_t size) = 0;
  virtual void Unmap(dev::Device& device, unsigned region) = 0;
};

// A function's number on bus 0: slot * 8 + function.
struct DevFn {
  uint8_t value = 0;
  constexpr DevFn() = default;
  constexpr DevFn(unsigned slot, unsigned function)
      : value(static_cast<uint8_t>((slot & 31) << 3 | (function & 7))) {}
  constexpr unsigned slot() const { return value >> 3; }
  constexpr unsigned function() const { return value & 7; }
};

// The interrupt pins of all functions. `pin`: 1 (INTA#) to 4 (INTD#). Thread
// rule as dev::IrqLine.
class IntxSink {
 public:
  virtual ~IntxSink() = default;
  virtual void SetIntx(DevFn function, unsigned pin, bool level) = 0;
};

// Handed to a function's constructor; all three outlive it.
struct PciWiring {
  DevFn where;
  BarMapper* mapper = nullptr;
  IntxSink* intx = nullptr;
  dev::MsiSink* msi = nullptr;
};

}  // namespace atl::pci

#endif  // LIB_PCI_WIRING_H_
