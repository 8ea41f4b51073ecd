// SPDX-License-Identifier: Apache-2.0
// The host bridge of the i440FX chipset (Intel 290549): what matters of it is
// which parts of [0xC0000, 0x100000) are RAM (PAM registers) and whether the
// RAM under the VGA window shows (SMRAM register).
#ifndef LIB_PCI_I440FX_H_
#define LIB_PCI_I440FX_H_

#include <memory>

#include "lib/mem/address.h"
#include "lib/pci/device.h"

namespace atl::pci {

// What the CPU reaches in a range below 1 MiB. Where not RAM, reads reach the
// ROM or bus behind it, and writes are lost.
struct ShadowMode {
  bool read_ram = false;
  bool write_ram = false;
  friend bool operator==(const ShadowMode&, const ShadowMode&) = default;
};

// Called with the bridge's lock held, on a vCPU's thread; only for ranges whose
// mode changes. Memory slots change only while no vCPU runs: the implementation
// sees to that.
class ShadowMap {
 public:
  virtual ~ShadowMap() = default;
  virtual void SetShadow(Gpa base, uint64_t size, ShadowMode mode) = 0;
  // Whether [0xA0000, 0xC0000) is RAM instead of the VGA window.
  virtual void SetSmramOpen(bool open) = 0;
};

// After power-on nothing is RAM. Reset() reports changes back to that.
std::unique_ptr<PciDevice> NewI440fx(const PciWiring& wiring, ShadowMap* map);

}  // namespace atl::pci

#endif  // LIB_PCI_I440FX_H_
