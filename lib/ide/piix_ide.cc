// SPDX-License-Identifier: Apache-2.0
#include "lib/ide/piix_ide.h"

#include <utility>

namespace atl::ide {
namespace {

constexpr uint32_t kBusMasterPorts = 2 * BusMaster::kPorts;

pci::PciSpec Spec() {
  pci::PciSpec spec;
  spec.vendor = 0x8086;
  spec.device = 0x7010;
  spec.class_code = 0x010180;  // legacy channels, bus master
  spec.bars = {{kBusMasterBar, pci::BarKind::kIo, kBusMasterPorts, false}};
  spec.registers = {
      {pci::kStatus, 2, 0x0280, 0, 0x7800},
      {0x40, 4, 0, 0xFFFFFFFF},  // timing: kept; the ports decode always
      {0x44, 1, 0, 0xFF},
      {0x48, 4, 0, 0x3333000F},
      {0x54, 2, 0, 0xFFFF},
  };
  return spec;
}

class Piix3Ide : public pci::PciDevice {
 public:
  Piix3Ide(const pci::PciWiring& wiring, std::array<ChannelWiring, 2> channels,
           std::array<DriveOptions, 4> drives)
      : PciDevice(wiring, Spec()),
        primary_(std::move(channels[0]), std::move(drives[0]), std::move(drives[1])),
        secondary_(std::move(channels[1]), std::move(drives[2]), std::move(drives[3])) {}

  absl::string_view name() const override { return "piix3-ide"; }

 protected:
  void ResetDevice() override {
    primary_.Reset();
    secondary_.Reset();
  }

  uint64_t ReadRegion(unsigned region, uint64_t offset, unsigned size) override {
    if (region == kBusMasterBar) {
      uint64_t out = 0;
      for (unsigned i = 0; i < size && i < 8; ++i) {
        if (offset >= kBusMasterPorts - i) continue;
        const unsigned at = static_cast<unsigned>(offset) + i;
        out |= uint64_t{ChannelAt(at / BusMaster::kPorts).ReadBusMaster(at % BusMaster::kPorts)}
               << (8 * i);
      }
      return out;
    }
    for (unsigned i = 0; i < kLegacyPorts.size(); ++i) {
      if (kLegacyPorts[i].region != region || offset >= kLegacyPorts[i].size) continue;
      Channel& channel = ChannelAt(i / 2);
      if (i % 2 != 0) return channel.ReadAltStatus();
      return channel.ReadCommandBlock(static_cast<unsigned>(offset), size);
    }
    return PciDevice::ReadRegion(region, offset, size);
  }

  void WriteRegion(unsigned region, uint64_t offset, unsigned size, uint64_t value) override {
    if (region == kBusMasterBar) {
      for (unsigned i = 0; i < size && i < 8; ++i) {
        if (offset >= kBusMasterPorts - i) return;
        const unsigned at = static_cast<unsigned>(offset) + i;
        ChannelAt(at / BusMaster::kPorts)
            .WriteBusMaster(at % BusMaster::kPorts, static_cast<uint8_t>(value >> (8 * i)));
      }
      return;
    }
    for (unsigned i = 0; i < kLegacyPorts.size(); ++i) {
      if (kLegacyPorts[i].region != region || offset >= kLegacyPorts[i].size) continue;
      Channel& channel = ChannelAt(i / 2);
      if (i % 2 != 0) {
        channel.WriteControl(static_cast<uint8_t>(value));
      } else {
        channel.WriteCommandBlock(static_cast<unsigned>(offset), size,
                                  static_cast<uint32_t>(value));
      }
      return;
    }
  }

  void VisitDeviceState(dev::StateVisitor& v) override {
    v.Begin("primary");
    primary_.VisitState(v);
    v.End();
    v.Begin("secondary");
    secondary_.VisitState(v);
    v.End();
  }

 private:
  Channel& ChannelAt(unsigned i) { return i == 0 ? primary_ : secondary_; }

  Channel primary_;
  Channel secondary_;
};

}  // namespace

std::unique_ptr<pci::PciDevice> NewPiix3Ide(const pci::PciWiring& wiring,
                                            std::array<ChannelWiring, 2> channels,
                                            std::array<DriveOptions, 4> drives) {
  return std::make_unique<Piix3Ide>(wiring, std::move(channels), std::move(drives));
}

}  // namespace atl::ide
