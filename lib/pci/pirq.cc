// SPDX-License-Identifier: Apache-2.0
#include "lib/pci/pirq.h"

namespace atl::pci {

void PirqRouter::SetIntx(DevFn function, unsigned pin, bool level) {
  MutexLock lock(&mutex_);
  held_[PirqOf(function.slot(), pin)][function.value] = level;
  Drive();
}

void PirqRouter::SetRoute(unsigned pirq, unsigned isa_irq) {
  MutexLock lock(&mutex_);
  route_[pirq & (kPirqs - 1)] = isa_irq < kIsaIrqs ? isa_irq : kIsaIrqs;
  Drive();
}

void PirqRouter::Drive() {
  std::array<bool, kIsaIrqs> wanted{};
  for (unsigned i = 0; i < kPirqs; ++i) {
    if (route_[i] < kIsaIrqs && held_[i].any()) wanted[route_[i]] = true;
  }
  for (unsigned irq = 0; irq < kIsaIrqs; ++irq) {
    if (wanted[irq] == driven_[irq]) continue;
    driven_[irq] = wanted[irq];
    if (isa_[irq] != nullptr) isa_[irq]->Set(wanted[irq]);
  }
}

}  // namespace atl::pci
