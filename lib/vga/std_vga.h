// SPDX-License-Identifier: Apache-2.0
// The PCI function of the standard VGA, as QEMU's (1234:1111; QEMU
// docs/specs/standard-vga.txt): BAR 0 is the memory, BAR 2 has the VGA ports
// 0x3C0 to 0x3DF at 0x400 and the dispi registers at 0x500; the ROM is the VGA
// BIOS.
#ifndef LIB_VGA_STD_VGA_H_
#define LIB_VGA_STD_VGA_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/pci/device.h"
#include "lib/vga/vga.h"

namespace atl::vga {

// Regions beside the BARs, for the machine to map: first, size, space.
inline constexpr unsigned kFramebufferBar = 0;
inline constexpr unsigned kRegisterBar = 2;
enum StdVgaRegion : unsigned {
  kWindowRegion = pci::PciDevice::kFirstExtraRegion,  // MMIO 0xA0000
  kDispiRegion,                                       // ports 0x1CE, 3; 16 bits, any alignment
  kMonoPorts,                                         // ports 0x3B4, 7
  kVgaPorts,                                          // ports 0x3C0, 16
  kColorPorts,                                        // ports 0x3D4, 7
};

// `vga` outlives the function. `rom` may be empty.
std::unique_ptr<pci::PciDevice> NewStdVga(const pci::PciWiring& wiring, Vga* vga,
                                          std::vector<uint8_t> rom);

}  // namespace atl::vga

#endif  // LIB_VGA_STD_VGA_H_
