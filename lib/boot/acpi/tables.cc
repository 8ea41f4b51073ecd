// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/acpi/tables.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/boot/acpi/layout.h"
#include "lib/boot/e820.h"

namespace atl::boot {
namespace {

// What iasl made of dsdt.asl: dsdt_aml_code.
#include "lib/boot/acpi/dsdt.inc"

using Bytes = std::vector<uint8_t>;

constexpr uint16_t kPmBase = 0x600;
constexpr unsigned kSci = 9;
constexpr uint32_t kIoApic = 0xFEC00000, kLocalApic = 0xFEE00000, kHpet = 0xFED00000;
constexpr uint8_t kPorts = 1;  // Gas::space

// FADT flags (ACPI 6.4, table 5.10).
constexpr uint32_t kWbinvd = 1 << 0, kProcC1 = 1 << 2, kResetRegister = 1 << 10;
// IAPC_BOOT_ARCH.
constexpr uint16_t kLegacyDevices = 1 << 0, kKeyboardController = 1 << 1;
// MPS INTI: active high, level.
constexpr uint16_t kLevelHigh = 0xD;

// A field that holds the address of something in the tables file; before the
// script runs it holds the offset there.
struct Pointer {
  bool in_rsdp;
  uint32_t offset;
  uint8_t size;
};

struct Checksum {
  bool in_rsdp;
  uint32_t offset;
  uint32_t start;
  uint32_t length;
};

struct Image {
  Bytes rsdp;
  Bytes tables;
  std::vector<Pointer> pointers;
  std::vector<Checksum> checksums;
};

template <typename T>
void Append(Bytes& to, const T& v) {
  static_assert(alignof(T) == 1);
  const auto* p = reinterpret_cast<const uint8_t*>(&v);
  to.insert(to.end(), p, p + sizeof v);
}

acpi::Header MakeHeader(const char (&signature)[5], uint8_t revision) {
  acpi::Header h{};
  std::memcpy(h.signature, signature, 4);
  h.revision = revision;
  std::memcpy(h.oem_id, "ATOLL ", 6);
  std::memcpy(h.oem_table_id, "ATOLLPC ", 8);
  h.oem_revision = 1;
  std::memcpy(h.creator_id, "ATOL", 4);
  h.creator_revision = 1;
  return h;
}

// Appends a whole table, whose header's length it sets; gives its offset.
uint32_t AddTable(Image& image, Bytes table) {
  Bytes& t = image.tables;
  t.resize(RoundUp(t.size(), 16));
  const auto at = static_cast<uint32_t>(t.size());
  StoreLe(&table[offsetof(acpi::Header, length)], static_cast<uint32_t>(table.size()));
  t.insert(t.end(), table.begin(), table.end());
  image.checksums.push_back({false, at + static_cast<uint32_t>(offsetof(acpi::Header, checksum)),
                             at, static_cast<uint32_t>(table.size())});
  return at;
}

acpi::Gas Ports(uint8_t bits, uint8_t access, uint16_t at) {
  return {kPorts, bits, 0, access, uint64_t{at}};
}

Bytes MakeFadt(uint32_t facs, uint32_t dsdt) {
  acpi::Fadt f{};
  f.header = MakeHeader("FACP", 3);
  f.firmware_ctrl = facs;
  f.dsdt = dsdt;
  f.x_dsdt = dsdt;
  f.preferred_pm_profile = 1;  // desktop
  f.sci_int = kSci;
  f.pm1a_evt_blk = kPmBase;
  f.pm1a_cnt_blk = kPmBase + 4;
  f.pm_tmr_blk = kPmBase + 8;
  f.pm1_evt_len = 4;
  f.pm1_cnt_len = 2;
  f.pm_tmr_len = 4;
  f.p_lvl2_lat = 0xFFF;  // no C2, no C3
  f.p_lvl3_lat = 0xFFF;
  f.century = 0x32;
  f.iapc_boot_arch = kLegacyDevices | kKeyboardController;
  f.flags = kWbinvd | kProcC1 | kResetRegister;
  f.reset_reg = Ports(8, 1, 0xCF9);
  f.reset_value = 6;
  f.x_pm1a_evt_blk = Ports(32, 0, kPmBase);
  f.x_pm1a_cnt_blk = Ports(16, 2, kPmBase + 4);
  f.x_pm_tmr_blk = Ports(32, 3, kPmBase + 8);
  Bytes out;
  Append(out, f);
  return out;
}

Bytes MakeMadt(unsigned cpus) {
  Bytes out;
  acpi::Madt madt{};
  madt.header = MakeHeader("APIC", 3);
  madt.local_apic = kLocalApic;
  madt.flags = 1;
  Append(out, madt);
  for (unsigned i = 0; i < cpus; ++i) {
    acpi::MadtLocalApic apic{};
    apic.processor_id = static_cast<uint8_t>(i);
    apic.apic_id = static_cast<uint8_t>(i);
    apic.flags = 1;
    Append(out, apic);
  }
  acpi::MadtIoApic io{};
  io.address = kIoApic;
  Append(out, io);
  acpi::MadtOverride timer{};
  timer.gsi = 2;
  Append(out, timer);
  // The SCI and what PCI's links may use are level-triggered, unlike ISA's rest.
  for (unsigned irq : {5u, kSci, 10u, 11u}) {
    acpi::MadtOverride level{};
    level.source = static_cast<uint8_t>(irq);
    level.gsi = irq;
    level.flags = kLevelHigh;
    Append(out, level);
  }
  acpi::MadtLocalNmi nmi{};
  nmi.processor_id = 0xFF;  // all
  nmi.lint = 1;
  Append(out, nmi);
  return out;
}

Bytes MakeHpet() {
  acpi::Hpet hpet{};
  hpet.header = MakeHeader("HPET", 1);
  hpet.block_id = 0x8086A201;  // of PIIX-era chip sets: 3 timers, 64 bits
  hpet.address = {0, 0, 0, 0, uint64_t{kHpet}};
  Bytes out;
  Append(out, hpet);
  return out;
}

Image MakeImage(const AcpiConfig& config) {
  Image image;
  // The FACS comes first: it must lie on 64 bytes, and the file will.
  acpi::Facs facs{};
  std::memcpy(facs.signature, "FACS", 4);
  facs.length = sizeof facs;
  facs.version = 1;
  Append(image.tables, facs);

  const uint32_t dsdt = AddTable(image, Bytes(std::begin(dsdt_aml_code), std::end(dsdt_aml_code)));
  // iasl's own checksum would be counted in.
  image.tables[dsdt + offsetof(acpi::Header, checksum)] = 0;

  std::vector<uint32_t> listed;
  const uint32_t fadt = AddTable(image, MakeFadt(0, dsdt));
  listed.push_back(fadt);
  image.pointers.push_back({false, fadt + uint32_t{offsetof(acpi::Fadt, firmware_ctrl)}, 4});
  image.pointers.push_back({false, fadt + uint32_t{offsetof(acpi::Fadt, dsdt)}, 4});
  image.pointers.push_back({false, fadt + uint32_t{offsetof(acpi::Fadt, x_dsdt)}, 8});
  listed.push_back(AddTable(image, MakeMadt(config.cpus)));
  if (config.hpet) listed.push_back(AddTable(image, MakeHpet()));

  // The root tables: the same list, of 32-bit and of 64-bit addresses.
  uint32_t roots[2];
  for (const bool wide : {false, true}) {
    Bytes root;
    Append(root, wide ? MakeHeader("XSDT", 1) : MakeHeader("RSDT", 1));
    for (uint32_t table : listed) {
      wide ? Append(root, le64(table)) : Append(root, le32(table));
    }
    const uint32_t at = AddTable(image, root);
    roots[wide] = at;
    const uint8_t width = wide ? 8 : 4;
    for (uint32_t i = 0; i < listed.size(); ++i) {
      image.pointers.push_back({false, at + uint32_t{sizeof(acpi::Header)} + i * width, width});
    }
  }

  acpi::Rsdp rsdp{};
  std::memcpy(rsdp.signature, "RSD PTR ", 8);
  std::memcpy(rsdp.oem_id, "ATOLL ", 6);
  rsdp.revision = 2;
  rsdp.rsdt = roots[0];
  rsdp.length = sizeof rsdp;
  rsdp.xsdt = roots[1];
  Append(image.rsdp, rsdp);
  image.pointers.push_back({true, offsetof(acpi::Rsdp, rsdt), 4});
  image.pointers.push_back({true, offsetof(acpi::Rsdp, xsdt), 8});
  image.checksums.push_back({true, offsetof(acpi::Rsdp, checksum), 0, 20});
  image.checksums.push_back({true, offsetof(acpi::Rsdp, extended_checksum), 0, sizeof rsdp});
  return image;
}

// The commands of etc/table-loader, 128 bytes each (SeaBIOS, romfile_loader.h).
constexpr absl::string_view kTablesName = "etc/acpi/tables", kRsdpName = "etc/acpi/rsdp";
constexpr uint32_t kAllocate = 1, kAddPointer = 2, kAddChecksum = 3;
constexpr uint8_t kZoneHigh = 1, kZoneF = 2;

struct Command {
  le32 command;
  uint8_t arguments[124];
};
static_assert(sizeof(Command) == 128);

struct FileName {
  char text[56];
  FileName(absl::string_view name) : text{} {  // NOLINT: meant to be implicit
    std::memcpy(text, name.data(), name.size());
  }
};
struct AllocateArguments {
  FileName file;
  le32 align;
  uint8_t zone;
};
struct PointerArguments {
  FileName in_file;
  FileName to_file;
  le32 offset;
  uint8_t size;
};
struct ChecksumArguments {
  FileName file;
  le32 offset;
  le32 start;
  le32 length;
};

template <typename Arguments>
void AppendCommand(Bytes& to, uint32_t command, const Arguments& arguments) {
  Command c{};
  c.command = command;
  static_assert(sizeof arguments <= sizeof c.arguments);
  std::memcpy(c.arguments, &arguments, sizeof arguments);
  Append(to, c);
}

}  // namespace

AcpiFiles MakeAcpiFiles(const AcpiConfig& config) {
  Image image = MakeImage(config);
  AcpiFiles out;
  AppendCommand(out.loader, kAllocate, AllocateArguments{kRsdpName, 16, kZoneF});
  AppendCommand(out.loader, kAllocate, AllocateArguments{kTablesName, 64, kZoneHigh});
  for (const Pointer& p : image.pointers) {
    AppendCommand(
        out.loader, kAddPointer,
        PointerArguments{p.in_rsdp ? kRsdpName : kTablesName, kTablesName, p.offset, p.size});
  }
  for (const Checksum& c : image.checksums) {
    AppendCommand(
        out.loader, kAddChecksum,
        ChecksumArguments{c.in_rsdp ? kRsdpName : kTablesName, c.offset, c.start, c.length});
  }
  out.rsdp = std::move(image.rsdp);
  out.tables = std::move(image.tables);
  return out;
}

absl::StatusOr<Gpa> InstallAcpiTables(const AcpiConfig& config, GuestMemory& memory) {
  constexpr Gpa kRsdpAt(kBiosArea), kTablesAt(kBiosArea + 64);
  Image image = MakeImage(config);
  if (image.tables.size() > kHighMemory - kTablesAt.value) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the ACPI tables of ", config.cpus, " processors do not fit below 1 MiB"));
  }
  for (const Pointer& p : image.pointers) {
    uint8_t* field = (p.in_rsdp ? image.rsdp : image.tables).data() + p.offset;
    if (p.size == 4) {
      StoreLe(field, static_cast<uint32_t>(LoadLe<uint32_t>(field) + kTablesAt.value));
    } else {
      StoreLe(field, LoadLe<uint64_t>(field) + kTablesAt.value);
    }
  }
  for (const Checksum& c : image.checksums) {
    Bytes& file = c.in_rsdp ? image.rsdp : image.tables;
    const auto begin = file.begin() + c.start;
    file[c.offset] = static_cast<uint8_t>(-std::accumulate(begin, begin + c.length, 0));
  }
  if (!memory.Write(kRsdpAt, image.rsdp) || !memory.Write(kTablesAt, image.tables)) {
    return absl::FailedPreconditionError("the machine has no memory for ACPI tables at 0xe0000");
  }
  return kRsdpAt;
}

}  // namespace atl::boot
