// SPDX-License-Identifier: Apache-2.0
#include "lib/vga/std_vga.h"

#include <utility>

#include "lib/vga/edid.h"

namespace atl::vga {
namespace {

constexpr uint32_t kRegisterBarSize = 0x1000;
constexpr uint64_t kPortsAt = 0x400;  // in the register BAR
constexpr uint64_t kPortsBytes = 0x20;
constexpr uint64_t kDispiAt = 0x500;
constexpr uint64_t kExtensionAt = 0x600;
constexpr uint32_t kExtensionBytes = 8;
constexpr uint32_t kLittleEndian = 0x1E1E1E1E;

pci::PciSpec Spec(uint64_t vram_bytes, std::vector<uint8_t> rom) {
  pci::PciSpec spec;
  spec.vendor = 0x1234;
  spec.device = 0x1111;
  spec.revision = 2;
  spec.class_code = 0x030000;
  spec.bars = {
      {kFramebufferBar, pci::BarKind::kMemory32, static_cast<uint32_t>(vram_bytes), true},
      {kRegisterBar, pci::BarKind::kMemory32, kRegisterBarSize, false},
  };
  spec.rom = std::move(rom);
  return spec;
}

class StdVga final : public pci::PciDevice {
 public:
  StdVga(const pci::PciWiring& wiring, Vga* vga, std::vector<uint8_t> rom)
      : PciDevice(wiring, Spec(vga->vram().size(), std::move(rom))), vga_(*vga) {}

  absl::string_view name() const override { return "std-vga"; }

 protected:
  void ResetDevice() override { vga_.Reset(); }
  void VisitDeviceState(dev::StateVisitor& v) override { vga_.VisitState(v); }

  uint64_t ReadRegion(unsigned region, uint64_t offset, unsigned size) override {
    switch (region) {
      case kFramebufferBar:
        return vga_.ReadLinear(offset, size);
      case kRegisterBar:
        return ReadRegisters(offset, size);
      case kWindowRegion:
        return vga_.ReadWindow(offset, size);
      case kDispiRegion:
        return size == 2 ? vga_.ReadDispi(offset != 0) : 0xFF;
      case kMonoPorts:
        return vga_.ReadPort(static_cast<uint16_t>(0x3B4 + offset));
      case kVgaPorts:
        return vga_.ReadPort(static_cast<uint16_t>(0x3C0 + offset));
      case kColorPorts:
        return vga_.ReadPort(static_cast<uint16_t>(0x3D4 + offset));
      default:
        return PciDevice::ReadRegion(region, offset, size);
    }
  }

  void WriteRegion(unsigned region, uint64_t offset, unsigned size, uint64_t value) override {
    const uint8_t byte = static_cast<uint8_t>(value);
    switch (region) {
      case kFramebufferBar:
        return vga_.WriteLinear(offset, size, value);
      case kRegisterBar:
        return WriteRegisters(offset, size, value);
      case kWindowRegion:
        return vga_.WriteWindow(offset, size, value);
      case kDispiRegion:
        if (size == 2) vga_.WriteDispi(offset != 0, static_cast<uint16_t>(value));
        return;
      case kMonoPorts:
        return vga_.WritePort(static_cast<uint16_t>(0x3B4 + offset), byte);
      case kVgaPorts:
        return vga_.WritePort(static_cast<uint16_t>(0x3C0 + offset), byte);
      case kColorPorts:
        return vga_.WritePort(static_cast<uint16_t>(0x3D4 + offset), byte);
      default:
        return;
    }
  }

 private:
  uint64_t ReadRegisters(uint64_t offset, unsigned size) {
    uint64_t value = 0;
    for (unsigned i = 0; i < size; ++i) value |= uint64_t{ReadRegisterByte(offset + i)} << 8 * i;
    return value;
  }
  uint8_t ReadRegisterByte(uint64_t offset) {
    if (offset < kEdidBytes) return Edid()[offset];
    if (offset < kPortsAt) return 0;  // further blocks of it
    if (offset >= kPortsAt && offset < kPortsAt + kPortsBytes) {
      return vga_.ReadPort(static_cast<uint16_t>(0x3C0 + offset - kPortsAt));
    }
    if (offset >= kDispiAt && offset < kDispiAt + 2 * kDispiRegisters) {
      const uint16_t v = vga_.ReadDispiRegister(static_cast<unsigned>(offset - kDispiAt) / 2);
      return static_cast<uint8_t>(v >> 8 * (offset & 1));
    }
    if (offset >= kExtensionAt && offset < kExtensionAt + kExtensionBytes) {
      const uint64_t v = uint64_t{kLittleEndian} << 32 | kExtensionBytes;
      return static_cast<uint8_t>(v >> 8 * (offset - kExtensionAt));
    }
    return 0xFF;
  }
  void WriteRegisters(uint64_t offset, unsigned size, uint64_t value) {
    for (unsigned i = 0; i < size;) {
      const uint64_t at = offset + i;
      const uint64_t v = value >> 8 * i;
      // The dispi takes words; halves of one go nowhere.
      if (at >= kDispiAt && at < kDispiAt + 2 * kDispiRegisters && (at & 1) == 0 && size - i >= 2) {
        vga_.WriteDispiRegister(static_cast<unsigned>(at - kDispiAt) / 2, static_cast<uint16_t>(v));
        i += 2;
        continue;
      }
      if (at >= kPortsAt && at < kPortsAt + kPortsBytes) {
        vga_.WritePort(static_cast<uint16_t>(0x3C0 + at - kPortsAt), static_cast<uint8_t>(v));
      }
      ++i;
    }
  }

  Vga& vga_;
};

}  // namespace

std::unique_ptr<pci::PciDevice> NewStdVga(const pci::PciWiring& wiring, Vga* vga,
                                          std::vector<uint8_t> rom) {
  return std::make_unique<StdVga>(wiring, vga, std::move(rom));
}

}  // namespace atl::vga
