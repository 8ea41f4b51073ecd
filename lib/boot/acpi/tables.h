// SPDX-License-Identifier: Apache-2.0
// The ACPI tables of the machine (ACPI 6.4, chapter 5): RSDP, RSDT, XSDT, FADT,
// FACS, MADT, HPET and the compiled dsdt.asl.
//
// They are made once, without addresses, together with a script that says which
// fields hold addresses and checksums. SeaBIOS gets both through fw_cfg
// (etc/acpi/tables, etc/acpi/rsdp, etc/table-loader) and carries the script out
// where it has put them; a machine without firmware does so itself.
//
// What the tables promise, and the machine's wiring must keep:
//   - PIIX4's PM block at 0x600: PM1a events, control at 0x604, the timer at
//     0x608, 24 bits; SCI on IRQ 9; always in ACPI mode (no SMI command port)
//   - soft-off is SLP_TYP 0; reset is a write of 6 to port 0xCF9
//   - INTA#..INTD# of slot s, pin p are PIRQ (s - 1 + p) mod 4, routed by PIIX3's
//     registers 0x60..0x63 to the pin of that number of both the 8259 and the
//     IOAPIC, active high
//   - PCI memory from 0xC0000000 to 0xFEBFFFFF; IOAPIC at 0xFEC00000, id 0, IRQ 0 on its
//     pin 2; LAPICs at 0xFEE00000, ids from 0 up; HPET at 0xFED00000
#ifndef LIB_BOOT_ACPI_TABLES_H_
#define LIB_BOOT_ACPI_TABLES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {

struct AcpiConfig {
  unsigned cpus = 1;  // 1 to 254
  bool hpet = true;
};

// The fw_cfg files.
struct AcpiFiles {
  std::vector<uint8_t> rsdp;    // etc/acpi/rsdp
  std::vector<uint8_t> tables;  // etc/acpi/tables
  std::vector<uint8_t> loader;  // etc/table-loader
};

AcpiFiles MakeAcpiFiles(const AcpiConfig& config);

// Puts the tables into the BIOS area (kBiosArea) and gives the RSDP's address.
absl::StatusOr<Gpa> InstallAcpiTables(const AcpiConfig& config, GuestMemory& memory);

}  // namespace atl::boot

#endif  // LIB_BOOT_ACPI_TABLES_H_
