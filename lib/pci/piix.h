// SPDX-License-Identifier: Apache-2.0
// Functions of the PIIX3/PIIX4 south bridge that are wiring more than chip: the
// ISA bridge (8086:7000) with the PIRQ routing registers, and the power
// management function (8086:7113), whose registers place the ACPI and SMBus
// port blocks.
#ifndef LIB_PCI_PIIX_H_
#define LIB_PCI_PIIX_H_

#include <memory>

#include "lib/dev/device.h"
#include "lib/pci/device.h"
#include "lib/pci/pirq.h"

namespace atl::pci {

inline constexpr unsigned kPirqRoute = 0x60;  // four bytes, A to D
inline constexpr uint8_t kPirqDisabled = 0x80;

// Function 0 of the bridge's slot: says that further functions follow.
std::unique_ptr<PciDevice> NewPiix3Isa(const PciWiring& wiring, PirqRouter* router);

inline constexpr unsigned kPmBase = 0x40;
inline constexpr unsigned kPmRegMisc = 0x80;
inline constexpr unsigned kSmbusBase = 0x90;
inline constexpr unsigned kSmbusHostConfig = 0xD2;
inline constexpr unsigned kPmPorts = 64;
inline constexpr unsigned kSmbusPorts = 16;

// A chip whose ports the function places through its BarMapper: region
// `region` of `device`, which may be null.
struct PlacedPorts {
  dev::Device* device = nullptr;
  unsigned region = 0;
};
std::unique_ptr<PciDevice> NewPiix4Pm(const PciWiring& wiring, PlacedPorts pm, PlacedPorts smbus);

}  // namespace atl::pci

#endif  // LIB_PCI_PIIX_H_
