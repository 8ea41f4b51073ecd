// SPDX-License-Identifier: Apache-2.0
// SMBIOS 2.8 (DMTF DSP0134): what dmidecode shows of the machine. For fw_cfg:
// SeaBIOS copies the structures and completes the entry point's addresses.
#ifndef LIB_BOOT_SMBIOS_H_
#define LIB_BOOT_SMBIOS_H_

#include <array>
#include <cstdint>
#include <vector>

namespace atl::boot {

struct SmbiosConfig {
  // As RFC 4122 writes it, most significant byte first; zero: none is told.
  std::array<uint8_t, 16> uuid{};
  unsigned cpus = 1;
};

struct SmbiosFiles {
  std::vector<uint8_t> anchor;  // etc/smbios/smbios-anchor
  std::vector<uint8_t> tables;  // etc/smbios/smbios-tables
};

SmbiosFiles MakeSmbiosFiles(const SmbiosConfig& config);

}  // namespace atl::boot

#endif  // LIB_BOOT_SMBIOS_H_
