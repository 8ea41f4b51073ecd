// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/smbios.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "absl/strings/string_view.h"
#include "lib/base/endian.h"

namespace atl::boot {
namespace {

using Bytes = std::vector<uint8_t>;

struct Header {
  uint8_t type;
  uint8_t length;
  le16 handle;
};

// Strings are numbered from 1 in the order in which they follow a structure.
struct BiosInformation {
  Header header;
  uint8_t vendor;
  uint8_t version;
  le16 start_segment;
  uint8_t release_date;
  uint8_t rom_size;
  le64 characteristics;
  uint8_t characteristics2[2];
  uint8_t release[4];  // BIOS and embedded controller, major and minor
};
static_assert(sizeof(BiosInformation) == 24);

struct SystemInformation {
  Header header;
  uint8_t manufacturer;
  uint8_t product;
  uint8_t version;
  uint8_t serial;
  uint8_t uuid[16];
  uint8_t wake_up;
  uint8_t sku;
  uint8_t family;
};
static_assert(sizeof(SystemInformation) == 27);

struct Chassis {
  Header header;
  uint8_t manufacturer;
  uint8_t type;
  uint8_t version;
  uint8_t serial;
  uint8_t asset_tag;
  uint8_t boot_state;
  uint8_t power_state;
  uint8_t thermal_state;
  uint8_t security;
  le32 oem;
  uint8_t height;
  uint8_t power_cords;
  uint8_t elements[2];
};
static_assert(sizeof(Chassis) == 21);

struct Processor {  // up to SMBIOS 2.6
  Header header;
  uint8_t socket;
  uint8_t type;
  uint8_t family;
  uint8_t manufacturer;
  le64 id;
  uint8_t version;
  uint8_t voltage;
  le16 clocks[3];  // external, maximum, current
  uint8_t status;
  uint8_t upgrade;
  le16 caches[3];
  uint8_t texts[3];
  uint8_t cores[3];
  le16 characteristics;
  le16 family2;
};
static_assert(sizeof(Processor) == 42);

struct EntryPoint {
  char anchor[4];
  uint8_t checksum;
  uint8_t length;
  uint8_t major;
  uint8_t minor;
  le16 largest;
  uint8_t revision;
  uint8_t formatted[5];
  char dmi_anchor[5];
  uint8_t dmi_checksum;
  le16 tables_length;
  le32 tables;
  le16 count;
  uint8_t bcd_revision;
};
static_assert(sizeof(EntryPoint) == 31);

class Writer {
 public:
  template <typename T>
  void Add(uint8_t type, T structure, std::initializer_list<absl::string_view> strings) {
    structure.header = {type, sizeof structure, static_cast<uint16_t>(type << 8)};
    const size_t begin = bytes_.size();
    const auto* p = reinterpret_cast<const uint8_t*>(&structure);
    bytes_.insert(bytes_.end(), p, p + sizeof structure);
    for (absl::string_view s : strings) {
      bytes_.insert(bytes_.end(), s.begin(), s.end());
      bytes_.push_back(0);
    }
    if (strings.size() == 0) bytes_.push_back(0);
    bytes_.push_back(0);
    largest_ = std::max(largest_, bytes_.size() - begin);
    ++count_;
  }

  Bytes bytes_;
  size_t largest_ = 0;
  unsigned count_ = 0;
};

struct EndOfTable {
  Header header;
};

void SetChecksum(uint8_t* field, const void* from, size_t n) {
  uint8_t sum = 0;
  for (size_t i = 0; i < n; ++i) {
    sum = static_cast<uint8_t>(sum + static_cast<const uint8_t*>(from)[i]);
  }
  *field = static_cast<uint8_t>(-sum);
}

}  // namespace

SmbiosFiles MakeSmbiosFiles(const SmbiosConfig& config) {
  Writer w;
  BiosInformation bios{};
  bios.vendor = 1;
  bios.version = 2;
  bios.release_date = 3;
  bios.start_segment = 0xE800;
  bios.characteristics = 8;           // nothing is said of BIOS features
  bios.characteristics2[1] = 1 << 4;  // this is a virtual machine
  w.Add(0, bios, {"atoll", "1", "01/01/2026"});

  SystemInformation system{};
  system.manufacturer = 1;
  system.product = 2;
  system.version = 3;
  // Stored with its first three fields little-endian (7.2.1).
  constexpr uint8_t kOrder[] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
  for (size_t i = 0; i < 16; ++i) system.uuid[i] = config.uuid[kOrder[i]];
  system.wake_up = 6;  // power switch
  w.Add(1, system, {"atoll", "PC (i440FX + PIIX)", "pc"});

  Chassis chassis{};
  chassis.manufacturer = 1;
  chassis.type = 1;                                                      // other
  chassis.boot_state = chassis.power_state = chassis.thermal_state = 3;  // safe
  chassis.security = 2;                                                  // unknown
  w.Add(3, chassis, {"atoll"});

  Processor cpu{};
  cpu.socket = 1;
  cpu.type = 3;    // central processor
  cpu.family = 1;  // other
  cpu.manufacturer = 2;
  cpu.status = 0x41;  // populated, enabled
  cpu.upgrade = 1;
  for (le16& cache : cpu.caches) cache = 0xFFFF;
  cpu.cores[0] = cpu.cores[1] = cpu.cores[2] = static_cast<uint8_t>(std::min(config.cpus, 255u));
  cpu.characteristics = 4;  // 64-bit
  cpu.family2 = 1;
  w.Add(4, cpu, {"CPU 0", "atoll"});
  w.Add(127, EndOfTable{}, {});

  EntryPoint e{};
  std::memcpy(e.anchor, "_SM_", 4);
  e.length = sizeof e;
  e.major = 2;
  e.minor = 8;
  e.largest = static_cast<uint16_t>(w.largest_);
  std::memcpy(e.dmi_anchor, "_DMI_", 5);
  e.tables_length = static_cast<uint16_t>(w.bytes_.size());
  e.count = static_cast<uint16_t>(w.count_);
  e.bcd_revision = 0x28;
  SetChecksum(&e.dmi_checksum, e.dmi_anchor, sizeof e - offsetof(EntryPoint, dmi_anchor));
  SetChecksum(&e.checksum, &e, sizeof e);
  const auto* p = reinterpret_cast<const uint8_t*>(&e);
  return {Bytes(p, p + sizeof e), std::move(w.bytes_)};
}

}  // namespace atl::boot
