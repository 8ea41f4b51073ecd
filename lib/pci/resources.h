// SPDX-License-Identifier: Apache-2.0
// What firmware does to PCI before it starts an operating system, for guests
// that are started without firmware: sizes and places BARs, turns decoding on,
// routes the PIRQs and writes interrupt lines. Everything goes through
// configuration accesses, as firmware's would.
#ifndef LIB_PCI_RESOURCES_H_
#define LIB_PCI_RESOURCES_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "lib/pci/bus.h"
#include "lib/pci/pirq.h"

namespace atl::pci {

struct ResourceWindows {
  uint64_t memory_base = 0xE0000000;
  uint64_t memory_end = 0xFEC00000;  // the IOAPIC begins here
  uint32_t io_base = 0xC000;
  uint32_t io_end = 0x10000;
  // ISA IRQs of PIRQ A to D. They are level-triggered: the ELCR must say so.
  std::array<uint8_t, kPirqs> pirq = {10, 10, 11, 11};
  uint16_t pm_base = 0x600;
  uint16_t smbus_base = 0x700;
};

// ResourceExhausted where the BARs do not fit, naming the function and the BAR.
// Run once, after the machine's reset.
absl::Status AssignResources(PciBus& bus, const ResourceWindows& windows);

// One interrupt of a slot, for _PRT.
struct IntxRoute {
  unsigned slot;
  unsigned pin;   // 1 to 4
  unsigned pirq;  // 0 to 3
};
// All four pins of all 32 slots but the host bridge's, so that the table does
// not change with the devices.
std::vector<IntxRoute> IntxRoutes();

}  // namespace atl::pci

#endif  // LIB_PCI_RESOURCES_H_
