// SPDX-License-Identifier: Apache-2.0
// From the INTx pins of all functions to ISA interrupts, as an i440FX board
// wires it: pin P of slot S goes to PIRQ (S + P - 2) & 3, and the ISA bridge's
// four routing registers send each PIRQ to an ISA IRQ or nowhere. An ISA IRQ is
// high while any function that is routed to it is.
//
// Thread rule: any thread, with any device's lock held; the lock in here is
// below all of those and above the interrupt controllers'.
#ifndef LIB_PCI_PIRQ_H_
#define LIB_PCI_PIRQ_H_

#include <array>
#include <bitset>
#include <cstdint>

#include "lib/base/mutex.h"
#include "lib/dev/irq.h"
#include "lib/pci/wiring.h"

namespace atl::pci {

inline constexpr unsigned kPirqs = 4;
inline constexpr unsigned kIsaIrqs = 16;

// `pin`: 1 (INTA#) to 4 (INTD#). What our _PRT and SeaBIOS' tables say: INTA# of
// slot 1 is PIRQA.
constexpr unsigned PirqOf(unsigned slot, unsigned pin) { return (slot + pin - 2) & 3; }

class PirqRouter : public IntxSink {
 public:
  // Null for IRQs that lead nowhere. The lines outlive the router.
  explicit PirqRouter(const std::array<dev::IrqLine*, kIsaIrqs>& isa) : isa_(isa) {}

  void SetIntx(DevFn function, unsigned pin, bool level) override;
  // `isa_irq` 0 to 15; anything else: not routed.
  void SetRoute(unsigned pirq, unsigned isa_irq);

 private:
  void Drive() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::array<dev::IrqLine*, kIsaIrqs> isa_;
  Mutex mutex_;
  // For each PIRQ, the functions that hold it, by DevFn.
  std::array<std::bitset<256>, kPirqs> held_ ABSL_GUARDED_BY(mutex_);
  std::array<unsigned, kPirqs> route_ ABSL_GUARDED_BY(mutex_){kIsaIrqs, kIsaIrqs, kIsaIrqs,
                                                              kIsaIrqs};
  std::array<bool, kIsaIrqs> driven_ ABSL_GUARDED_BY(mutex_){};
};

}  // namespace atl::pci

#endif  // LIB_PCI_PIRQ_H_
