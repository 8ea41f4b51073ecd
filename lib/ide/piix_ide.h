// SPDX-License-Identifier: Apache-2.0
// The PIIX3's IDE function (8086:7010): two channels at the legacy ports and
// the bus master's ports in BAR 4.
#ifndef LIB_IDE_PIIX_IDE_H_
#define LIB_IDE_PIIX_IDE_H_

#include <array>
#include <memory>

#include "lib/ide/channel.h"
#include "lib/ide/drive.h"
#include "lib/pci/device.h"
#include "lib/pci/wiring.h"

namespace atl::ide {

// Regions beyond the BARs, for the machine to map in port space where the table
// says, with max_access 4.
struct LegacyPorts {
  unsigned region;
  uint16_t base;
  uint16_t size;
};
inline constexpr std::array<LegacyPorts, 4> kLegacyPorts = {{
    {pci::PciDevice::kFirstExtraRegion + 0, 0x1F0, 8},
    {pci::PciDevice::kFirstExtraRegion + 1, 0x3F6, 1},
    {pci::PciDevice::kFirstExtraRegion + 2, 0x170, 8},
    {pci::PciDevice::kFirstExtraRegion + 3, 0x376, 1},
}};
inline constexpr unsigned kBusMasterBar = 4;
inline constexpr std::array<unsigned, 2> kChannelIrqs = {14, 15};

// `channels`: the wiring of each, with a background of its own. `drives`:
// primary master and slave, secondary master and slave.
std::unique_ptr<pci::PciDevice> NewPiix3Ide(const pci::PciWiring& wiring,
                                            std::array<ChannelWiring, 2> channels,
                                            std::array<DriveOptions, 4> drives);

}  // namespace atl::ide

#endif  // LIB_IDE_PIIX_IDE_H_
