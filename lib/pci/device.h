// SPDX-License-Identifier: Apache-2.0
// A PCI function: a device that says in data what it is (ids, BARs, interrupt
// pin, MSI-X, further registers) and handles the accesses to its BARs. The
// type 0 header, BAR sizing and mapping, the capability list, INTx and MSI-X
// are here, once for all.
//
// Region n of the device is BAR n, region 6 the ROM. Further regions (legacy ports) may be
// numbered from kFirstExtraRegion; the machine maps them.
//
// Thread rule: everything with the function's lock held.
#ifndef LIB_PCI_DEVICE_H_
#define LIB_PCI_DEVICE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "lib/dev/device.h"
#include "lib/pci/config_space.h"
#include "lib/pci/msix.h"
#include "lib/pci/wiring.h"

namespace atl::pci {

enum class BarKind : uint8_t { kIo, kMemory32, kMemory64 };

struct BarSpec {
  unsigned index = 0;  // 0 to 5; a 64-bit one takes index + 1 too
  BarKind kind = BarKind::kIo;
  uint32_t size = 0;  // power of two, at least 4 (I/O) or 16 (memory)
  bool prefetchable = false;
};

struct MsixSpec {
  unsigned vectors = 1;
  unsigned bar = 0;  // holds both tables, at these offsets (multiples of 8)
  uint32_t table_offset = 0;
  uint32_t pba_offset = 0;
};

struct PciSpec {
  uint16_t vendor = 0;
  uint16_t device = 0;
  uint8_t revision = 0;
  uint32_t class_code = 0;  // 24 bits: class, subclass, programming interface
  uint16_t subsystem_vendor = 0x1AF4;
  uint16_t subsystem = 0x1100;
  uint8_t interrupt_pin = 0;  // 0 for none, 1 for INTA#
  bool multifunction = false;
  std::vector<BarSpec> bars;
  std::optional<MsixSpec> msix;
  // An option ROM's image, at most 16 MiB; empty for none.
  std::vector<uint8_t> rom;
  // Registers beyond the header, or ones that replace a part of it.
  std::vector<ConfigRegister> registers;
};

class PciDevice : public dev::Device {
 public:
  static constexpr unsigned kBars = 6;
  static constexpr unsigned kRomRegion = 6;
  static constexpr unsigned kFirstExtraRegion = 8;

  PciDevice(const PciWiring& wiring, const PciSpec& spec);
  ~PciDevice() override;
  PciDevice(const PciDevice&) = delete;
  PciDevice& operator=(const PciDevice&) = delete;

  DevFn where() const { return wiring_.where; }
  unsigned interrupt_pin() const { return config_.Get<uint8_t>(kInterruptPin); }
  const std::vector<BarSpec>& bars() const { return bars_; }

  // The guest's accesses to configuration space: offset below 256, size 1, 2
  // or 4, any alignment.
  uint32_t ReadConfig(unsigned offset, unsigned size);
  void WriteConfig(unsigned offset, unsigned size, uint32_t value);

  void Reset() final;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) final;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) final;
  void VisitState(dev::StateVisitor& v) final;

 protected:
  // What a function implements. The default has neither BARs nor state.
  virtual void ResetDevice() {}
  virtual uint64_t ReadRegion(unsigned region, uint64_t offset, unsigned size);
  virtual void WriteRegion(unsigned region, uint64_t offset, unsigned size, uint64_t value);
  virtual void VisitDeviceState(dev::StateVisitor&) {}
  // Before a read, and after a write with its masks applied and the header's
  // own effects done.
  virtual void OnConfigRead(unsigned /*offset*/, unsigned /*size*/) {}
  virtual void OnConfigWrite(unsigned /*offset*/, unsigned /*size*/) {}

  ConfigSpace& config() { return config_; }
  const ConfigSpace& config() const { return config_; }
  const PciWiring& wiring() const { return wiring_; }
  // Where the guest has put a BAR, if anywhere.
  std::optional<uint64_t> region_base(unsigned region) const {
    const Mapping& m = mappings_[region];
    return m.mapped ? std::optional<uint64_t>(m.base) : std::nullopt;
  }
  bool bus_master() const { return (config_.Get<uint16_t>(kCommand) & kCommandBusMaster) != 0; }

  // For constructors: appends a capability of `bytes` (without the two header
  // bytes, all read-only until `config().Define` says otherwise) and returns
  // its offset.
  unsigned AddCapability(uint8_t id, const std::vector<uint8_t>& bytes);

  // The pin's level, as the device wants it.
  void SetIntx(bool level);
  bool msix_enabled() const { return msix_.has_value() && msix_->enabled(); }
  unsigned msix_vectors() const { return msix_.has_value() ? msix_->vectors() : 0; }
  void TriggerMsix(unsigned vector);
  std::optional<Msix::Message> MsixMessage(unsigned vector) const {
    return msix_.has_value() ? msix_->MessageOf(vector) : std::nullopt;
  }
  // The table, a mask or whether MSI-X is on has changed, or may have.
  virtual void OnMsixChanged() {}

 private:
  struct Mapping {
    bool mapped = false;
    uint64_t base = 0;
    friend bool operator==(const Mapping&, const Mapping&) = default;
  };
  Mapping WantedMapping(const BarSpec& bar) const;
  Mapping WantedRomMapping() const;
  void Place(unsigned region, Space space, uint64_t size, const Mapping& wanted);
  void UpdateMappings();
  void UpdateIntx();
  void UpdateMsix();
  void Refresh();

  PciWiring wiring_;
  ConfigSpace config_;
  std::vector<BarSpec> bars_;
  std::array<Mapping, kRomRegion + 1> mappings_{};
  std::optional<MsixSpec> msix_spec_;
  std::vector<uint8_t> rom_;  // a power of two of bytes, or none
  std::optional<Msix> msix_;
  unsigned msix_capability_ = 0;
  unsigned next_capability_ = 0x40;
  unsigned last_capability_ = 0;  // 0: none yet
  bool intx_wanted_ = false;
  bool intx_driven_ = false;
};

}  // namespace atl::pci

#endif  // LIB_PCI_DEVICE_H_
