// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/acpi/tables.h"

#include <cstring>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {
namespace {

using Bytes = std::vector<uint8_t>;

uint8_t Sum(const uint8_t* from, size_t n) {
  return static_cast<uint8_t>(std::accumulate(from, from + n, 0));
}

// Reads tables from guest memory as an operating system does.
class Tables {
 public:
  explicit Tables(const AcpiConfig& config) : memory_(*GuestMemory::Create(2 << 20)) {
    auto rsdp = InstallAcpiTables(config, *memory_);
    EXPECT_OK(rsdp);
    rsdp_ = At(rsdp->value, 36);
  }

  Bytes At(uint64_t at, size_t size) {
    Bytes out(size);
    EXPECT_TRUE(memory_->Read(Gpa(at), out)) << std::hex << at;
    return out;
  }
  // A table with the common header; its checksum is checked.
  Bytes Table(uint64_t at) {
    const Bytes head = At(at, 36);
    Bytes all = At(at, LoadLe<uint32_t>(&head[4]));
    EXPECT_EQ(Sum(all.data(), all.size()), 0) << Signature(all);
    return all;
  }
  static std::string Signature(const Bytes& table) {
    return std::string(table.begin(), table.begin() + 4);
  }
  std::map<std::string, Bytes> Walk(bool xsdt) {
    const size_t width = xsdt ? 8 : 4;
    const Bytes root =
        Table(xsdt ? LoadLe<uint64_t>(&rsdp_[24]) : uint64_t{LoadLe<uint32_t>(&rsdp_[16])});
    EXPECT_EQ(Signature(root), xsdt ? "XSDT" : "RSDT");
    std::map<std::string, Bytes> out;
    for (size_t i = 36; i < root.size(); i += width) {
      Bytes t = Table(xsdt ? LoadLe<uint64_t>(&root[i]) : uint64_t{LoadLe<uint32_t>(&root[i])});
      out[Signature(t)] = t;
    }
    return out;
  }

  const std::unique_ptr<GuestMemory> memory_;
  Bytes rsdp_;
};

TEST(Acpi, BothRootsLeadToTheSameTables) {
  Tables t({.cpus = 2, .hpet = true});
  EXPECT_EQ(std::memcmp(t.rsdp_.data(), "RSD PTR ", 8), 0);
  EXPECT_EQ(Sum(t.rsdp_.data(), 20), 0);
  EXPECT_EQ(Sum(t.rsdp_.data(), 36), 0);
  const auto by_xsdt = t.Walk(true);
  EXPECT_EQ(by_xsdt, t.Walk(false));
  std::vector<std::string> names;
  for (const auto& [name, table] : by_xsdt) names.push_back(name);
  EXPECT_THAT(names, testing::ElementsAre("APIC", "FACP", "HPET"));
}

TEST(Acpi, FadtLeadsToDsdtAndFacs) {
  Tables t({.cpus = 1, .hpet = false});
  auto all = t.Walk(true);
  EXPECT_EQ(all.count("HPET"), 0u);
  const Bytes& fadt = all["FACP"];
  ASSERT_EQ(fadt.size(), 244u);
  const uint32_t dsdt = LoadLe<uint32_t>(&fadt[40]);
  EXPECT_EQ(LoadLe<uint64_t>(&fadt[140]), dsdt);
  EXPECT_EQ(Tables::Signature(t.Table(dsdt)), "DSDT");
  const uint32_t facs = LoadLe<uint32_t>(&fadt[36]);
  EXPECT_EQ(facs % 64, 0u);
  EXPECT_EQ(Tables::Signature(t.At(facs, 64)), "FACS");
  EXPECT_EQ(LoadLe<uint16_t>(&fadt[46]), 9);       // SCI
  EXPECT_EQ(LoadLe<uint32_t>(&fadt[48]), 0u);      // no SMI command port
  EXPECT_EQ(LoadLe<uint32_t>(&fadt[64]), 0x604u);  // PM1a control
  EXPECT_EQ(LoadLe<uint32_t>(&fadt[76]), 0x608u);  // PM timer
  EXPECT_EQ(LoadLe<uint64_t>(&fadt[120]), 0xCF9u);
}

TEST(Acpi, MadtListsEveryProcessor) {
  for (unsigned cpus : {1u, 2u, 254u}) {
    Tables t({.cpus = cpus, .hpet = true});
    const Bytes madt = t.Walk(true)["APIC"];
    unsigned lapics = 0, ioapics = 0, overrides = 0, nmis = 0;
    size_t at = 44;
    while (at < madt.size()) {
      ASSERT_GE(madt[at + 1], 6);
      switch (madt[at]) {
        case 0:
          EXPECT_EQ(madt[at + 3], lapics++);
          break;
        case 1:
          ++ioapics;
          break;
        case 2:
          ++overrides;
          break;
        case 4:
          ++nmis;
          break;
        default:
          ADD_FAILURE() << "entry of type " << int{madt[at]};
      }
      at += madt[at + 1];
    }
    EXPECT_EQ(at, madt.size());
    EXPECT_EQ(lapics, cpus);
    EXPECT_EQ(ioapics, 1u);
    EXPECT_EQ(overrides, 5u);
    EXPECT_EQ(nmis, 1u);
  }
}

// SeaBIOS carries the script out: what it gets must be what the machine without
// firmware writes by itself.
TEST(Acpi, TheLoaderScriptGivesTheSameBytes) {
  const AcpiConfig config{.cpus = 3, .hpet = true};
  Tables direct(config);
  AcpiFiles files = MakeAcpiFiles(config);
  std::map<std::string, Bytes*> file = {{"etc/acpi/rsdp", &files.rsdp},
                                        {"etc/acpi/tables", &files.tables}};
  const std::map<std::string, uint64_t> address = {{"etc/acpi/rsdp", 0xE0000},
                                                   {"etc/acpi/tables", 0xE0040}};
  ASSERT_EQ(files.loader.size() % 128, 0u);
  std::vector<std::string> allocated;
  for (size_t at = 0; at < files.loader.size(); at += 128) {
    const uint8_t* c = &files.loader[at];
    const std::string first(reinterpret_cast<const char*>(c + 4));
    ASSERT_EQ(file.count(first), 1u);
    Bytes& bytes = *file[first];
    if (LoadLe<uint32_t>(c) == 1) {
      EXPECT_EQ(address.at(first) % LoadLe<uint32_t>(c + 60), 0u);
      allocated.push_back(first);
    } else if (LoadLe<uint32_t>(c) == 2) {
      const std::string to(reinterpret_cast<const char*>(c + 60));
      const uint32_t offset = LoadLe<uint32_t>(c + 116);
      const unsigned size = c[120];
      ASSERT_LE(offset + size, bytes.size());
      uint64_t v = 0;
      std::memcpy(&v, &bytes[offset], size);
      ASSERT_LT(v, file[to]->size());
      v += address.at(to);
      std::memcpy(&bytes[offset], &v, size);
    } else {
      ASSERT_EQ(LoadLe<uint32_t>(c), 3u);
      const uint32_t offset = LoadLe<uint32_t>(c + 60), start = LoadLe<uint32_t>(c + 64),
                     length = LoadLe<uint32_t>(c + 68);
      ASSERT_LE(start + length, bytes.size());
      bytes[offset] = static_cast<uint8_t>(bytes[offset] - Sum(&bytes[start], length));
    }
  }
  EXPECT_THAT(allocated, testing::UnorderedElementsAre("etc/acpi/rsdp", "etc/acpi/tables"));
  EXPECT_EQ(files.rsdp, direct.At(0xE0000, files.rsdp.size()));
  EXPECT_EQ(files.tables, direct.At(0xE0040, files.tables.size()));
}

TEST(Acpi, AMachineWithoutTheBiosAreaIsAnError) {
  auto memory = *GuestMemory::Create(1 << 20);
  memory->SetSlot(Gpa(0xE0000), 0x20000, nullptr, SlotKind::kRam);
  EXPECT_THAT(InstallAcpiTables({}, *memory),
              StatusIs(absl::StatusCode::kFailedPrecondition, "0xe0000"));
}

}  // namespace
}  // namespace atl::boot
