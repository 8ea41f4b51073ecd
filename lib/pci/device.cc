// SPDX-License-Identifier: Apache-2.0
#include "lib/pci/device.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace atl::pci {
namespace {

constexpr uint8_t kMsixCapability = 0x11;
constexpr uint16_t kMsixEnable = 1 << 15;
constexpr uint16_t kMsixFunctionMask = 1 << 14;

constexpr uint32_t kBarIo = 1;
constexpr uint32_t kBar64 = 1 << 2;
constexpr uint32_t kBarPrefetch = 1 << 3;

constexpr uint32_t kRomEnable = 1;
constexpr size_t kMinRom = 2048;
constexpr size_t kMaxRom = 16 << 20;

// Devices of conventional PCI decode 64 KiB of ports.
constexpr uint64_t kPortSpace = 0x10000;

// Firmware runs an image only for the function that it names (PCI Firmware 3.0,
// 5.1). iPXE's for virtio names a modern one, and drives transitional ones as well.
// The sum of the image's bytes stays, by a byte that belongs to nobody.
void NameFunction(std::vector<uint8_t>& rom, uint16_t vendor, uint16_t device) {
  constexpr size_t kPointer = 0x18;  // to the data structure
  constexpr size_t kSpare = 6;
  constexpr size_t kIds = 4;
  if (rom.size() < kPointer + 2 || rom[0] != 0x55 || rom[1] != 0xAA) return;
  const size_t at = rom[kPointer] | size_t{rom[kPointer + 1]} << 8;
  if (at > rom.size() || rom.size() - at < kIds + 4 || std::memcmp(&rom[at], "PCIR", 4) != 0) {
    return;
  }
  const uint32_t ids = uint32_t{device} << 16 | vendor;
  for (unsigned i = 0; i < 4; ++i) {
    uint8_t& byte = rom[at + kIds + i];
    const uint8_t wanted = static_cast<uint8_t>(ids >> 8 * i);
    rom[kSpare] = static_cast<uint8_t>(rom[kSpare] + byte - wanted);
    byte = wanted;
  }
}

}  // namespace

PciDevice::PciDevice(const PciWiring& wiring, const PciSpec& spec)
    : wiring_(wiring), bars_(spec.bars), msix_spec_(spec.msix), rom_(spec.rom) {
  config_.Define({kVendorId, 2, spec.vendor});
  config_.Define({kDeviceId, 2, spec.device});
  // I/O, memory, bus master, parity response, SERR#, INTx disable.
  config_.Define({kCommand, 2, 0, 0x0547});
  config_.Define({kStatus, 2, 0, 0, 0xF900});
  config_.Define({kRevision, 4, spec.class_code << 8 | spec.revision});
  config_.Define({0x0C, 1, 0, 0xFF});  // cache line size
  config_.Define({0x0D, 1, 0, 0xFF});  // latency timer
  config_.Define({kHeaderType, 1, spec.multifunction ? 0x80u : 0u});
  config_.Define({kSubsystemVendor, 4, uint32_t{spec.subsystem} << 16 | spec.subsystem_vendor});
  config_.Define({kInterruptPin, 1, spec.interrupt_pin});
  if (spec.interrupt_pin != 0) config_.Define({kInterruptLine, 1, 0, 0xFF});
  for (const BarSpec& bar : bars_) {
    const uint8_t at = static_cast<uint8_t>(kBar0 + 4 * bar.index);
    const uint32_t writable = ~(bar.size - 1);
    if (bar.kind == BarKind::kIo) {
      config_.Define({at, 4, kBarIo, writable});
    } else {
      const uint32_t flags =
          (bar.kind == BarKind::kMemory64 ? kBar64 : 0) | (bar.prefetchable ? kBarPrefetch : 0);
      config_.Define({at, 4, flags, writable});
    }
    if (bar.kind == BarKind::kMemory64) {
      config_.Define({static_cast<uint8_t>(at + 4), 4, 0, 0xFFFFFFFF});
    }
  }
  if (!rom_.empty()) {
    NameFunction(rom_, spec.vendor, spec.device);
    rom_.resize(std::bit_ceil(std::clamp(rom_.size(), kMinRom, kMaxRom)), 0xFF);
    config_.Define({kRomBar, 4, 0, ~static_cast<uint32_t>(rom_.size() - 1) | kRomEnable});
  }
  if (msix_spec_.has_value()) {
    msix_.emplace(msix_spec_->vectors, wiring_.msi);
    const uint16_t control = static_cast<uint16_t>(msix_->vectors() - 1);
    const uint32_t table = msix_spec_->table_offset | msix_spec_->bar;
    const uint32_t pba = msix_spec_->pba_offset | msix_spec_->bar;
    msix_capability_ = AddCapability(kMsixCapability, std::vector<uint8_t>(10));
    config_.Define(
        {static_cast<uint8_t>(msix_capability_ + 2), 2, control, kMsixEnable | kMsixFunctionMask});
    config_.Define({static_cast<uint8_t>(msix_capability_ + 4), 4, table});
    config_.Define({static_cast<uint8_t>(msix_capability_ + 8), 4, pba});
  }
  for (const ConfigRegister& r : spec.registers) config_.Define(r);
}

PciDevice::~PciDevice() = default;

unsigned PciDevice::AddCapability(uint8_t id, const std::vector<uint8_t>& bytes) {
  const unsigned at = next_capability_;
  const unsigned link = last_capability_ == 0 ? kCapabilities : last_capability_ + 1;
  config_.Define({static_cast<uint8_t>(link), 1, at});
  config_.Define({static_cast<uint8_t>(at), 2, id});
  for (unsigned i = 0; i < bytes.size(); ++i) {
    config_.Define({static_cast<uint8_t>(at + 2 + i), 1, bytes[i]});
  }
  config_.Define({kStatus, 2, kStatusCapabilities, 0, 0xF900});
  last_capability_ = at;
  next_capability_ = static_cast<unsigned>((at + 2 + bytes.size() + 3) & ~3u);
  return at;
}

uint32_t PciDevice::ReadConfig(unsigned offset, unsigned size) {
  OnConfigRead(offset, size);
  return config_.Read(offset, size);
}

void PciDevice::WriteConfig(unsigned offset, unsigned size, uint32_t value) {
  config_.Write(offset, size, value);
  Refresh();
  OnConfigWrite(offset, size);
}

void PciDevice::Refresh() {
  UpdateMappings();
  UpdateMsix();
  UpdateIntx();
}

void PciDevice::Reset() {
  config_.Reset();
  if (msix_.has_value()) msix_->Reset();
  intx_wanted_ = false;
  Refresh();
  ResetDevice();
}

uint64_t PciDevice::ReadRegion(unsigned, uint64_t, unsigned size) {
  return size >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * size)) - 1;
}
void PciDevice::WriteRegion(unsigned, uint64_t, unsigned, uint64_t) {}

uint64_t PciDevice::Read(unsigned region, uint64_t offset, unsigned size) {
  if (msix_spec_.has_value() && region == msix_spec_->bar) {
    if (offset >= msix_spec_->table_offset &&
        offset - msix_spec_->table_offset < msix_->table_bytes()) {
      return msix_->ReadTable(offset - msix_spec_->table_offset, size);
    }
    if (offset >= msix_spec_->pba_offset && offset - msix_spec_->pba_offset < msix_->pba_bytes()) {
      return msix_->ReadPba(offset - msix_spec_->pba_offset, size);
    }
  }
  if (region == kRomRegion) {
    uint64_t value = ~uint64_t{0};
    if (offset < rom_.size() && rom_.size() - offset >= size) {
      std::memcpy(&value, rom_.data() + offset, size);
    }
    return size >= 8 ? value : value & ((uint64_t{1} << 8 * size) - 1);
  }
  return ReadRegion(region, offset, size);
}

void PciDevice::Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) {
  if (msix_spec_.has_value() && region == msix_spec_->bar) {
    if (offset >= msix_spec_->table_offset &&
        offset - msix_spec_->table_offset < msix_->table_bytes()) {
      msix_->WriteTable(offset - msix_spec_->table_offset, size, value);
      OnMsixChanged();
      return;
    }
    // The pending bits are the function's.
    if (offset >= msix_spec_->pba_offset && offset - msix_spec_->pba_offset < msix_->pba_bytes()) {
      return;
    }
  }
  WriteRegion(region, offset, size, value);
}

PciDevice::Mapping PciDevice::WantedMapping(const BarSpec& bar) const {
  const unsigned at = kBar0 + 4 * bar.index;
  const uint16_t command = config_.Get<uint16_t>(kCommand);
  const uint64_t mask = ~(uint64_t{bar.size} - 1);
  if (bar.kind == BarKind::kIo) {
    const uint64_t base = config_.Get<uint32_t>(at) & mask;
    // Address 0 is what a BAR holds that nobody has placed.
    if ((command & kCommandIo) == 0 || base == 0 || base > kPortSpace - bar.size) return {};
    return {true, base};
  }
  if ((command & kCommandMemory) == 0) return {};
  const bool wide = bar.kind == BarKind::kMemory64;
  const uint64_t base = (wide ? config_.Get<uint64_t>(at) : config_.Get<uint32_t>(at)) & mask;
  // Guests size BARs with decoding on: all ones is a question, no address.
  const uint64_t top = wide ? ~uint64_t{0} : 0xFFFFFFFF;
  if (base == 0 || base > top - bar.size) return {};
  return {true, base};
}

PciDevice::Mapping PciDevice::WantedRomMapping() const {
  const uint32_t bar = config_.Get<uint32_t>(kRomBar);
  const uint32_t base = bar & ~static_cast<uint32_t>(rom_.size() - 1);
  if ((config_.Get<uint16_t>(kCommand) & kCommandMemory) == 0 || (bar & kRomEnable) == 0) return {};
  if (base == 0 || base > 0xFFFFFFFF - rom_.size()) return {};
  return {true, base};
}

void PciDevice::Place(unsigned region, Space space, uint64_t size, const Mapping& wanted) {
  Mapping& now = mappings_[region];
  if (now == wanted) return;
  if (now.mapped) wiring_.mapper->Unmap(*this, region);
  now = wanted;
  if (now.mapped) wiring_.mapper->Map(*this, region, space, now.base, size);
}

void PciDevice::UpdateMappings() {
  for (const BarSpec& bar : bars_) {
    Place(bar.index, bar.kind == BarKind::kIo ? Space::kPort : Space::kMmio, bar.size,
          WantedMapping(bar));
  }
  if (!rom_.empty()) Place(kRomRegion, Space::kMmio, rom_.size(), WantedRomMapping());
}

void PciDevice::UpdateMsix() {
  if (!msix_.has_value()) return;
  const uint16_t control = config_.Get<uint16_t>(msix_capability_ + 2);
  msix_->SetControl((control & kMsixEnable) != 0, (control & kMsixFunctionMask) != 0, bus_master());
  OnMsixChanged();
}

void PciDevice::TriggerMsix(unsigned vector) {
  if (msix_.has_value()) msix_->Trigger(vector);
}

void PciDevice::SetIntx(bool level) {
  intx_wanted_ = level;
  UpdateIntx();
}

void PciDevice::UpdateIntx() {
  const unsigned pin = interrupt_pin();
  if (pin == 0) return;
  const uint16_t status = config_.Get<uint16_t>(kStatus) & ~kStatusInterrupt;
  config_.Set<uint16_t>(kStatus,
                        static_cast<uint16_t>(status | (intx_wanted_ ? kStatusInterrupt : 0)));
  const bool disabled = (config_.Get<uint16_t>(kCommand) & kCommandIntxDisable) != 0;
  const bool level = intx_wanted_ && !disabled && !msix_enabled();
  if (level == intx_driven_) return;
  intx_driven_ = level;
  wiring_.intx->SetIntx(wiring_.where, pin, level);
}

void PciDevice::VisitState(dev::StateVisitor& v) {
  config_.VisitState(v);
  if (msix_.has_value()) msix_->VisitState(v);
  v.Field("intx", intx_wanted_);
  VisitDeviceState(v);
  if (v.loading()) {
    Refresh();
    OnConfigWrite(0, ConfigSpace::kBytes);
  }
}

}  // namespace atl::pci
