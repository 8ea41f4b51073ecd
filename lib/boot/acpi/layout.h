// SPDX-License-Identifier: Apache-2.0
// Layouts of the ACPI tables, by their names in ACPI 6.4, 5.2.
#ifndef LIB_BOOT_ACPI_LAYOUT_H_
#define LIB_BOOT_ACPI_LAYOUT_H_

#include <cstddef>
#include <cstdint>

#include "lib/base/endian.h"

namespace atl::boot::acpi {

struct Rsdp {
  char signature[8];
  uint8_t checksum;  // of the first 20 bytes
  char oem_id[6];
  uint8_t revision;
  le32 rsdt;
  le32 length;
  le64 xsdt;
  uint8_t extended_checksum;  // of all
  uint8_t reserved[3];
};
static_assert(sizeof(Rsdp) == 36);

struct Header {
  char signature[4];
  le32 length;
  uint8_t revision;
  uint8_t checksum;
  char oem_id[6];
  char oem_table_id[8];
  le32 oem_revision;
  char creator_id[4];
  le32 creator_revision;
};
static_assert(sizeof(Header) == 36);

// Generic Address Structure.
struct Gas {
  uint8_t space;  // 0 memory, 1 ports
  uint8_t bit_width;
  uint8_t bit_offset;
  uint8_t access_size;  // 0 undefined, 1 byte, 2 word, 3 dword
  le64 address;
};
static_assert(sizeof(Gas) == 12);

struct Fadt {  // revision 3
  Header header;
  le32 firmware_ctrl;
  le32 dsdt;
  uint8_t reserved0;
  uint8_t preferred_pm_profile;
  le16 sci_int;
  le32 smi_cmd;
  uint8_t acpi_enable;
  uint8_t acpi_disable;
  uint8_t s4bios_req;
  uint8_t pstate_cnt;
  le32 pm1a_evt_blk;
  le32 pm1b_evt_blk;
  le32 pm1a_cnt_blk;
  le32 pm1b_cnt_blk;
  le32 pm2_cnt_blk;
  le32 pm_tmr_blk;
  le32 gpe0_blk;
  le32 gpe1_blk;
  uint8_t pm1_evt_len;
  uint8_t pm1_cnt_len;
  uint8_t pm2_cnt_len;
  uint8_t pm_tmr_len;
  uint8_t gpe0_blk_len;
  uint8_t gpe1_blk_len;
  uint8_t gpe1_base;
  uint8_t cst_cnt;
  le16 p_lvl2_lat;
  le16 p_lvl3_lat;
  le16 flush_size;
  le16 flush_stride;
  uint8_t duty_offset;
  uint8_t duty_width;
  uint8_t day_alrm;
  uint8_t mon_alrm;
  uint8_t century;
  le16 iapc_boot_arch;
  uint8_t reserved1;
  le32 flags;
  Gas reset_reg;
  uint8_t reset_value;
  uint8_t reserved2[3];
  le64 x_firmware_ctrl;
  le64 x_dsdt;
  Gas x_pm1a_evt_blk;
  Gas x_pm1b_evt_blk;
  Gas x_pm1a_cnt_blk;
  Gas x_pm1b_cnt_blk;
  Gas x_pm2_cnt_blk;
  Gas x_pm_tmr_blk;
  Gas x_gpe0_blk;
  Gas x_gpe1_blk;
};
static_assert(offsetof(Fadt, flags) == 112);
static_assert(offsetof(Fadt, x_dsdt) == 140);
static_assert(sizeof(Fadt) == 244);

struct Facs {
  char signature[4];
  le32 length;
  le32 hardware_signature;
  le32 firmware_waking_vector;
  le32 global_lock;
  le32 flags;
  le64 x_firmware_waking_vector;
  uint8_t version;
  uint8_t reserved[31];
};
static_assert(sizeof(Facs) == 64);

struct Madt {
  Header header;
  le32 local_apic;
  le32 flags;  // bit 0: 8259s are there too
};
struct MadtLocalApic {
  uint8_t type = 0;
  uint8_t length = 8;
  uint8_t processor_id;
  uint8_t apic_id;
  le32 flags;  // bit 0: enabled
};
static_assert(sizeof(MadtLocalApic) == 8);
struct MadtIoApic {
  uint8_t type = 1;
  uint8_t length = 12;
  uint8_t id;
  uint8_t reserved;
  le32 address;
  le32 gsi_base;
};
static_assert(sizeof(MadtIoApic) == 12);
struct MadtOverride {
  uint8_t type = 2;
  uint8_t length = 10;
  uint8_t bus;
  uint8_t source;
  le32 gsi;
  le16 flags;  // MPS INTI flags: polarity, trigger
};
static_assert(sizeof(MadtOverride) == 10);
struct MadtLocalNmi {
  uint8_t type = 4;
  uint8_t length = 6;
  uint8_t processor_id;
  le16 flags;
  uint8_t lint;
};
static_assert(sizeof(MadtLocalNmi) == 6);

struct Hpet {
  Header header;
  le32 block_id;
  Gas address;
  uint8_t number;
  le16 min_tick;
  uint8_t page_protection;
};
static_assert(sizeof(Hpet) == 56);

}  // namespace atl::boot::acpi

#endif  // LIB_BOOT_ACPI_LAYOUT_H_
