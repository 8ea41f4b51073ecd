// SPDX-License-Identifier: Apache-2.0
#include "lib/pci/piix.h"

namespace atl::pci {
namespace {

PciSpec IsaSpec() {
  PciSpec spec;
  spec.vendor = 0x8086;
  spec.device = 0x7000;
  spec.class_code = 0x060100;
  spec.multifunction = true;
  spec.registers = {
      {kCommand, 2, 0x0007, 0x0108},  // always decodes and masters
      {kStatus, 2, 0x0200, 0, 0x7800},
      {0x4C, 1, 0x4D, 0xFF},      // I/O recovery
      {0x4E, 2, 0x0003, 0x01FF},  // X-bus chip select
      {0x69, 1, 0x02, 0xFE},      // top of memory
      {0x6A, 1, 0, 0x81},         // miscellaneous
      {0x70, 1, 0x80, 0xCF},
      {0x71, 1, 0x80, 0xCF},  // motherboard IRQs
      {0x76, 1, 0x0C, 0x8F},
      {0x77, 1, 0x0C, 0x8F},      // motherboard DMA
      {0x78, 2, 0x0002, 0xFFFF},  // programmable chip select
      {0xA0, 1, 0x08, 0x1F},
      {0xA2, 2, 0, 0xFFFF},  // SMI control, enable
      {0xA4, 4, 0, 0xFFFFFFFF},
      {0xA8, 1, 0x0F, 0xFF},  // event enable, timer
      {0xAA, 2, 0, 0, 0xFFFF},
      {0xAC, 1, 0, 0xFF},  // SMI request, clock
      {0xAE, 1, 0, 0xFF},
  };
  for (uint8_t i = 0; i < kPirqs; ++i) {
    spec.registers.push_back({static_cast<uint8_t>(kPirqRoute + i), 1, kPirqDisabled, 0x8F});
  }
  return spec;
}

class Piix3Isa : public PciDevice {
 public:
  Piix3Isa(const PciWiring& wiring, PirqRouter* router)
      : PciDevice(wiring, IsaSpec()), router_(router) {}

  absl::string_view name() const override { return "piix3-isa"; }

 protected:
  void ResetDevice() override { Apply(); }
  void OnConfigWrite(unsigned, unsigned) override { Apply(); }

 private:
  void Apply() {
    for (unsigned i = 0; i < kPirqs; ++i) {
      const uint8_t route = config().Get<uint8_t>(kPirqRoute + i);
      router_->SetRoute(i, (route & kPirqDisabled) != 0 ? kIsaIrqs : route & 0x0F);
    }
  }

  PirqRouter* router_;
};

PciSpec PmSpec() {
  PciSpec spec;
  spec.vendor = 0x8086;
  spec.device = 0x7113;
  spec.revision = 3;
  spec.class_code = 0x068000;
  spec.interrupt_pin = 1;
  spec.registers = {
      {kCommand, 2, 0, 0x0001},
      {kStatus, 2, 0x0280, 0, 0xF800},
      {kInterruptLine, 1, 9, 0xFF},
      {kPmBase, 4, 0x00000001, 0x0000FFC0},
      {0x44, 4, 0, 0xFFFFFFFF},  // counters and activity: kept, without effect
      {0x48, 4, 0, 0xFFFFFFFF},
      {0x4C, 4, 0, 0xFFFFFFFF},
      {0x50, 4, 0, 0xFFFFFFFF},
      {0x54, 4, 0, 0xFFFFFFFF},
      // Device activity B: APMC_EN says that SMM was set up already. There is no
      // SMM, and firmware that tried would wait for its answer for ever.
      {0x58, 4, 0x02000000, 0xFFFFFFFF},
      {0x5C, 4, 0, 0xFFFFFFFF},
      {0x60, 4, 0, 0xFFFFFFFF},
      {0x64, 4, 0, 0xFFFFFFFF},
      {kPmRegMisc, 1, 0, 0x01},
      {kSmbusBase, 4, 0x00000001, 0x0000FFF0},
      {kSmbusHostConfig, 1, 0, 0x0F},
      {0xD3, 1, 0, 0xFF},
  };
  return spec;
}

class Piix4Pm : public PciDevice {
 public:
  Piix4Pm(const PciWiring& wiring, PlacedPorts pm, PlacedPorts smbus)
      : PciDevice(wiring, PmSpec()), pm_{pm, kPmPorts, 0}, smbus_{smbus, kSmbusPorts, 0} {}

  absl::string_view name() const override { return "piix4-pm"; }

 protected:
  void ResetDevice() override { Apply(); }
  void OnConfigWrite(unsigned, unsigned) override { Apply(); }

 private:
  struct Block {
    PlacedPorts ports;
    unsigned size;
    uint32_t base;  // 0: not mapped
  };

  void Apply() {
    const bool pm_on = (config().Get<uint8_t>(kPmRegMisc) & 1) != 0;
    Place(pm_, pm_on ? config().Get<uint32_t>(kPmBase) & 0xFFC0 : 0);
    const bool smbus_on = (config().Get<uint8_t>(kSmbusHostConfig) & 1) != 0;
    Place(smbus_, smbus_on ? config().Get<uint32_t>(kSmbusBase) & 0xFFF0 : 0);
  }

  void Place(Block& block, uint32_t base) {
    if (block.ports.device == nullptr || base == block.base) return;
    if (block.base != 0) wiring().mapper->Unmap(*block.ports.device, block.ports.region);
    block.base = base;
    if (base != 0) {
      wiring().mapper->Map(*block.ports.device, block.ports.region, Space::kPort, base, block.size);
    }
  }

  Block pm_;
  Block smbus_;
};

}  // namespace

std::unique_ptr<PciDevice> NewPiix3Isa(const PciWiring& wiring, PirqRouter* router) {
  return std::make_unique<Piix3Isa>(wiring, router);
}

std::unique_ptr<PciDevice> NewPiix4Pm(const PciWiring& wiring, PlacedPorts pm, PlacedPorts smbus) {
  return std::make_unique<Piix4Pm>(wiring, pm, smbus);
}

}  // namespace atl::pci
