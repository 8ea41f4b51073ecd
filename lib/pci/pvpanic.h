// SPDX-License-Identifier: Apache-2.0
// The panic notifier as a PCI function (QEMU's docs/specs/pvpanic.txt): a byte
// of memory that a guest's kernel writes to when it has panicked.
#ifndef LIB_PCI_PVPANIC_H_
#define LIB_PCI_PVPANIC_H_

#include <functional>
#include <memory>

#include "lib/pci/device.h"
#include "lib/pci/wiring.h"

namespace atl::pci {

enum class PanicEvent : uint8_t {
  kPanicked,     // and that is the end of it
  kCrashLoaded,  // a crash kernel takes over
};

// `told` is called with the function's lock held.
std::unique_ptr<PciDevice> NewPvpanic(const PciWiring& wiring,
                                      std::function<void(PanicEvent)> told);

}  // namespace atl::pci

#endif  // LIB_PCI_PVPANIC_H_
