// SPDX-License-Identifier: Apache-2.0
// PCI bus 0 and the two ports by which a PC reaches configuration space
// (configuration mechanism #1: address at 0xCF8, data at 0xCFC).
#ifndef LIB_PCI_BUS_H_
#define LIB_PCI_BUS_H_

#include <array>
#include <cstdint>
#include <vector>

#include "lib/dev/device.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/state.h"
#include "lib/pci/device.h"
#include "lib/pci/wiring.h"

namespace atl::pci {

// Thread rule: Attach() before vCPUs run; the rest from any thread.
class PciBus {
 public:
  // All three outlive the bus and its functions.
  PciBus(BarMapper* mapper, IntxSink* intx, dev::MsiSink* msi)
      : mapper_(mapper), intx_(intx), msi_(msi) {}

  // For the constructor of the function that will be attached at `where`.
  PciWiring Wire(DevFn where) const { return {where, mapper_, intx_, msi_}; }
  // `lock` is the function's, taken around its configuration accesses; null
  // where one thread does everything. A slot with several functions needs
  // function 0 with `multifunction` set.
  void Attach(PciDevice* function, dev::DeviceLock* lock);

  PciDevice* At(DevFn where) const { return functions_[where.value].device; }
  std::vector<PciDevice*> Functions() const;  // by DevFn

  // All ones, and nothing written, where no function is.
  uint32_t ReadConfig(DevFn where, unsigned offset, unsigned size);
  void WriteConfig(DevFn where, unsigned offset, unsigned size, uint32_t value);

 private:
  struct Slot {
    PciDevice* device = nullptr;
    dev::DeviceLock* lock = nullptr;
  };
  BarMapper* mapper_;
  IntxSink* intx_;
  dev::MsiSink* msi_;
  std::array<Slot, 256> functions_{};
};

// Region 0: the eight ports 0xCF8 to 0xCFF. Its lock is taken before a
// function's. A byte at 0xCF9 is the reset control register, another device
// (dev::ResetPort), which the board maps over this one.
class ConfigPorts : public dev::Device {
 public:
  static constexpr uint16_t kPort = 0xCF8;
  static constexpr unsigned kPorts = 8;

  explicit ConfigPorts(PciBus* bus) : bus_(bus) {}

  absl::string_view name() const override { return "pci-config"; }
  void Reset() override { address_ = 0; }
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(dev::StateVisitor& v) override;

 private:
  bool Selected() const;
  DevFn Function() const;
  unsigned Register(uint64_t offset) const;

  PciBus* bus_;
  uint32_t address_ = 0;
};

}  // namespace atl::pci

#endif  // LIB_PCI_BUS_H_
